"""Run by test_doctor_places.py in a private network: portal.test leads to loopback; the portal has ports 80 and 443."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.bind import Bind
from tests.harness.namespace import is_inside
from tests.harness.nginx import Nginx
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_doctor_places.py in a namespace of its own")

NAME = "portal.test"
SITE = "server { listen 80; listen [::]:80; location / { return 200 'Welcome to nginx!'; } }"


def states(portal: Portal) -> tuple[dict[str, str], list[dict[str, Any]]]:
    ran = portal.manage("doctor", "--json", check=False)
    lines = json.loads(ran.stdout)["lines"]
    found: dict[str, str] = {}
    for line in lines:
        worse = ["ok", "unknown", "note", "bad"]
        found[line["code"]] = max(found.get(line["code"], "ok"), line["state"], key=worse.index)
    assert ran.returncode == (3 if "bad" in found.values() else 0)
    return found, lines


def test_the_portal_on_the_real_ports(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    with Bind(zones=("test",), records={"test": ["portal A 127.0.0.1"]}) as dns:
        environment = {
            "BINDERY_DNS_RESOLVERS": dns.address,
            "BINDERY_DNS_AUTHORITIES": dns.address,
            "BINDERY_PUBLIC_URL": f"https://{NAME}",
            "BINDERY_PUBLIC_ROOTS": str(roots),
        }
        with Portal(http_port=80, https_port=443, environment=environment) as portal, Pebble(http_port=80) as pebble:
            roots.write_text(pebble.root_pem())
            portal.home.chmod(0o700)
            portal.manage(
                "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file),
                "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind",
            )  # fmt: skip
            found, lines = states(portal)
            wrong = [line for line in lines if line["state"] == "bad"]
            assert not wrong, wrong
            well = {code for code, state in found.items() if state == "ok"}
            assert well >= {
                "listeners", "port-80", "public-address", "public-answer", "public-certificate", "names-resolve",
                "names-ipv4", "names-caa", "public-port-80", "public-port-443", "directories", "clock", "served",
                "worker", "sweep",
            }, lines  # fmt: skip

            # The portal ends, and another web server takes port 80.
            portal.stop()
            with Nginx(SITE, [80]):
                # What worked within the last seconds counts as alive.
                wait_until(lambda: states(portal)[0]["worker"] == "bad", timeout=20, what="the end of the worker")
                found, lines = states(portal)
                (held,) = [line for line in lines if line["code"] == "listeners" and line["state"] == "bad"][:1]
                assert "nginx" in held["sentence"]
                assert "Stop that program" in held["mend"]
                assert found["public-port-80"] == "note"
                assert found["names-ipv4"] == "bad"
                assert found["running"] == "note"
