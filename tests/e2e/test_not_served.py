"""Issued is not served: one of three processes cannot load the new certificate, and everybody who asks is told so."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e

NAME = "portal.test"


def told(portal: Portal, *words: str) -> tuple[int, dict[str, Any]]:
    done = portal.manage(*words, "--json", "--exit-code", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def troubles(portal: Portal) -> set[str]:
    """The codes of what /statusz finds wrong."""
    checks = portal.get("/statusz").json()["checks"]
    return {check["code"] for check in checks if not check["ok"]}


def fingerprints(portal: Portal) -> set[str]:
    return {served_fingerprint(portal.https_port, NAME) for _ in range(40)}


def test_one_process_of_three_that_stays_behind_is_told_everywhere() -> None:
    need("pebble", "chromium")
    with (
        Portal(settings="tests.harness.one_fails", environment={"BINDERY_WEB_WORKERS": "3"}) as portal,
        Pebble(http_port=portal.http_port) as pebble,
        chromium() as browser,
        visitor(browser) as alice,
    ):
        people.first_administrator(alice, portal)
        wait_until(lambda: portal.count("certs_nodeprocess") == 3, timeout=20, what="three serving processes")
        words = ["--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file), "--allow-private-ca"]
        code, said = told(portal, "issue", NAME, *words, "--accept-terms", "--bind")
        assert (code, said["certificates"][0]["served"]) == (10, True), said
        (old,) = fingerprints(portal)
        assert "generation" not in troubles(portal)

        flag = portal.home / "fail"
        flag.touch()
        code, said = told(portal, "renew", NAME, "--force")
        assert (code, said["result"], said["certificates"][0]["served"]) == (3, "not-served", False), said
        assert "1 of 3" in said["certificates"][0]["why"]
        assert "generation" in troubles(portal)
        assert portal.get("/statusz").status_code == 503
        assert portal.get("/readyz").status_code == 200  # nobody is without service
        assert old in fingerprints(portal)
        certificate, order = said["certificates"][0]["certificate"], said["certificates"][0]["order"]
        for path in (f"/certificates/{certificate}/", f"/activity/{order}/", "/configuration/lets-encrypt/", "/"):
            alice.go(portal.http_url + path)
            alice.shot(path.strip("/").split("/")[0] or "home")
        alice.go(f"{portal.http_url}/certificates/{certificate}/")
        page = alice.page
        expect(page.locator(".state-danger", has_text="1 of 3 processes serve another one")).to_be_visible()
        expect(page.locator("dt:has-text('Served') + dd .state-ok")).to_have_count(0)
        alice.go(f"{portal.http_url}/activity/{order}/")
        expect(page.locator("body")).to_contain_text("not yet served")
        expect(page.locator(".state-ok")).to_have_count(0)

        flag.unlink()
        code, said = told(portal, "renew", NAME, "--force")
        assert (code, said["certificates"][0]["served"]) == (10, True), said
        (new,) = fingerprints(portal)
        assert new != old
        assert "generation" not in troubles(portal)
        assert pebble.issued() == 3
