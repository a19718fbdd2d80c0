"""Run by test_ipv6_only.py in a private network without any IPv4 address: pebble, DNS, portal, Chromium on ::1."""

import json
import socket

import pytest
import requests
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.dns import DnsServer
from tests.harness.namespace import is_inside
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.tls import served

NAME, HOST = "portal.test", "::1"

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_ipv6_only.py in a namespace of its own")


def test_there_is_no_ipv4_at_all() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, pytest.raises(OSError, match="assign"):
        probe.bind(("127.0.0.1", 0))


def test_the_main_job_by_name_and_by_a_literal_address() -> None:
    dns = DnsServer(host=HOST, ipv4="", ipv6=HOST)
    with (
        dns,
        Portal(address=HOST, http_port=80, https_port=443) as portal,
        Pebble(http_port=80, tls_port=443, dns=dns, address=HOST, host="localhost") as ca,
        chromium(args=["--host-resolver-rules=MAP *.test [::1]"]) as browser,
        visitor(browser) as alice,
    ):
        assert "Bindery is up: http://localhost/ and https://localhost/" in portal.log
        people.first_administrator(alice, portal)
        assert alice.page.url == "http://[::1]/"
        alice.shot("home-at-a-literal-address")
        people.obtain(alice, "http://[::1]", ca, [NAME], anyway=False)
        people.go_to_https(alice, f"https://{NAME}")
        expect(alice.page.locator("body")).to_contain_text("Certificate")
        served(443, NAME, address=HOST, roots_pem=ca.root_pem())

        # Both protocols lead from the literal address to the literal address.
        plain = requests.get("http://[::1]:443/help/", allow_redirects=False, timeout=10)
        assert plain.headers["Location"].startswith("https://[::1]/help/")
        assert portal.get("/healthz", scheme="https").status_code == 200

        # Nothing that the portal asks of itself misses 127.0.0.1.
        looked = json.loads(portal.manage("check_certificates", "--json").stdout)
        assert not looked["counts"].get("not-served"), looked
        doctor = json.loads(portal.manage("doctor", "--json", check=False).stdout)["lines"]
        assert [line for line in doctor if line["state"] == "bad"] == []
        listening = [line["sentence"] for line in doctor if line["code"] == "listeners"]
        assert "The portal listens on [::]:443 (HTTPS)." in listening
        assert "This machine has no IPv4, so 0.0.0.0:443 (HTTPS) is not used." in listening
        ready = requests.get("http://[::1]/readyz", timeout=10)
        assert ready.status_code == 200, ready.text
        assert "127.0.0.1" not in portal.log
        for path in ("/help/", "/configuration/bindings/", people.LETS_ENCRYPT):
            alice.go(f"https://{NAME}{path}")
            assert "http://::1" not in alice.text()
            alice.shot(path.strip("/").replace("/", "-"))
