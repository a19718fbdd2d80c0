"""The recipes, word for word, inside Debian's nginx, Apache and HAProxy, in sites that send everything to HTTPS."""

import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from certs.domain.recipes import RECIPES, Kind, Recipe, recipes_filled, server_told
from tests.harness.apache import Apache
from tests.harness.haproxy import Haproxy
from tests.harness.need import need
from tests.harness.nginx import Nginx
from tests.harness.ports import LOOPBACK, free_port, wait_until

PATH = "/.well-known/acme-challenge/token-_.1"
PORTAL = "http://portal.example.com"

# Sites as people have them: {recipe} is the place that the recipe's words name.
NGINX_FORCED = """server {{
    listen {port};
    server_name www.example.com;
    {recipe}
    return 301 https://$host$request_uri;
}}"""
NGINX_LOCATION = """server {{
    listen {port};
    server_name www.example.com;
    {recipe}
    location / {{ return 301 https://$host$request_uri; }}
    location ~ /\\. {{ deny all; }}
}}"""
APACHE_REDIRECT = """<VirtualHost *:{port}>
    ServerName www.example.com
    {recipe}
    Redirect permanent "/" "https://www.example.com/"
</VirtualHost>"""
APACHE_REWRITE = """<VirtualHost *:{port}>
    ServerName www.example.com
    {recipe}
    RewriteEngine On
    RewriteCond %{{HTTPS}} !=on
    RewriteRule ^ https://%{{SERVER_NAME}}%{{REQUEST_URI}} [END,NE,R=permanent]
</VirtualHost>"""
HAPROXY_FORCED = """frontend web
    bind 127.0.0.1:{port}
    {recipe}
    http-request redirect scheme https code 301 unless {{ ssl_fc }}
    default_backend site

backend site
    http-request return status 200 content-type text/plain string site
"""
SITES = {
    "nginx": (NGINX_FORCED, NGINX_LOCATION),
    "apache": (APACHE_REDIRECT, APACHE_REWRITE),
    "haproxy": (HAPROXY_FORCED,),
}
PROXY_SITES = {**SITES, "nginx": (NGINX_LOCATION,)}  # as its words say: a bare `return` goes into location /


def _server(key: str, site: str, port: int) -> AbstractContextManager[Any]:
    if key == "haproxy":
        return Haproxy(site, port=port)
    return (Nginx if key == "nginx" else Apache)(site, (port,))


def _cases(kind: Kind) -> list[Any]:
    sites = SITES if kind == Kind.REDIRECT else PROXY_SITES
    return [pytest.param(key, site, id=f"{key}-{number}") for key in sites for number, site in enumerate(sites[key])]


def _recipe(kind: Kind, key: str, **values: str) -> Recipe:
    found = recipes_filled(kind, name="www.example.com", first=key, **values)[0]
    assert found.server.key == key
    return found


def _ask(port: int, path: str) -> requests.Response:
    headers = {"Host": "www.example.com"}
    return requests.get(f"http://{LOOPBACK}:{port}{path}", headers=headers, allow_redirects=False, timeout=5)


@pytest.mark.parametrize(("key", "site"), _cases(Kind.REDIRECT))
def test_a_redirect_sends_only_the_challenge_path_to_the_portal(key: str, site: str) -> None:
    need({"apache": "apache2"}.get(key, key))
    port = free_port()
    recipe = _recipe(Kind.REDIRECT, key, portal=PORTAL)
    with _server(key, site.format(port=port, recipe=recipe.text), port):
        answer = _ask(port, PATH)
        assert (answer.status_code, answer.headers["Location"]) == (302, PORTAL + PATH)
        assert _ask(port, f"{PATH}?a=1").headers["Location"].startswith(PORTAL + PATH)
        for other in ("/", "/index.html", "/well-known/acme-challenge/x", "/a/well-known/acme-challenge/x"):
            answer = _ask(port, other)
            assert (answer.status_code, answer.headers.get("Location")) == (301, f"https://www.example.com{other}"), (
                other
            )


@pytest.fixture
def portal() -> Iterator[str]:
    """Something that says under which Host and path it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"{LOOPBACK}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("key", "site"), _cases(Kind.PROXY))
def test_a_proxy_passes_only_the_challenge_path_on(key: str, site: str, portal: str) -> None:
    need({"apache": "apache2"}.get(key, key))
    port = free_port()
    recipe = _recipe(Kind.PROXY, key, upstream=portal)
    lines, _, backend = recipe.text.partition("\n\n")  # HAProxy's backend stands beside the others
    with _server(key, site.format(port=port, recipe=lines) + f"\n{backend}\n", port):
        wait_until(lambda: _ask(port, PATH).status_code != 503, timeout=5, what="the backend")
        answer = _ask(port, PATH)
        assert (answer.status_code, answer.text) == (200, PATH)
        answer = _ask(port, "/index.html")
        assert (answer.status_code, answer.headers.get("Location")) == (301, "https://www.example.com/index.html")


@pytest.mark.parametrize("recipe", [one for one in RECIPES if one.server.key == "iis"], ids=lambda one: one.kind)
def test_the_rules_for_iis_read_as_its_documents_say(recipe: Recipe) -> None:
    """There is no IIS here: the rule is read as XML, and its pattern is applied as the reference says it is (to the
    path without its first slash, ignoring case, {R:0} being what matched)."""
    filled = _recipe(recipe.kind, "iis", portal=PORTAL, upstream="192.0.2.1:8080")
    assert not filled.tried
    rule = ElementTree.fromstring(filled.text)
    match, action = rule.find("match"), rule.find("action")
    assert match is not None
    assert action is not None
    assert (rule.tag, rule.get("stopProcessing")) == ("rule", "true")
    found = re.match(match.get("url", ""), PATH.removeprefix("/"), re.IGNORECASE)
    assert found is not None
    target = action.get("url", "").replace("{R:0}", found[0])
    if recipe.kind == Kind.REDIRECT:
        assert (action.get("type"), action.get("redirectType")) == ("Redirect", "Found")
        assert target == PORTAL + PATH
    else:
        assert (action.get("type"), target) == ("Rewrite", f"http://192.0.2.1:8080{PATH}")
    for other in ("", "index.html", "a/.well-known/acme-challenge/x", ".well-known/security.txt"):
        assert re.match(match.get("url", ""), other, re.IGNORECASE) is None


def test_every_mark_is_filled_in() -> None:
    for kind in Kind:
        for recipe in recipes_filled(kind, name="www.example.com", portal=PORTAL, upstream="192.0.2.1:8080"):
            assert "@" not in recipe.text + recipe.place
            assert recipe.source.startswith("https://")


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("nginx/1.22.1", "nginx"),
        ("Apache/2.4.68 (Debian)", "apache"),
        ("Microsoft-IIS/10.0", "iis"),
        ("cloudflare", ""),
        ("", ""),
    ],
)
def test_a_server_is_known_by_its_header(header: str, key: str) -> None:
    assert server_told(header) == key
