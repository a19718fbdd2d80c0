"""What an operator adds to a web server that stands where the portal should be asked: data, and how it is filled in.

A recipe holds `@portal@` (scheme://host of the portal as a CA reaches it), `@name@` (the DNS name it is about) and
`@upstream@` (host:port at which the other server reaches the portal's plain HTTP). It stands above whatever else the
site does, and works in a site that forces HTTPS. tests/test_recipes.py puts these very texts into the servers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """REDIRECT: the CA is sent on to the portal. PROXY: that server asks the portal and passes the answer on."""

    REDIRECT = "redirect"
    PROXY = "proxy"


@dataclass(frozen=True)
class WebServer:
    """`sign` is what its Server header begins with, in small letters; HAProxy sends none of its own. `reload` checks
    the configuration and takes it over without dropping a connection."""

    key: str
    label: str
    sign: str
    reload: str


@dataclass(frozen=True)
class Recipe:
    """`place` says where `text` stands, `source` is the vendor's document. `tried`: our tests run it in that server."""

    kind: Kind
    server: WebServer
    text: str
    place: str
    source: str
    tried: bool = True

    @property
    def rows(self) -> int:
        """Lines of a field that shows it, some of them wrapped."""
        return sum(1 + len(line) // 70 for line in self.text.splitlines())


NGINX = WebServer("nginx", "nginx", "nginx", "sudo nginx -t && sudo systemctl reload nginx")
APACHE = WebServer("apache", "Apache", "apache", "sudo apachectl configtest && sudo systemctl reload apache2")
HAPROXY = WebServer(
    "haproxy", "HAProxy", "", "sudo haproxy -c -f /etc/haproxy/haproxy.cfg && sudo systemctl reload haproxy"
)
IIS = WebServer("iis", "IIS", "microsoft-iis", "")  # takes a web.config over when it is saved
SERVERS = (NGINX, APACHE, HAPROXY, IIS)

_NGINX_DOCS = "https://nginx.org/en/docs/http/"
_APACHE_DOCS = "https://httpd.apache.org/docs/2.4/mod/mod_rewrite.html#rewriterule"
_HAPROXY_DOCS = "https://docs.haproxy.org/2.6/configuration.html#4.2-http-request"
_IIS_DOCS = "https://learn.microsoft.com/en-us/iis/extensions/"
_IIS_PLACE = "In the web.config of the site, the first inside configuration, system.webServer, rewrite, rules."

RECIPES = (
    Recipe(
        Kind.REDIRECT,
        NGINX,
        # Not a location: a `return` of the server block itself, as sites that force HTTPS have it, answers before any.
        'if ($request_uri ~ "^/\\.well-known/acme-challenge/") { return 302 @portal@$request_uri; }',
        "The first line inside the server block that listens on port 80 for @name@.",
        _NGINX_DOCS + "ngx_http_rewrite_module.html",
    ),
    Recipe(
        Kind.REDIRECT,
        APACHE,
        # Not a Redirect: a RewriteRule of the site, as certbot leaves one, is asked before any of those.
        'RewriteEngine On\nRewriteRule "^/\\.well-known/acme-challenge/" "@portal@%{REQUEST_URI}" [R=302,L]',
        "In the VirtualHost of @name@ for port 80, above every other RewriteRule and Redirect. "
        "It needs mod_rewrite: sudo a2enmod rewrite",
        _APACHE_DOCS,
    ),
    Recipe(
        Kind.REDIRECT,
        HAPROXY,
        "http-request redirect code 302 prefix @portal@ if { path_beg /.well-known/acme-challenge/ }",
        "In the frontend that listens on port 80 (mode http), above every other http-request line.",
        _HAPROXY_DOCS,
    ),
    Recipe(
        Kind.REDIRECT,
        IIS,
        '<rule name="Bindery challenge" stopProcessing="true">'
        '<match url="^\\.well-known/acme-challenge/.+" />'
        '<action type="Redirect" url="@portal@/{R:0}" redirectType="Found" /></rule>',
        f"{_IIS_PLACE} It needs the module URL Rewrite.",
        _IIS_DOCS + "url-rewrite-module/url-rewrite-module-configuration-reference",
        tried=False,
    ),
    Recipe(
        Kind.PROXY,
        NGINX,
        "location ^~ /.well-known/acme-challenge/ { proxy_pass http://@upstream@; proxy_set_header Host $host; }",
        "In the server block that listens on port 80 for @name@. A `return` beside it, outside of any location, would "
        "answer first: put that one into location / { … }.",
        _NGINX_DOCS + "ngx_http_proxy_module.html",
    ),
    Recipe(
        Kind.PROXY,
        APACHE,
        'RewriteEngine On\nRewriteRule "^/\\.well-known/acme-challenge/" "http://@upstream@%{REQUEST_URI}" [P]',
        "In the VirtualHost of @name@ for port 80, above every other RewriteRule and Redirect. "
        "It needs three modules: sudo a2enmod rewrite proxy proxy_http",
        _APACHE_DOCS,
    ),
    Recipe(
        Kind.PROXY,
        HAPROXY,
        "http-request allow if { path_beg /.well-known/acme-challenge/ }\n"
        "use_backend bindery if { path_beg /.well-known/acme-challenge/ }\n"
        "\n"
        "backend bindery\n"
        "    server bindery @upstream@",
        "The first two lines into the frontend that listens on port 80 (mode http), above every other http-request and "
        "use_backend line; the backend beside the others.",
        _HAPROXY_DOCS,
    ),
    Recipe(
        Kind.PROXY,
        IIS,
        '<rule name="Bindery challenge" stopProcessing="true">'
        '<match url="^\\.well-known/acme-challenge/.+" />'
        '<action type="Rewrite" url="http://@upstream@/{R:0}" /></rule>',
        f"{_IIS_PLACE} It needs the modules URL Rewrite and Application Request Routing, with its proxy enabled.",
        _IIS_DOCS + "url-rewrite-module/reverse-proxy-with-url-rewrite-v2-and-application-request-routing",
        tried=False,
    ),
)


def recipes_filled(kind: Kind, *, name: str, portal: str = "", upstream: str = "", first: str = "") -> list[Recipe]:
    """Ready to be copied; that for the server whose key is `first` comes first."""
    values = {"@portal@": portal, "@name@": name, "@upstream@": upstream}
    filled = [recipe_filled(recipe, values) for recipe in RECIPES if recipe.kind == kind]
    return sorted(filled, key=lambda recipe: recipe.server.key != first)


def recipe_filled(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """`values` by their marks, such as "@name@"."""
    text, place = (_fill(part, values.items()) for part in (recipe.text, recipe.place))
    return replace(recipe, text=text, place=place)


def server_told(header: str) -> str:
    """The key of the server that a Server header names; "" where it is none of ours."""
    return next((one.key for one in SERVERS if one.sign and header.lower().startswith(one.sign)), "")


def _fill(text: str, values: Iterable[tuple[str, str]]) -> str:
    for mark, value in values:
        text = text.replace(mark, value)
    return text
