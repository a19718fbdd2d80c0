"""Every address of the API. A verb begins with an underscore, as in the reference."""

from django.urls import path

from certs.api import certificates, document

urlpatterns = [
    path("schema", document.Schema.as_view(), name="api-schema"),
    path("docs/", document.docs, name="api-docs"),
    path("certificates", certificates.Certificates.as_view(), name="api-certificates"),
    path("certificates/<str:id>", certificates.CertificateItem.as_view()),
    path("certificates/<str:id>/valid", certificates.CertificateValid.as_view()),
]
