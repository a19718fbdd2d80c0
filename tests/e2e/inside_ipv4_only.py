"""Run by test_ipv6_only.py in a private network where IPv6 is switched off, as by sysctl on many rented machines."""

from pathlib import Path

import pytest

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.namespace import is_inside
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_port, has_ipv6
from tests.harness.tls import served

NAME = "portal.test"

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_ipv6_only.py in a namespace of its own")


def test_the_listener_moves_although_its_ipv6_address_cannot_be_asked() -> None:
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    assert not has_ipv6()
    with Portal(http_port=80) as portal, Pebble(http_port=80) as ca, chromium() as browser, visitor(browser) as alice:
        assert "WARNING" not in portal.log.upper()
        people.first_administrator(alice, portal, host=NAME)
        people.configure(alice, f"http://{NAME}")
        moved = free_port()
        bundle = ca.ca_bundle_pem
        people.fill_request(alice, directory_url=ca.directory_url, ca_bundle=bundle, names=[NAME], port=moved)
        people.register(alice, anyway=False)
        people.wait_for_certificate(alice)
        people.go_to_https(alice, f"https://{NAME}:{moved}")
        served(moved, NAME, roots_pem=ca.root_pem())
