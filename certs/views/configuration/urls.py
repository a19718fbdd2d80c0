"""Under /configuration/. What a page posts to stands below the page's own address."""

from django.urls import path

from certs.views.configuration import bindings, https, index, lets_encrypt, methods, renewal

urlpatterns = [
    path("", index.configuration, name="configuration"),
    path("public-url/", index.public_url, name="public-url"),
    path("hosts/add/", index.host_add, name="host-add"),
    path("hosts/remove/", index.host_remove, name="host-remove"),
    path("lets-encrypt/", lets_encrypt.lets_encrypt, name="lets-encrypt"),
    path("lets-encrypt/configure/", lets_encrypt.configure, name="lets-encrypt-configure"),
    path("lets-encrypt/terms/", lets_encrypt.terms, name="lets-encrypt-terms"),
    path("lets-encrypt/renew/", lets_encrypt.renew, name="lets-encrypt-renew"),
    path("lets-encrypt/stop/", lets_encrypt.stop, name="lets-encrypt-stop"),
    path("lets-encrypt/watch/<uuid:pk>/", lets_encrypt.watch, name="lets-encrypt-watch"),
    path("bindings/", bindings.bindings, name="bindings"),
    path("bindings/listener/", bindings.listener, name="bindings-listener"),
    path("bindings/watch/<uuid:pk>/<slug:state>/", bindings.watch, name="bindings-watch"),
    path("bindings/go/", bindings.go, name="bindings-go"),
    path("bindings/confirm/", bindings.confirm, name="bindings-confirm"),
    path("bindings/set/", bindings.binding_change, name="binding-set"),
    path("bindings/remove/", bindings.binding_let_go, name="binding-remove"),
    path("https/", https.https, name="https"),
    path("https/force/", https.force, name="https-force"),
    path("https/force/confirm/", https.force_confirm, name="https-force-confirm"),
    path("https/hsts/", https.hsts, name="https-hsts"),
    path("https/hsts/faster/", https.hsts_faster, name="https-hsts-faster"),
    path("renewal/", renewal.renewal, name="renewal"),
    path("renewal/check/", renewal.check, name="renewal-check"),
    path("renewal/certificate/<uuid:pk>/", renewal.override, name="renewal-override"),
    path("challenges/", methods.methods, name="methods"),
    path("challenges/new/", methods.new, name="method-new"),
    path("challenges/<uuid:pk>/", methods.method, name="method"),
    path("challenges/<uuid:pk>/test/", methods.test, name="method-test"),
    path("challenges/<uuid:pk>/tested/", methods.tested, name="method-tested"),
    path("challenges/<uuid:pk>/delete/", methods.delete, name="method-delete"),
]
