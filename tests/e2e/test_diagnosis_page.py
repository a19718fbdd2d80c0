"""Configuration ➜ Diagnosis in real Chromium: what this server sees, what the browser sees, and the bundle."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import free_ports

pytestmark = pytest.mark.e2e

PAGE = "/configuration/diagnosis/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with chromium() as running:
        yield running


def opened(alice: Visitor, base: str) -> None:
    alice.go(base + PAGE)
    expect(alice.page.get_by_text("Looking …")).to_have_count(0, timeout=60_000)
    expect(alice.page.locator("#browser-lines .finding")).to_have_count(2)


def test_a_person_sees_what_is_wrong_and_takes_the_bundle_along(browser: Browser) -> None:
    http_port, https_port = free_ports(2)
    # The name leads to the portal in this browser only: what server and browser see is told apart.
    public = f"https://portal.test:{https_port}"
    with Portal(http_port=http_port, https_port=https_port, environment={"BINDERY_PUBLIC_URL": public}) as portal:
        with visitor(browser) as alice:
            people.first_administrator(alice, portal)
            (portal.home / "bindery.sqlite3").chmod(0o644)
            opened(alice, portal.http_url)
            page = alice.page
            wrong = page.locator("[data-topic=files] .finding[data-code=file-modes]")
            expect(wrong.locator(".state-danger")).to_be_visible()
            expect(wrong).to_contain_text(f"chmod 0600 {portal.home}/bindery.sqlite3")
            expect(page.locator("#browser-lines")).to_contain_text(f"Your browser reaches this portal at {public}.")
            expect(page.locator("#browser-lines")).to_contain_text("The clocks of your device and of the portal agree.")
            expect(page.locator("#browser")).to_contain_text("not by the public URL")
            alice.shot("diagnosis")
            assert "CSP" not in "".join(alice.watch.troubles)

            (portal.home / "bindery.sqlite3").chmod(0o600)
            page.get_by_role("button", name="Run again").click()
            expect(page.get_by_text("Looking …")).to_have_count(0, timeout=60_000)
            expect(page.locator(".finding[data-code=file-modes] .state-danger")).to_have_count(0)

            with page.expect_download() as download:
                page.get_by_role("button", name="Support bundle").click()
            with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as bundle:
                told = json.loads(bundle.read("doctor.json"))
            assert {line["code"] for line in told["lines"]} >= {"disk", "worker", "listeners", "key-ring"}

        with visitor(browser, "narrow-", color_scheme="dark") as alice:
            alice.page.set_viewport_size({"width": 360, "height": 800})
            people.log_in(alice, portal.http_url)
            opened(alice, portal.http_url)
            alice.shot("diagnosis")
            assert alice.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0

        with visitor(browser, "plain-", java_script_enabled=False) as alice:
            people.log_in(alice, portal.http_url)
            alice.go(portal.http_url + PAGE)
            alice.page.get_by_role("link", name="Show what this server sees").click()
            expect(alice.page.locator("[data-topic=database]")).to_be_visible()
            expect(alice.page.get_by_text("can be told only with scripts")).to_be_visible()


def test_a_public_url_that_leads_elsewhere_is_red_in_the_browser(browser: Browser) -> None:
    http_port, https_port, nobody = free_ports(3)
    public = f"http://portal.test:{nobody}"
    environment = {"BINDERY_PUBLIC_URL": public}
    with (
        Portal(http_port=http_port, https_port=https_port, environment=environment) as portal,
        visitor(browser) as alice,
    ):
        alice.watch.allow("ERR_CONNECTION_REFUSED")
        people.first_administrator(alice, portal)
        opened(alice, portal.http_url)
        lines = alice.page.locator("#browser-lines .finding", has_text="does not reach this portal")
        expect(lines.locator(".state-danger")).to_be_visible()
