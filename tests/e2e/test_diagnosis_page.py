"""Configuration ➜ Diagnosis in real Chromium: what this server sees, what the browser sees, and the bundle."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness.artifacts import ROOT
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import free_port

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


@pytest.fixture(scope="module")
def place(browser: Browser) -> Iterator[Portal]:
    with Portal() as portal, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        yield portal


def public_url(portal: Portal, url: str) -> None:
    portal.run(f"from certs.services.portal_state import state_update; state_update(public_url={url!r})")


def test_beside_a_running_portal_all_is_green_that_is_well(place: Portal) -> None:
    place.home.chmod(0o700)
    ran = place.manage("doctor", "--json", check=False)
    found = json.loads(ran.stdout)
    jsonschema.validate(found, json.loads((ROOT / "docs" / "doctor.schema.json").read_text()))
    assert [line for line in found["lines"] if line["state"] == "bad"] == []
    assert ran.returncode == 0
    well = {line["code"] for line in found["lines"] if line["state"] == "ok"}
    assert well >= {"running", "database", "migrations", "worker", "listeners", "disk", "file-modes", "key-ring-fits"}
    assert not re.search(r"Traceback|object at 0x", ran.stdout + ran.stderr)


def test_a_person_sees_what_is_wrong_and_takes_the_bundle_along(browser: Browser, place: Portal) -> None:
    # The name leads to the portal in this browser only: what server and browser see is told apart.
    public = f"https://portal.test:{place.https_port}"
    public_url(place, public)
    database = place.home / "bindery.sqlite3"
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        database.chmod(0o644)
        opened(alice, place.http_url)
        page = alice.page
        wrong = page.locator("[data-topic=files] .finding[data-code=file-modes]")
        expect(wrong.locator(".state-danger")).to_be_visible()
        expect(wrong).to_contain_text(f"chmod 0600 {database}")
        expect(page.locator("#browser-lines")).to_contain_text(f"Your browser reaches this portal at {public}.")
        expect(page.locator("#browser-lines")).to_contain_text("The clocks of your device and of the portal agree.")
        expect(page.locator("#browser")).to_contain_text("not by the public URL")
        alice.shot("diagnosis")

        database.chmod(0o600)
        page.get_by_role("button", name="Run again").click()
        expect(page.get_by_text("Looking …")).to_have_count(0, timeout=60_000)
        expect(page.locator(".finding[data-code=file-modes] .state-danger")).to_have_count(0)

        with page.expect_download() as download:
            page.get_by_role("button", name="Support bundle").click()
        with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as bundle:
            told = json.loads(bundle.read("doctor.json"))
        assert {line["code"] for line in told["lines"]} >= {"disk", "worker", "listeners", "key-ring"}


def test_a_public_url_that_leads_elsewhere_is_red_in_the_browser_and_fits_a_phone(
    browser: Browser, place: Portal
) -> None:
    public_url(place, f"http://portal.test:{free_port()}")
    with visitor(browser, "narrow-", color_scheme="dark") as alice:
        alice.watch.allow("ERR_CONNECTION_REFUSED")
        alice.page.set_viewport_size({"width": 360, "height": 800})
        people.log_in(alice, place.http_url)
        opened(alice, place.http_url)
        lines = alice.page.locator("#browser-lines .finding", has_text="does not reach this portal")
        expect(lines.locator(".state-danger")).to_be_visible()
        alice.shot("diagnosis")
        assert alice.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_without_scripts_all_lines_come_with_the_page(browser: Browser, place: Portal) -> None:
    with visitor(browser, "plain-", java_script_enabled=False) as alice:
        people.log_in(alice, place.http_url)
        alice.go(place.http_url + PAGE)
        alice.page.get_by_role("link", name="Show what this server sees").click()
        expect(alice.page.locator("[data-topic=database]")).to_be_visible()
        expect(alice.page.get_by_text("can be told only with scripts")).to_be_visible()
