"""Run by test_elsewhere.py in a private network with addresses of the Internet: the portal at one, and at three others
nginx, Apache and HAProxy with sites that send everything to HTTPS, as people have them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from playwright.sync_api import Browser, Locator, expect

from tests.harness import person as people
from tests.harness import pki
from tests.harness.apache import Apache
from tests.harness.bind import Bind
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.dns import DnsServer
from tests.harness.haproxy import Haproxy
from tests.harness.namespace import is_inside
from tests.harness.nginx import Nginx
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, wait_until
from tests.harness.tls import served

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_elsewhere.py in a namespace of its own")

# Public by their numbers, and local in this network without belonging to an interface: “not an address of this
# machine” is true of all of them as far as the portal can see.
NET, NET6 = "93.184.216.0/24", "2606:2800:220::/48"
PORTAL, NGINX, APACHE, HAPROXY = (f"93.184.216.{number}" for number in (10, 20, 21, 22))
NGINX6, OTHER6 = "2606:2800:220::20", "2606:2800:220::99"
NAMES = {"www.one.test": "nginx", "shop.one.test": "apache", "api.one.test": "haproxy"}
RECORDS = {
    "portal.one.test": {"A": PORTAL},
    "www.one.test": {"A": NGINX, "AAAA": NGINX6},
    "shop.one.test": {"A": APACHE},
    "api.one.test": {"A": HAPROXY},
    "half.one.test": {"A": NGINX, "AAAA": OTHER6},
    "inside.one.test": {"A": "10.1.2.3"},
}

NGINX_SITE = """server {{
    listen 93.184.216.20:80;
    listen [2606:2800:220::20]:80;
    server_name www.one.test half.one.test;
    {line}
    return 301 https://$host$request_uri;
}}
server {{
    listen 93.184.216.20:443 ssl;
    listen [2606:2800:220::20]:443 ssl;
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
    location / {{ return 404 "the shop window\\n"; }}
}}
server {{
    listen [2606:2800:220::99]:80;
    location / {{ return 200 "<h1>Somebody else</h1>"; default_type text/html; }}
}}"""
APACHE_SITE = """<VirtualHost *:80>
    ServerName shop.one.test
    {line}
    RewriteEngine On
    RewriteCond %{{HTTPS}} !=on
    RewriteRule ^ https://%{{SERVER_NAME}}%{{REQUEST_URI}} [END,NE,R=permanent]
</VirtualHost>"""
HAPROXY_SITE = """frontend web
    bind 93.184.216.22:80
    {line}
    http-request redirect scheme https code 301 unless {{ ssl_fc }}
    default_backend site

backend site
    http-request return status 200 content-type text/plain string site
