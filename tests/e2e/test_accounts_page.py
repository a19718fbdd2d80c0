"""CA accounts and revocation in real Chromium against pebble, which wants an external account."""

from base64 import urlsafe_b64encode
from os import urandom

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e
HMAC = urlsafe_b64encode(urandom(32)).rstrip(b"=").decode()


def test_an_account_with_an_external_one_is_made_changed_and_given_up() -> None:
    need("chromium", "pebble")
    with (
        chromium() as browser,
        Portal() as portal,
        Pebble(http_port=portal.http_port, eab={"kid-1": HMAC}) as pebble,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal)
        page, body = alice.page, alice.page.locator("body")
        alice.go(f"{portal.http_url}/configuration/")
        page.get_by_role("link", name="CA accounts").click()
        expect(body).to_contain_text("There is none yet")
        page.get_by_role("link", name="Add an account").click()
        page.select_option("[name=directory]", "other")
        page.fill("[name=directory_url]", pebble.directory_url)
        page.fill("[name=ca_bundle]", pebble.ca_bundle_pem)
        page.check("[name=allow_private_ca]")
        page.fill("[name=email]", "alice@example.com")
        page.get_by_role("button", name="Register").click()
        expect(body).to_contain_text("needs an external account")
        expect(body).to_contain_text("Read the terms at")
        alice.shot("refused")
        page.fill("[name=eab_kid]", "kid-1")
        page.fill("[name=eab_hmac]", HMAC)
        page.check("[name=accept_terms]")
        page.get_by_role("button", name="Register").click()
        expect(body).to_contain_text("is registered at its CA")
        expect(body).to_contain_text("its HMAC key was used and dropped")
        assert HMAC not in page.content()
        alice.shot("account")

        page.fill("[name=email]", "ops@example.com")
        page.get_by_role("button", name="Change", exact=True).click()
        expect(body).to_contain_text("The e-mail address was changed")
        page.get_by_role("button", name="Change the key").click()
        expect(body).to_contain_text("The account has a new key")
        page.get_by_role("button", name="Ask the CA").click()
        expect(body).to_contain_text("is registered at its CA")

        page.get_by_text("Give up this account").click()
        page.fill("[name=typed]", "something else")
        page.get_by_role("button", name="Give up the account").click()
        expect(body).to_contain_text("This is not the same")
        page.fill("[name=typed]", pebble.directory_url.split("/")[2])
        page.get_by_role("button", name="Give up the account").click()
        expect(body).to_contain_text("The account was given up")
        alice.shot("given-up")
        alice.go(f"{portal.http_url}/configuration/accounts/")
        alice.shot("accounts")


def test_a_certificate_is_revoked_and_replaced() -> None:
    need("chromium", "pebble")
    with (
        chromium() as browser,
        Portal() as portal,
        Pebble(http_port=portal.http_port) as pebble,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal)
        people.obtain(alice, portal.http_url, pebble, ["portal.test"])
        page, body = alice.page, alice.page.locator("body")
        alice.go(f"{portal.http_url}/certificates/")
        page.get_by_role("link", name="portal.test").first.click()
        serial = page.locator("dt:text-is('Serial') + dd").inner_text()
        page.get_by_text("Revoke this certificate").click()
        page.get_by_role("link", name="Revoke portal.test").click()
        page.select_option("[name=reason]", "keyCompromise")
        page.select_option("[name=by]", "key")
        page.fill("[name=typed]", "portal.test")
        alice.shot("revoke")
        page.get_by_role("button", name="Revoke", exact=True).click()
        expect(body).to_contain_text("is revoked.")
        expect(page.locator(".head .state-danger")).to_contain_text("revoked")
        alice.shot("revoked")
        assert pebble.revocation(serial) == ("Revoked", 1)

        address = page.url
        for _ in range(180):
            if pebble.issued() == 2:
                break
            page.wait_for_timeout(500)
        assert pebble.issued() == 2, "replaced without anybody asking"
        alice.go(address)
        alice.shot("replaced")
