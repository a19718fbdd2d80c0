"""A CA of one's own in real Chromium: made, offline one below it, a certificate looked at and signed."""

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e
PASSPHRASE = "correct horse battery staple"


def test_a_person_makes_cas_and_a_certificate() -> None:
    need("chromium")
    with (
        chromium() as browser,
        Portal(environment={"BINDERY_PKI_BASE_URL": "http://pki.example.com"}) as portal,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal)
        _make(alice, portal)
        _issue(alice, portal)
        for width, name in ((1200, "wide"), (360, "narrow")):
            alice.page.set_viewport_size({"width": width, "height": 900})
            for path in ("/authorities/", "/authorities/new/", "/authorities/issue/", "/authorities/profiles/"):
                alice.go(f"{portal.http_url}{path}")
                _fits(alice, width)
                alice.shot(f"{path.strip('/').replace('/', '-')}-{name}")
            alice.go(f"{portal.http_url}/authorities/")
            alice.page.get_by_role("link", name="Offline Issuing", exact=True).first.click()
            expect(alice.page.locator("body")).to_contain_text("What stops when")
            _fits(alice, width)
            alice.shot(f"authority-{name}")
            alice.page.get_by_role("link", name="Revocation list and OCSP").click()
            expect(alice.page.locator("h1")).to_contain_text("Revocation by Offline Issuing")
            _fits(alice, width)
            alice.shot(f"publication-{name}")
            alice.go(f"{portal.http_url}/configuration/pki/")
            _fits(alice, width)
            alice.shot(f"pki-{name}")


def _make(alice: Visitor, portal: Portal) -> None:
    page = alice.page
    alice.go(f"{portal.http_url}/authorities/")
    page.get_by_role("link", name="Make a CA").click()
    page.fill("[name=common_name]", "Example Root")
    page.fill("[name=organization]", "Example Ltd")
    page.select_option("[name=key_type]", "ec-p256")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("body")).to_contain_text("Example Root was made")
    alice.go(f"{portal.http_url}/authorities/new/")
    page.fill("[name=common_name]", "Offline Issuing")
    page.select_option("[name=parent]", label="Example Root")
    page.select_option("[name=key_type]", "ec-p256")
    page.fill("[name=permitted]", "example.com, 10.0.0.0/8")
    page.fill("[name=passphrase]", PASSPHRASE)
    page.fill("[name=passphrase_again]", PASSPHRASE)
    page.fill("[name=crl_days]", "180")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("body")).to_contain_text("locked by a passphrase that is not stored")


def _issue(alice: Visitor, portal: Portal) -> None:
    page = alice.page
    page.get_by_role("link", name="Create certificate").click()
    page.fill("[name=hosts]", "www.example.org")
    page.get_by_role("button", name="Look at it first").click()
    expect(page.locator("body")).to_contain_text("may not certify www.example.org")
    page.fill("[name=hosts]", "www.example.com, 10.0.0.7")
    page.get_by_role("button", name="Look at it first").click()
    expect(page.locator("body")).to_contain_text("What would be signed")
    alice.shot("look")
    page.get_by_role("button", name="Sign it").click()
    expect(page.locator("body")).to_contain_text("only a person can sign with it")
    page.fill("[name=passphrase]", PASSPHRASE)
    page.get_by_role("button", name="Sign it").click()
    expect(page.locator("body")).to_contain_text("was signed by Offline Issuing")
    alice.shot("certificate")


def _fits(alice: Visitor, width: int) -> None:
    assert alice.page.evaluate("document.documentElement.scrollWidth") <= width
