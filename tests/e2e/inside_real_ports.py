"""Run by test_real_ports.py in a private network: portal.test leads to loopback; the portal has ports 80 and 443."""

import base64
import hashlib
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness import pki
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.namespace import is_inside
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, wait_until

NAME = "portal.test"
PLAIN, SECURE = f"http://{NAME}", f"https://{NAME}"
PAGE = "/configuration/https/"
# One day as the schedule lives it, though at once: a healthy check every 50 minutes, by the portal's own clock.
A_DAY = """
from datetime import timedelta
from django.conf import settings
from certs.services.https import hsts_advance
from certs.services.portal_state import state_get
file = settings.TEST_CLOCK_FILE
begun = float(file.read_text()) if file.exists() else 0.0
for check in range(1, 30):
    file.write_text(str(begun + check * 3000))
    hsts_advance()
result = state_get().hsts_step
"""

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_real_ports.py in a namespace of its own")


def test_force_ssl_and_hsts_in_a_browser_that_remembers(tmp_path: Path) -> None:
    roots = tmp_path / "public-roots.pem"
    roots.write_text(pki.authority("Some other root").pem)
    environment = {"BINDERY_PUBLIC_ROOTS": str(roots)}
    with (
        Portal(http_port=80, https_port=443, environment=environment) as portal,
        Pebble(http_port=80, tls_port=443) as pebble,
        chromium(args=[_trusting(pebble)]) as browser,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal, host=NAME)
        # The name leads here on port 80, so the portal proves the challenge path by itself and asks nothing.
        people.obtain(alice, PLAIN, pebble, [NAME], anyway=False)
        people.go_to_https(alice, SECURE)
        alice.go(SECURE + PAGE)
        alice.page.get_by_role("button", name=f"Use {SECURE}").click()  # as the public URL

        _force(alice)
        _hsts_of_a_private_ca(alice, portal)
        roots.write_text(pebble.root_pem())
        _hsts_of_a_public_ca(alice, portal)
        _the_browser_remembers_and_forgets(browser, alice)
        _an_expired_certificate_can_be_renewed(alice, portal, pebble)
        _break_glass(portal)


def _force(alice: Visitor) -> None:
    page = alice.page
    assert _answer(PLAIN + "/healthz").status_code == 200
    page.get_by_role("button", name="Switch Force SSL on").click()
    expect(page.locator("body")).to_contain_text("On trial")
    alice.shot("force-on-trial")
    assert _statuses(PLAIN + "/help/") == {307}  # each process, at once
    page.get_by_role("link", name=PLAIN).click()  # as the page asks for
    page.wait_for_url(SECURE + PAGE)
    page.get_by_role("button", name="Keep Force SSL").click()
    expect(page.locator("body")).to_contain_text("Force SSL is on")
    alice.go(PLAIN + "/help/?a=1")
    assert page.url == f"{SECURE}/help/?a=1"
    assert _answer(PLAIN + "/healthz").status_code == 200


def _hsts_of_a_private_ca(alice: Visitor, portal: Portal) -> None:
    """Only after typing the host name, and for one day at most, however long all is well."""
    page = alice.page
    alice.go(SECURE + PAGE)
    alice.shot("hsts-private-ca")
    page.fill("[name=typed_host]", "www.portal.test")
    page.get_by_role("button", name="Switch HSTS on").click()
    expect(page.locator("body")).to_contain_text(f"Type {NAME} to go on")
    assert _header() is None
    page.fill("[name=typed_host]", NAME)
    page.get_by_role("button", name="Switch HSTS on").click()
    _shows(alice, "max-age=300")
    assert _header(f"https://{LOOPBACK}") is None  # another host of the same portal is not bound to it
    assert "Strict-Transport-Security" not in _answer(PLAIN + "/help/").headers  # RFC 6797 §7.2
    for seconds in (3600, 86_400, 86_400):
        portal.run(A_DAY)
        _shows(alice, f"max-age={seconds}")
    expect(page.locator("body")).to_contain_text("not for a CA outside public trust")
    alice.shot("hsts-one-day-at-most")
    page.get_by_role("button", name="Switch HSTS off").click()
    _shows(alice, "max-age=0")