"""


class _OneAddress(Apache):
    def frame(self) -> str:
        return super().frame().replace("Listen 80", f"Listen {self.address}:80")


class Machines:
    """The three servers; each is given a line of its site, as an operator saves the file and reloads."""

    def __init__(self, stack: ExitStack) -> None:
        pair = pki.leaf(pki.authority("The CA of the site"), ["www.one.test"])
        self.nginx = Nginx("", (80, 443), address=NGINX)
        self.pem = self.nginx.home / "site.pem"
        self.pem.write_text(pair.pem + pair.key_pem)
        self.nginx.sites = NGINX_SITE.format(line="", pem=self.pem)
        self.apache = _OneAddress(APACHE_SITE.format(line=""), (80,), address=APACHE, modules=("rewrite",))
        self.haproxy = Haproxy(HAPROXY_SITE.format(line=""), port=80, address=HAPROXY)
        for server in (self.nginx, self.apache, self.haproxy):
            stack.enter_context(server)

    def use(self, key: str, line: str) -> None:
        if key == "nginx":
            self.nginx.use(NGINX_SITE.format(line=line, pem=self.pem))
        elif key == "apache":
            self.apache.use(APACHE_SITE.format(line=line))
        else:
            self.haproxy.reload(HAPROXY_SITE.format(line=line))


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    for command in (f"ip route add local {NET} dev lo", f"ip -6 route add local {NET6} dev lo"):
        subprocess.run(command.split(), check=True)
    Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
    with ExitStack() as stack:
        yield Machines(stack)


@pytest.fixture(scope="module")
def place(machines: Machines) -> Iterator[Portal]:
    records = [
        f"{name.removesuffix('.one.test')} {kind} {one}" for name in RECORDS for kind, one in RECORDS[name].items()
    ]
    zones = {"test": [], "one.test": records}
    with Bind(zones=zones, records=zones) as bind:
        environment = {
            "BINDERY_DNS_AUTHORITIES": bind.address,
            "BINDERY_DNS_RESOLVERS": bind.address,
            "BINDERY_HTTP_ADDRESS": f"{LOOPBACK},{PORTAL}",
            "BINDERY_HTTPS_ADDRESS": f"{LOOPBACK},{PORTAL}",
            "BINDERY_PUBLIC_URL": "http://portal.one.test",
        }
        with Portal(http_port=80, https_port=443, environment=environment) as portal:
            yield portal


@pytest.fixture(scope="module")
def ca() -> Iterator[Pebble]:
    dns = DnsServer()
    for name, found in RECORDS.items():
        for kind, address in found.items():
            dns.record(name, kind, address)
    with dns, Pebble(http_port=80, tls_port=443, dns=dns) as pebble:
        yield pebble


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


BREAKINGS = {
    "wrong port": ("return 302 http://portal.one.test:8080$request_uri;", "port 8080", "error"),
    "loop": ("return 302 http://$host$request_uri;", "redirects more than", "error"),
    "answers everything": ('return 200 "<html>Welcome</html>";', "status 200, nginx", "error"),
    "drops the path": ("return 302 http://portal.one.test/;", "drops the path", "error"),
    "another site": ("return 302 https://www.one.test$request_uri;", "status 404, nginx", "error"),
    "into the network": ("return 302 http://10.1.2.3$request_uri;", "cannot be asked", "unknown"),
}


@pytest.mark.parametrize("name", BREAKINGS)
def test_what_breaks_the_redirect_is_named(place: Portal, machines: Machines, name: str) -> None:
    line, words, level = BREAKINGS[name]
    machines.use("nginx", line)
    wait_until(lambda: words in _look(place, "www.one.test")["words"], timeout=10, what=words)
    found = _look(place, "www.one.test")
    assert (found["ok"], found["level"]) == (False, level)
    assert found["recipes"] == ["nginx", "apache", "haproxy", "iis"] or found["recipes"][0] == "nginx"


def test_one_of_two_addresses_is_not_enough(place: Portal, machines: Machines) -> None:
    machines.use("nginx", "return 302 http://portal.one.test$request_uri;")
    wait_until(lambda: _look(place, "www.one.test")["ok"], timeout=10, what="the redirect")
    found = _look(place, "half.one.test")
    assert (found["ok"], found["level"]) == (False, "error")
    assert "at some of its addresses only" in found["sentence"]
    assert found["places"] == {NGINX: "ok", OTHER6: "error"}


def test_a_private_address_tells_nothing_of_the_inside(place: Portal) -> None:
    found = _look(place, "inside.one.test")
    assert (found["ok"], found["places"]) == (False, {"10.1.2.3": "unknown"})
    assert "not on the Internet" in found["words"]


def test_to_a_served_certificate(browser: Browser, place: Portal, ca: Pebble, machines: Machines) -> None:
    machines.use("nginx", "")
    with visitor(browser, "elsewhere-") as alice:
        people.first_administrator(alice, place)
        people.configure(alice, place.http_url)
        given = {"directory_url": ca.directory_url, "ca_bundle": ca.ca_bundle_pem}
        people.fill_request(alice, names=list(NAMES), **given)
        alice.page.get_by_role("button", name="Check first", exact=True).click()
        for name in NAMES:
            expect(_where(alice, name)).to_contain_text("not an address of this machine", timeout=90_000)
        alice.shot("check-first")

        alice.page.get_by_role("button", name="Register", exact=True).click()
        expect(alice.page.get_by_role("button", name="Register anyway")).to_be_visible(timeout=60_000)
        alice.shot("they-lead-elsewhere")
        www = _where(alice, "www.one.test")
        expect(www).to_contain_text("does not lead to this portal")
        for words in (NGINX, NGINX6, "status 301, nginx/", "➜ https://www.one.test/", "http://portal.one.test"):
            expect(www).to_contain_text(words)
        expect(www.locator("[data-recipe=redirect-nginx]")).to_have_attribute("open", "")  # it has said what it is
        expect(_where(alice, "shop.one.test").locator("[data-recipe=redirect-apache]")).to_have_attribute("open", "")

        for name, key in NAMES.items():
            machines.use(key, _recipe(alice, name, key))
            section = _where(alice, name)
            _prove(section)
            expect(section).to_contain_text(f"The challenge path of {name} leads to this portal.")
            expect(section).to_contain_text("➜ http://portal.one.test/.well-known/acme-challenge/")
        alice.shot("proven")
        alice.page.set_viewport_size({"width": 360, "height": 800})
        alice.shot("proven-narrow")
        alice.page.set_viewport_size({"width": 1200, "height": 850})

        alice.page.get_by_role("button", name="Check again and register").click()
        alice.page.wait_for_url(f"**{people.LETS_ENCRYPT}")
        people.wait_for_certificate(alice)
    assert ca.issued() == 1
    assert _served_names("www.one.test") == set(NAMES)
    for log in (machines.nginx.requests, machines.apache.requests):
        assert any("/.well-known/acme-challenge/" in line for line in log)


def test_the_shell_prints_the_recipe_and_the_proof(place: Portal, ca: Pebble, machines: Machines) -> None:
    machines.use("nginx", "")
    wait_until(lambda: not _look(place, "www.one.test")["ok"], timeout=10, what="the site as it was")
    words = ["issue", "www.one.test", "--check", "--directory", ca.directory_url, "--allow-private-ca"]
    words += ["--ca-bundle", str(ca.ca_bundle_file)]
    said = place.manage(*words, check=False)
    assert said.returncode == 4, said.stderr
    lines = [line.strip() for line in said.stdout.splitlines()]
    line = next(line for line in lines if line.startswith("if ($request_uri"))
    assert "sudo nginx -t && sudo systemctl reload nginx" in lines
    assert not any("RewriteRule" in one for one in lines)  # it is known what stands there
    machines.use("nginx", line)
    wait_until(lambda: _look(place, "www.one.test")["ok"], timeout=10, what="the redirect")
    said = place.manage(*words, check=False)
    assert said.returncode == 0, said.stdout
    assert "our own answer, after a redirect to http://portal.one.test/.well-known/acme-challenge/" in said.stdout


def test_the_page_of_a_failed_order_has_them_too(
    browser: Browser, place: Portal, ca: Pebble, machines: Machines
) -> None:
    machines.use("haproxy", "")
    with visitor(browser, "elsewhere-failed-") as alice:
        people.log_in(alice, place.http_url)
        words = ["issue", "api.one.test", "--directory", ca.directory_url, "--allow-private-ca", "--json"]
        place.manage(*words, "--ca-bundle", str(ca.ca_bundle_file), "--accept-terms", check=False)
        failed = place.rows("SELECT id FROM certs_order WHERE state = 'failed'")
        assert failed
        alice.go(f"{place.http_url}/activity/{UUID(failed[0]['id'])}/")
        alice.page.get_by_role("button", name="Look where api.one.test leads now").click()
        section = _where(alice, "api.one.test")
        expect(section).to_contain_text(HAPROXY, timeout=60_000)
        alice.shot("where")
        line = _recipe(alice, "api.one.test", "haproxy")
        machines.use("haproxy", line)
        _prove(section)
        expect(section).to_contain_text("leads to this portal.")
        # To port 443 just as well: the CA looks at no certificate on the way.
        machines.use("haproxy", line.replace("http://portal", "https://portal"))
        _prove(section)
        expect(section).to_contain_text("➜ https://portal.one.test/.well-known/acme-challenge/")
        issued = ca.issued()
        alice.page.get_by_role("button", name="Try again").click()
        expect(alice.page.locator("body")).to_contain_text("Done: the certificate is issued", timeout=90_000)
    assert ca.issued() == issued + 1


def _where(alice: Visitor, name: str) -> Locator:
    return alice.page.locator(f".where[data-where='{name}']")


def _prove(section: Locator) -> None:
    """By the button, until it is green: a server takes its new configuration over in a moment."""

    def is_green() -> bool:
        with section.page.expect_response("**/where/", timeout=60_000):
            section.get_by_role("button", name="Prove it").click()
        section.locator("h3 .state").first.wait_for()
        return "state-ok" in (section.locator("h3 .state").first.get_attribute("class") or "")

    wait_until(is_green, timeout=20, what="the proof")


def _recipe(alice: Visitor, name: str, key: str) -> str:
    """As a person copies it: by the button, where the browser lets the page."""
    details = _where(alice, name).locator(f"[data-recipe=redirect-{key}]")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    details.get_by_role("button", name="Copy").click()
    expect(details.get_by_role("button", name="Copied")).to_be_visible()
    return details.locator("textarea").input_value()


def _look(place: Portal, name: str) -> dict[str, object]:
    said = place.run(f"""
import json
from certs.services.elsewhere import names_look
[one] = names_look(["{name}"])
result = json.dumps({{
    "ok": one.ok, "level": one.level, "sentence": one.sentence, "recipes": [r.server.key for r in one.redirects],
    "words": " | ".join(p.reach.detail for p in one.places), "places": {{p.address: p.level for p in one.places}},
}})""")
    return dict(json.loads(said))


def _served_names(server_name: str) -> set[str]:
    found = served(443, server_name, address=PORTAL).extensions
    return set(found.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName))
