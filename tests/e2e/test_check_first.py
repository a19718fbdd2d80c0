"""Check first, in real Chromium and on the command line: a running portal, BIND, pebble's directory, and a stranger."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness.bind import Bind
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK

pytestmark = pytest.mark.e2e
RECORDS = {
    "test": [],
    "one.test": [
        "good A 127.0.0.1",
        "bad A 127.0.0.1",
        "bad AAAA ::1",
        'closed CAA 0 issue "other.example"',
        "closed A 127.0.0.1",
    ],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", "pebble", "named")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def place() -> Iterator[Portal]:
    need("named")
    with Bind(zones=RECORDS, records=RECORDS) as bind:
        servers = {"BINDERY_DNS_AUTHORITIES": bind.address, "BINDERY_DNS_RESOLVERS": bind.address}
        with Portal(environment={**servers, "BINDERY_HTTP_ADDRESS": LOOPBACK}) as portal:
            yield portal


@pytest.fixture(scope="module")
def ca(place: Portal) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=place.http_port) as running:
        yield running


@pytest.fixture(scope="module")
def stranger(place: Portal) -> Iterator[None]:
    """Somebody else's server at the IPv6 address, on the port that a CA would ask."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>It works!</h1>")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", place.http_port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("stranger")
def test_the_button_shows_findings_beside_the_form(browser: Browser, place: Portal, ca: Pebble) -> None:
    with visitor(browser, "check-first-") as alice:
        people.first_administrator(alice, place)
        people.configure(alice, place.http_url)
        given = {"directory_url": ca.directory_url, "ca_bundle": ca.ca_bundle_pem}
        people.fill_request(alice, names=["good.one.test"], **given)
        look(alice, "Nothing stands against it")
        alice.shot("all-well")

        people.fill_request(alice, names=["bad.one.test", "closed.one.test"], **given)
        look(alice, "The CA would probably refuse")
        findings = alice.page.locator("#findings .finding")
        expect(findings.first).to_have_attribute("data-code", "ipv6")
        expect(findings.first).to_contain_text("bad.one.test has the AAAA record ::1, where something else")
        expect(findings.first).to_contain_text("It works!")
        caa = alice.page.locator("#findings .finding[data-code=caa]").first
        expect(caa).to_contain_text("let only other CAs issue")
        expect(caa.locator("pre")).to_contain_text('closed.one.test. CAA 0 issue "pebble.letsencrypt.org')
        alice.shot("refused")
        # It is advice: the form is as it was, and nothing was stored.
        expect(alice.page.locator("[name=dns_names]")).to_have_value("bad.one.test, closed.one.test")
        count = "result = AcmeAccount.objects.count() + Order.objects.count()"
        assert place.run(f"from certs.models import AcmeAccount, Order; {count}") == 0


def look(alice: Visitor, heading: str) -> None:
    alice.page.get_by_role("button", name="Check first", exact=True).click()
    expect(alice.page.locator("#findings > h3")).to_have_text(heading, timeout=60_000)


@pytest.mark.usefixtures("stranger")
def test_the_shell_is_told_the_same(place: Portal, ca: Pebble) -> None:
    words = ["--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file), "--allow-private-ca"]
    good = place.manage("issue", "good.one.test", "--check", *words, check=False)
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1].endswith("ok. Nothing was ordered.")
    bad = place.manage("issue", "bad.one.test", "--check", "--json", *words, check=False)
    told = json.loads(bad.stdout)
    assert (bad.returncode, told["result"]) == (4, "error")
    first = told["checks"][0]["findings"][0]
    assert (first["code"], first["record"]) == ("ipv6", "bad.one.test. AAAA ::1")
