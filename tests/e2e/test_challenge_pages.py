"""Configuration ➜ Challenges in real Chromium: methods set up and tested for real, an order by hand that goes on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from tests.harness import person as people
from tests.harness.bind import KEY, OTHER_SECRET, SECRET, Bind
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, free_port

pytestmark = pytest.mark.e2e

RECORDS = {"one.test": ["_acme-challenge.delegated CNAME a1b2.two.test."], "two.test": []}
CHALLENGES = "/configuration/challenges/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", "pebble", "named")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    need("named")
    with Bind(zones=RECORDS, records=RECORDS, recursive=True) as running:
        yield running


@pytest.fixture(scope="module")
def place(bind: Bind) -> Iterator[Portal]:
    servers = {"BINDERY_DNS_AUTHORITIES": bind.address, "BINDERY_DNS_RESOLVERS": bind.address}
    with Portal(environment=servers) as portal:
        yield portal


@pytest.fixture(scope="module")
def alice(browser: Browser, place: Portal) -> Iterator[Visitor]:
    with visitor(browser, "challenges-") as person:
        people.first_administrator(person, place)
        yield person


def choose(alice: Visitor, place: Portal, label: str) -> None:
    alice.go(place.http_url + CHALLENGES)
    alice.page.get_by_role("link", name="New method").click()
    alice.page.get_by_role("link", name=f"Choose {label}", exact=True).click()
    expect(alice.page.locator("h1")).to_have_text(label)


def try_out(alice: Visitor, name: str) -> None:
    alice.page.fill("[name=dns_name]", name)
    alice.page.get_by_role("button", name="Test", exact=True).click()


def test_a_credential_is_set_up_tested_and_mended(alice: Visitor, place: Portal, bind: Bind) -> None:
    page = alice.page
    choose(alice, place, "DNS (dynamic update)")
    alice.shot("new")
    page.fill("[name=name]", "Own DNS")
    page.fill("[name=option_server]", LOOPBACK)
    page.fill("[name=option_port]", str(bind.port))
    page.fill("[name=option_key]", KEY)
    page.fill("[name=option_secret]", OTHER_SECRET)
    page.get_by_role("button", name="Set up").click()
    expect(page.locator("body")).to_contain_text("Own DNS is set up")

    try_out(alice, "one.test")
    expect(page.locator("#tested")).to_contain_text("BADSIG", timeout=30_000)
    alice.shot("test-failed")

    page.fill("[name=option_secret]", SECRET)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("body")).to_contain_text("Own DNS is changed")
    assert SECRET not in page.content()
    try_out(alice, "*.one.test")
    expect(page.locator("#tested")).to_contain_text("It works", timeout=30_000)
    page.get_by_text("Step by step").click()
    expect(page.locator("#tested")).to_contain_text("Taken away again")
    alice.shot("test-passed")
    assert not bind.values("_acme-challenge.one.test")

    alice.go(place.http_url + CHALLENGES)
    expect(page.locator("table")).to_contain_text("works")
    alice.shot("list")


def test_a_provider_is_chosen_before_its_fields_are_shown(alice: Visitor, place: Portal) -> None:
    page = alice.page
    choose(alice, place, "DNS (provider)")
    page.select_option("#choice", "cloudflare")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("[name=option_auth_token]")).to_have_attribute("type", "password")
    expect(page.locator("[name=option_zone_id]")).to_have_attribute("type", "text")
    alice.shot("provider")
    page.get_by_role("link", name="Choose another").click()
    page.select_option("#choice", "powerdns")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("[name=option_pdns_server]")).to_be_visible()


def test_an_order_by_hand_shows_its_records_and_goes_on_without_a_click(
    alice: Visitor, place: Portal, bind: Bind
) -> None:
    page = alice.page
    choose(alice, place, "DNS (by hand)")
    page.fill("[name=name]", "By hand")
    page.get_by_role("button", name="Set up").click()
    person = Dns01Rfc2136(Dns01Rfc2136.Options(server=LOOPBACK, port=bind.port, key=KEY, secret=SECRET))
    names = "*.one.test,one.test,*.delegated.one.test"
    with Pebble(http_port=free_port(), dns=bind) as ca, ThreadPoolExecutor(1) as pool:
        words = ["--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file), "--allow-private-ca"]
        issue = pool.submit(
            lambda: place.manage("issue", names, "--challenge", "By hand", "--accept-terms", *words, check=False)
        )
        # As in browsers that cannot move an element without its losing the focus.
        page.add_init_script("delete Element.prototype.moveBefore")
        alice.go(place.http_url + "/activity/")
        link = page.locator("table a").filter(has_text="one.test").first
        for _ in range(40):
            if link.count():
                break
            page.wait_for_timeout(250)
            page.reload()
        link.click()
        values = page.locator(".record input[id^=value-]")
        expect(values).to_have_count(3, timeout=60_000)
        expect(page.locator(".sights").first).to_contain_text("does not show it yet")
        alice.shot("by-hand")

        page.get_by_role("button", name="Copy the value").first.click()
        expect(page.get_by_role("button", name="Copied").first).to_be_visible()
        # The page is shown anew again and again: the keyboard stays where it is, and so does what is selected.
        for stop in (page.get_by_role("button", name="Cancel"), page.locator(".record input").nth(1)):
            stop.focus()
            for part in ("/steps/", "/records/"):
                with page.expect_response(lambda answer, part=part: answer.url.endswith(part)):
                    pass
                page.wait_for_timeout(250)
                expect(values).to_have_count(3)  # nothing goes back to "Asking …"
            expect(stop).to_be_focused()
        for number in range(3):
            name = page.locator(".record input[id^=name-]").nth(number).input_value()
            zone = "two.test" if name.endswith("two.test") else "one.test"
            value = values.nth(number).input_value()
            if number == 2:  # seen at one, the others awaited: the page says which
                expect(page.locator(".sights .state-ok").first).to_be_visible(timeout=60_000)
            person.record_add(zone, name, value, 60)
        expect(page.locator("body")).to_contain_text("the certificate is issued", timeout=60_000)
        alice.shot("by-hand-done")
        done = issue.result(timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
