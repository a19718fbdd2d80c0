"""Files that are really dropped on the page in Chromium, what it shows of them, and the same without scripts."""

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from playwright.sync_api import Browser, expect

from tests.harness import person as people
from tests.harness import pki
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e
ROOT = pki.authority("Dropped Root")
MIDDLE = pki.authority("Dropped Intermediate", ROOT)

_DROP = """([target, files]) => {
  const carried = new DataTransfer();
  for (const [name, body] of files) {
    const octets = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([octets], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried });
    document.querySelector(target).dispatchEvent(event);
  }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def place(browser: Browser) -> Iterator[Portal]:
    with Portal() as portal, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        yield portal


def _p12(pair: pki.Pair, password: str) -> bytes:
    sealed = BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(
        b"shop",
        pair.key,  # type: ignore[arg-type]  # an EC key
        pair.certificate,
        [MIDDLE.certificate],
        sealed,
    )


@pytest.mark.parametrize("width", [pytest.param(1200, marks=pytest.mark.proof), 360])
def test_dropped_files_are_listed_recognised_and_saved(browser: Browser, place: Portal, width: int) -> None:
    pair = pki.leaf(MIDDLE, [f"dropped-{width}.example.com", "www.example.com"])
    other = pki.leaf(MIDDLE, [f"second-{width}.example.com"])
    with visitor(browser, viewport={"width": width, "height": 850}) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/certificates/add/")
        alice.shot(f"add-{width}")
        files = [
            ("server.p12", b64encode(_p12(pair, "hunter2")).decode()),
            ("second.pem", b64encode((other.key_pem + other.pem + ROOT.pem).encode()).decode()),
        ]
        page.evaluate(_DROP, ["body", files[:1]])
        page.evaluate(_DROP, ["[data-drop]", files[1:]])
        expect(page.locator("[data-dropped] li")).to_have_count(2)
        alice.shot(f"dropped-{width}")
        page.get_by_role("button", name="Look at it").click()
        expect(page.locator("body")).to_contain_text("has a password")
        page.set_input_files("[name=uploads]", [])
        page.evaluate(_DROP, ["body", files])
        page.fill("[name=password]", "hunter2")
        page.get_by_role("button", name="Look at it").click()
        expect(page.get_by_role("heading", name="What was recognised")).to_be_visible()
        expect(page.locator("body")).to_contain_text(f"dropped-{width}.example.com")
        expect(page.locator("body")).to_contain_text("up to Dropped Root")
        alice.shot(f"recognised-{width}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_role("button", name="Save what is chosen").click()
        expect(page.locator("body")).to_contain_text("was checked and taken")
        alice.shot(f"saved-{width}")


def test_without_scripts_the_field_does_the_same(browser: Browser, place: Portal, tmp_path: Path) -> None:
    pair = pki.leaf(MIDDLE, ["plain.example.com"])
    file = tmp_path / "all.pem"
    file.write_text(pair.key_pem + ROOT.pem + pair.pem + MIDDLE.pem)
    with visitor(browser, java_script_enabled=False) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/certificates/add/")
        page.set_input_files("[name=uploads]", file)
        page.get_by_role("button", name="Look at it").click()
        page.get_by_role("button", name="Save what is chosen").click()
        expect(page.locator("h1")).to_contain_text("plain.example.com")


@pytest.mark.parametrize("width", [pytest.param(1200, marks=pytest.mark.proof), 360])
def test_a_request_is_made_and_answered(browser: Browser, place: Portal, width: int) -> None:
    with visitor(browser, viewport={"width": width, "height": 850}) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/certificates/csr/")
        alice.shot(f"csr-new-{width}")
        page.fill("[name=hosts]", f"asked-{width}.example.com")
        page.fill("[name=organization]", "Example, Inc.")
        page.get_by_role("button", name="Make key and request").click()
        expect(page.locator("#csr-text")).to_have_value(_begins("-----BEGIN CERTIFICATE REQUEST-----"))
        alice.shot(f"csr-{width}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.fill("[name=text]", pki.leaf(MIDDLE, ["asked.example.com"]).pem)
        page.get_by_role("button", name="Look at it").click()
        expect(page.locator("[role=alert]")).to_contain_text("for the key of the request")
        alice.go(f"{place.http_url}/certificates/key-pair/")
        alice.shot(f"key-pair-{width}")
        alice.go(f"{place.http_url}/configuration/store/")
        alice.shot(f"store-{width}")


def _begins(text: str) -> re.Pattern[str]:
    return re.compile(f"^{re.escape(text)}")
