"""What ends TLS in front of the portal: the whole configuration of each server, to be copied.

Filled in as those of `recipes.py`, which has the lines for the challenge path alone; besides `@name@` and `@upstream@`
there are `@certificate@` and `@key@` (files), and `@combined@` (one file with both, as HAProxy wants it). Each one says
of every request how it came (X-Forwarded-Proto), from whom (X-Forwarded-For) and for which host (X-Forwarded-Host),
and overwrites or appends to what the client said of that: what it would hand on untouched, a client could make up.
tests/e2e/inside_front.py puts these very texts into the servers.
"""

from dataclasses import replace

from certs.domain.recipes import APACHE, HAPROXY, NGINX, Kind, Recipe, WebServer, recipe_filled, recipes_filled

TRAEFIK = WebServer("traefik", "Traefik", "", "")  # takes a watched file over when it is saved
INGRESS = WebServer("ingress", "Kubernetes Ingress", "", "kubectl apply -f bindery-ingress.yaml")

_TRAEFIK_DOCS = "https://doc.traefik.io/traefik/routing/overview/"
_INGRESS_DOCS = "https://kubernetes.io/docs/concepts/services-networking/ingress/"
_TRAEFIK_PLACE = (
    "A file of the file provider's directory. Its entry points are called web (port 80) and websecure (port 443) here. "
    "Traefik sets the three headers itself, and takes them from nobody."
)
_INGRESS_PLACE = (
    "In the namespace of the portal, whose service is called web here, as in deploy/kubernetes.yaml. The controller "
    "sets the three headers; list the network of its pods on this page."
)

FRONTS = (
    Recipe(
        Kind.PROXY,
        NGINX,
        """server {
    listen 80;
    listen [::]:80;
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name @name@;
    ssl_certificate @certificate@;
    ssl_certificate_key @key@;

    location / {
        proxy_pass http://@upstream@;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}""",
        "A file of its own, such as /etc/nginx/conf.d/bindery.conf.",
        "https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
    ),
    Recipe(
        Kind.PROXY,
        APACHE,
        """<VirtualHost *:80>
    ServerName @name@
    RequestHeader set X-Forwarded-Proto "http"
    ProxyPreserveHost On
    ProxyPass "/" "http://@upstream@/" ttl=20
</VirtualHost>

<VirtualHost *:443>
    ServerName @name@
    SSLEngine on
    SSLCertificateFile "@certificate@"
    SSLCertificateKeyFile "@key@"
    RequestHeader set X-Forwarded-Proto "https"
    ProxyPreserveHost On
    ProxyPass "/" "http://@upstream@/" ttl=20
</VirtualHost>""",
        "A file of its own, such as /etc/apache2/sites-available/bindery.conf, and: sudo a2ensite bindery. It needs "
        "four modules: sudo a2enmod ssl headers proxy proxy_http. The other two headers Apache sets itself.",
        "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html",
    ),
    Recipe(
        Kind.PROXY,
        HAPROXY,
        """frontend bindery
    mode http
    bind :80
    bind :443 ssl crt @combined@
    option forwardfor
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend bindery

backend bindery
    mode http
    server bindery @upstream@""",
        "In /etc/haproxy/haproxy.cfg. HAProxy wants certificate and key in one file: "
        "cat @certificate@ @key@ > @combined@",
        "https://docs.haproxy.org/2.6/configuration.html#option%20forwardfor",
    ),
    Recipe(
        Kind.PROXY,
        TRAEFIK,
        """http:
  routers:
    bindery:
      rule: Host(`@name@`)
      entryPoints: [websecure]
      service: bindery
      tls: {}
    bindery-plain:
      rule: Host(`@name@`)
      entryPoints: [web]
      service: bindery
  services:
    bindery:
      loadBalancer:
        servers:
          - url: http://@upstream@
tls:
  certificates:
    - certFile: @certificate@
      keyFile: @key@""",
        _TRAEFIK_PLACE,
        _TRAEFIK_DOCS,
        tried=False,
    ),
    Recipe(
        Kind.PROXY,
        INGRESS,
        """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: bindery
spec:
  tls:
    - hosts: ["@name@"]
      secretName: bindery-tls
  rules:
    - host: "@name@"
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  name: http""",
        _INGRESS_PLACE,
        _INGRESS_DOCS,
        tried=False,
    ),
)

CHALLENGES = (
    Recipe(
        Kind.PROXY,
        TRAEFIK,
        """http:
  routers:
    bindery-challenge:
      rule: PathPrefix(`/.well-known/acme-challenge/`)
      entryPoints: [web]
      priority: 10000
      service: bindery
  services:
    bindery:
      loadBalancer:
        servers:
          - url: http://@upstream@""",
        "A file of the file provider's directory; the entry point of port 80 is called web here. A redirection of the "
        "whole entry point answers first: move it to a router of its own.",
        _TRAEFIK_DOCS,
        tried=False,
    ),
    Recipe(
        Kind.PROXY,
        INGRESS,
        """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: bindery-challenge
  annotations:
    nginx.ingress.kubernetes.io/ssl-redirect: "false"
spec:
  rules:
    - http:
        paths:
          - path: /.well-known/acme-challenge/
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  name: http""",
        "In the namespace of the portal, whose service is called web here: the path of every host leads to the portal.",
        _INGRESS_DOCS,
        tried=False,
    ),
)


def fronts_filled(*, name: str, upstream: str, certificate: str, key: str, first: str = "") -> list[Recipe]:
    """For the whole portal; that for the server whose key is `first` comes first."""
    values = {
        **_places(name, upstream),
        "@certificate@": certificate,
        "@key@": key,
        "@combined@": f"/etc/ssl/{name}.pem",
    }
    # The end of the last line too: HAProxy refuses a file without.
    whole = [replace(recipe, text=f"{recipe.text}\n") for recipe in FRONTS]
    filled = [recipe_filled(recipe, values) for recipe in whole]
    return sorted(filled, key=lambda recipe: recipe.server.key != first)


def challenges_filled(*, name: str, upstream: str) -> list[Recipe]:
    """For the challenge path alone; the rest stays with the site that is there."""
    servers = {recipe.server for recipe in FRONTS}
    known = recipes_filled(Kind.PROXY, name=name, upstream=upstream)
    more = [recipe_filled(recipe, _places(name, upstream)) for recipe in CHALLENGES]
    return [recipe for recipe in known if recipe.server in servers] + more


def _places(name: str, upstream: str) -> dict[str, str]:
    return {"@name@": name, "@upstream@": upstream}
