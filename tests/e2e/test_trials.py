"""What is on trial, in real Chromium: another port for HTTPS, and Force SSL. Kept it stays, not kept it returns."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from portal.scheme import SchemePolicy
from tests.harness import person as people
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, free_port, free_ports, is_listening, wait_until
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e

NAME = "portal.test"
BINDINGS, HTTPS, PLAIN = "/configuration/bindings/", "/configuration/https/", "/help/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with chromium() as running:
        yield running


@pytest.fixture
def place() -> Iterator[Portal]:
    """A portal that people reach as https://portal.test, and whose trials last as long as in earnest."""
    _, https_port = free_ports(2)
    environment = {"BINDERY_PUBLIC_URL": f"https://{NAME}:{https_port}", "BINDERY_TEST_CONFIRM_SECONDS": "120"}
    with Portal(https_port=https_port, environment=environment, settings="tests.harness.short_confirm") as portal:
        yield portal


def try_port(alice: Visitor, base: str, port: int) -> None:
    alice.go(base + BINDINGS)
    alice.page.fill("[name=port]", str(port))
    alice.page.get_by_role("button", name="Try this address").click()


def let_it_pass(place: Portal) -> None:
    """The time to confirm, which is real time and cannot be moved as the portal's clock is."""
    place.run(
        "from certs.models import Rebind\n"
        "from portal import clock\n"
        "Rebind.objects.filter(state='awaiting').update(deadline=clock.real())"
    )


def test_a_port_that_nobody_keeps_returns_and_one_that_is_kept_stays(browser: Browser, place: Portal) -> None:
    old, new = place.https_port, free_port()
    with visitor(browser) as alice:
        page = alice.page
        people.first_administrator(alice, place)
        before = served_fingerprint(old, NAME)

        try_port(alice, place.http_url, new)
        go = page.get_by_role("button", name="Go to https:")
        expect(go).to_be_visible(timeout=60_000)  # the page follows by itself
        alice.shot("on-trial")
        assert served_fingerprint(new, NAME) == before
        assert is_listening(old)
        # Nobody does anything; the page says so without being asked.
        let_it_pass(place)
        expect(page.locator("body")).to_contain_text("Nobody confirmed the new address in time", timeout=60_000)
        alice.shot("returned")
        assert served_fingerprint(old, NAME) == before
        wait_until(lambda: not is_listening(new), timeout=20, what="the end of the new port")

        # At once again, as somebody does who was too slow; and this time kept from there.
        try_port(alice, place.http_url, new)
        expect(go).to_be_visible(timeout=60_000)
        go.click()
        page.wait_for_url(re.compile(f":{new}{BINDINGS}"))
        expect(page.locator("body")).to_contain_text("You came in through the new address")
        alice.shot("there")
        page.get_by_role("button", name="Keep this address").click()
        expect(page.locator("body")).to_contain_text("Kept: the portal listens on")
        alice.shot("kept")
        wait_until(lambda: not is_listening(old), timeout=40, what="the end of the old port")
        page.reload()
        expect(page.locator("h1")).to_have_text("Bindings")  # and she is logged in there

    place.https_port = new
    place.restart()
    assert served_fingerprint(new, NAME) == before
    assert not is_listening(old)


def test_a_port_reached_but_not_kept_returns_too(browser: Browser, place: Portal) -> None:
    old, new = place.https_port, free_port()
    with visitor(browser) as alice:
        people.first_administrator(alice, place)
        try_port(alice, place.http_url, new)
        alice.page.get_by_role("button", name="Go to https:").click(timeout=60_000)
        alice.page.wait_for_url(re.compile(f":{new}{BINDINGS}"))
        let_it_pass(place)
        wait_until(lambda: not is_listening(new), timeout=30, what="the return")
        alice.go(place.http_url + BINDINGS)
        expect(alice.page.locator("body")).to_contain_text("Nobody confirmed the new address in time")
    assert is_listening(old)
    assert place.rows("SELECT port FROM certs_listener WHERE protocol = 'https'") == [{"port": old}]


def test_force_ssl_returns_unless_it_is_kept(browser: Browser, place: Portal) -> None:
    secure, plain = place.url(NAME), place.url(NAME, "http")
    with visitor(browser) as alice:
        page = alice.page
        people.first_administrator(alice, place)
        people.log_in(alice, secure)

        # From plain HTTP there is no button, and the page leads to where it is.
        alice.go(place.http_url + HTTPS)
        expect(page.get_by_role("button", name="Switch Force SSL on")).to_have_count(0)
        page.get_by_role("link", name=secure).first.click()
        page.wait_for_url(secure + HTTPS)

        page.get_by_role("button", name="Switch Force SSL on").click()
        expect(page.locator("body")).to_contain_text("On trial")
        alice.shot("on-trial")
        _is_forced(alice, place)
        page.get_by_role("link", name=plain).click()
        page.wait_for_url(secure + HTTPS)

        place.move_clock(121)  # two minutes pass, and nobody has confirmed
        wait_until(lambda: place.get(PLAIN).status_code != 307, timeout=5, what="Force SSL off by itself")
        time.sleep(2 * SchemePolicy.KEEP_SECONDS)  # by then no process goes by what it read before
        alice.go(plain + "/accounts/login/")
        assert page.url.startswith(plain)
        alice.go(secure + HTTPS)
        expect(page.locator("body")).to_contain_text("Pages are answered on plain HTTP too")
        alice.shot("returned")

        page.get_by_role("button", name="Switch Force SSL on").click()
        page.get_by_role("button", name="Keep Force SSL").click()
        expect(page.locator("body")).to_contain_text("Force SSL is on")
        alice.shot("kept")
        place.move_clock(10_000)
        place.restart()
        _is_forced(alice, place)

    assert place.manage("break_glass").returncode == 0
    wait_until(lambda: place.get(PLAIN).status_code != 307, timeout=5, what="plain HTTP after break_glass")


def _is_forced(alice: Visitor, place: Portal) -> None:
    """People are led to HTTPS; a CA, a load balancer and a client of revocation lists are not."""
    assert {place.get(PLAIN).status_code for _ in range(6)} == {307}  # each process, at once
    assert place.get(PLAIN).headers["Location"] == f"https://{NAME}:{place.https_port}{PLAIN}"
    for path, status in {"/healthz": 200, "/readyz": 200, "/.well-known/acme-challenge/unknown": 404}.items():
        for host in (NAME, LOOPBACK, "unknown.example"):
            assert place.get(path, headers={"Host": host}).status_code == status, path
    alice.go(place.url(NAME, "http") + PLAIN)
    assert alice.page.url == place.url(NAME) + PLAIN
    alice.go(place.url(NAME) + HTTPS)
