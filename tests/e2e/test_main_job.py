"""The main job in real Chromium against pebble: set-up link → Configure → Register → HTTPS → renewal."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.tls import KeptConnection, served, served_fingerprint

pytestmark = pytest.mark.e2e

NAME = "portal.test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", "pebble")
    with chromium() as running:
        yield running


@pytest.mark.parametrize("nonce_reject", [5, 50])
def test_from_the_one_time_link_to_https_that_renews_itself(browser: Browser, nonce_reject: int) -> None:
    with (
        Portal() as portal,
        Pebble(http_port=portal.http_port, nonce_reject=nonce_reject) as pebble,
        visitor(browser, f"{nonce_reject}-") as alice,
    ):
        home = portal.url(NAME)
        people.first_administrator(alice, portal)
        alice.shot("welcome")
        people.obtain(alice, portal.http_url, pebble, [NAME, "www.portal.test"])

        assert served(portal.https_port, NAME, roots_pem=pebble.root_pem())  # chain and name verified
        assert pebble.issued() == 1
        first = served_fingerprint(portal.https_port, NAME)
        _is_what_the_portal_says(portal, first)

        # The browser is taken there, and Alice is still logged in.
        expect(alice.page.locator("body")).to_contain_text("will warn")
        people.go_to_https(alice, home)
        alice.shot("https-home")
        assert not alice.page.get_by_role("button", name="Log in").is_visible()
        alice.go(home + people.LETS_ENCRYPT)
        alice.shot("https-certificate")
        expect(alice.page.locator("body")).to_contain_text("You are there")
        assert "www.portal.test" in alice.text()
        assert "Pebble" in alice.text()
        _cookies_are_secure(alice.context.cookies(home))

        _renews_when_due(portal, pebble, first)
        alice.page.reload()
        alice.shot("https-renewed")
        assert alice.page.get_by_role("button", name="Renew now").is_visible()


def _renews_when_due(portal: Portal, pebble: Pebble, first: str) -> None:
    """Within 21 days of the end the check renews, and running processes serve it on connections they keep."""
    serving = portal.processes("gunicorn") or [child.pid for child in portal.process.children()]
    early = portal.manage("check_certificates", "--json")
    assert served_fingerprint(portal.https_port, NAME) == first, early.stdout
    kept = KeptConnection(portal.https_port, NAME)
    assert kept.get() == 200

    portal.hold_schedule()
    portal.move_clock(timedelta(days=70))
    done = portal.manage("check_certificates", "--json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout), "the last line and the JSON say what was done"
    wait_until(
        lambda: first not in {served_fingerprint(portal.https_port, NAME) for _ in range(12)},
        timeout=60,
        what="the renewed certificate served by every process",
    )
    assert pebble.issued() == 2
    assert kept.get() == 200  # the connection from before the renewal is still good
    kept.close()
    assert portal.process.is_alive()
    assert set(serving) <= {portal.process.pid, *(child.pid for child in portal.process.children())}
    _is_what_the_portal_says(portal, served_fingerprint(portal.https_port, NAME))


def _is_what_the_portal_says(portal: Portal, fingerprint: str) -> None:
    """The version in use is the one served."""
    rows = portal.rows(
        "SELECT v.fingerprint_sha256 AS fingerprint FROM certs_binding b"
        " JOIN certs_certificate c ON c.id = b.certificate_id JOIN certs_certificateversion v ON v.id = c.current_id"
    )
    assert fingerprint in {row["fingerprint"] for row in rows}


def _cookies_are_secure(cookies: list[dict[str, object]]) -> None:
    session = [cookie for cookie in cookies if str(cookie["name"]).endswith("session") and cookie["secure"]]
    assert session
    assert all(cookie["httpOnly"] for cookie in session)
