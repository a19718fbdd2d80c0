"""The page that tries the API, under the portal's Content-Security-Policy: log-in, a change, a refusal."""

import re

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e


def test_a_person_tries_the_api_on_its_page() -> None:
    need("chromium")
    with Portal() as portal, chromium() as browser, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        page = alice.page
        alice.go(f"{portal.http_url}/api/docs/")
        expect(page.locator(".opblock").first).to_be_visible()
        alice.shot("api")
        page.set_viewport_size({"width": 360, "height": 740})
        alice.shot("api-narrow")
        page.set_viewport_size({"width": 1200, "height": 900})
        block = page.locator("#operations-certificates-certificate_keypair")
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
        block.locator("textarea").fill('{"name": "tried"}')
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status").first).to_have_text(re.compile("201"))
        alice.shot("api-tried")
        block.locator("textarea").fill('{"nmae": "tried"}')
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status").first).to_have_text(re.compile("400"))
        expect(block.locator(".live-responses-table")).to_contain_text("“name” is")
        assert portal.count("certs_certificate") >= 1