def _hsts_of_a_public_ca(alice: Visitor, portal: Portal) -> None:
    """Step by step up to a year, without typing anything."""
    page = alice.page
    alice.go(SECURE + PAGE)
    expect(page.locator("[name=typed_host]")).to_have_count(0)
    page.get_by_role("button", name="Switch HSTS on").click()
    _shows(alice, "max-age=300")
    alice.shot("hsts-five-minutes")
    for seconds in (3600, 86_400, 31_536_000):
        portal.run(A_DAY)
        _shows(alice, f"max-age={seconds}")
    alice.shot("hsts-one-year")


def _the_browser_remembers_and_forgets(browser: Browser, alice: Visitor) -> None:
    """Health is answered on plain HTTP always, so only HSTS can lead this path to HTTPS."""
    with visitor(browser, "remembers-", ignore_https_errors=False) as bob:
        bob.go(PLAIN + "/healthz")
        assert bob.page.url == PLAIN + "/healthz"
        bob.go(SECURE + "/accounts/login/")
        bob.go(PLAIN + "/healthz")
        assert bob.page.url == SECURE + "/healthz"

        alice.page.get_by_role("button", name="Switch HSTS off").click()
        _shows(alice, "max-age=0")
        bob.go(SECURE + "/accounts/login/")
        bob.go(PLAIN + "/healthz")
        assert bob.page.url == PLAIN + "/healthz"


def _an_expired_certificate_can_be_renewed(alice: Visitor, portal: Portal, pebble: Pebble) -> None:
    """Both on, and the own certificate expired: the CA's question is answered on plain HTTP, in place."""
    alice.page.get_by_role("button", name="Switch HSTS on").click()
    _shows(alice, "max-age=300")
    portal.hold_schedule()
    portal.move_clock(timedelta(days=120))
    wait_until(lambda: _headers() == {None}, timeout=8, what="no HSTS header with an expired certificate")
    alice.page.reload()
    alice.shot("expired-with-both-on")
    assert _answer(PLAIN + "/help/").status_code == 307
    token = portal.run("from certs.services.reachability import probe_token\nresult = probe_token()")
    assert _answer(f"{PLAIN}/.well-known/acme-challenge/{token}").status_code == 200
    portal.manage("renew", NAME, "--force", "--json", check=False)  # still expired by the moved clock, so not "served"
    wait_until(lambda: pebble.issued() >= 2, timeout=30, what="the second certificate")


def _break_glass(portal: Portal) -> None:
    done = portal.manage("break_glass")
    assert f"{PLAIN}/" in done.stdout or "http://localhost/" in done.stdout
    wait_until(lambda: 307 not in _statuses(PLAIN + "/help/"), timeout=8, what="plain HTTP after break_glass")
    wait_until(lambda: _headers() == {"max-age=0"}, timeout=8, what="the header that makes browsers forget")


def _shows(alice: Visitor, header: str) -> None:
    """The header on the wire and on the page."""
    wait_until(lambda: _headers() == {header}, timeout=8, what=header)
    alice.go(SECURE + PAGE)
    expect(alice.page.locator("body")).to_contain_text(header)


def _statuses(url: str) -> set[int]:
    """Of several answers: each process follows a switch within a second."""
    return {_answer(url).status_code for _ in range(6)}


def _headers() -> set[str | None]:
    return {_header() for _ in range(6)}


def _header(base: str = SECURE) -> str | None:
    return _answer(base + "/accounts/login/").headers.get("Strict-Transport-Security")


def _answer(url: str) -> requests.Response:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        return requests.get(url, verify=False, allow_redirects=False, timeout=10)


def _trusting(pebble: Pebble) -> str:
    """A flag of Chromium: what this CA issues is taken as if a root that browsers know had issued it."""
    certificate = x509.load_pem_x509_certificate(pebble.intermediate_pem().encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"--ignore-certificate-errors-spki-list={base64.b64encode(hashlib.sha256(spki).digest()).decode()}"
