"""Run by test_caddy.py inside a private network: portal.test leads to loopback, and the portal has ports 80 and 443."""

import json
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.caddy import Caddy
from tests.harness.namespace import is_inside
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.tls import served, served_fingerprint

NAME = "portal.test"

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_caddy.py in a namespace of its own")


def test_a_certificate_of_twelve_hours_is_renewed_at_half_its_life() -> None:
    with (
        Caddy() as caddy,
        Portal(http_port=80, https_port=443) as portal,
        chromium() as browser,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal, host=NAME)
        # The name leads here on port 80, so the portal proves the challenge path by itself and asks nothing.
        people.obtain(alice, f"http://{NAME}", caddy, [NAME], anyway=False)
        leaf = served(443, NAME, roots_pem=caddy.ca_bundle_pem)
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert life <= timedelta(hours=13)
        first = served_fingerprint(443, NAME)

        people.go_to_https(alice, f"https://{NAME}")
        alice.go(f"https://{NAME}{people.LETS_ENCRYPT}")
        expect(alice.page.locator("body")).to_contain_text("You are there")
        alice.shot("https-certificate")

        portal.move_clock(timedelta(hours=5))
        assert portal.manage("check_certificates", "--json").returncode == 0
        assert served_fingerprint(443, NAME) == first, "5 of 12 hours: not due yet"

        portal.move_clock(timedelta(hours=6, minutes=30))
        done = portal.manage("check_certificates", "--json", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)
        wait_until(lambda: served_fingerprint(443, NAME) != first, timeout=30, what="the renewed certificate served")
        alice.page.reload()
        alice.shot("https-renewed")
