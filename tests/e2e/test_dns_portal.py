"""A wildcard from the command line, through the queue of a running portal, pebble and BIND."""

import json

import pytest

from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e
OPTIONS = {"server": "127.0.0.1", "key": KEY, "timeout": "3"}


def test_a_wildcard_is_issued_and_renewed_by_dns() -> None:
    need("pebble", "named")
    with (
        Bind(zones=("one.test",)) as bind,
        Portal(
            environment={
                "BINDERY_DNS_RESOLVERS": bind.address,
                "BINDERY_DNS_AUTHORITIES": bind.address,
                "TSIG_SECRET": SECRET,
            }
        ) as portal,
        Pebble(http_port=portal.http_port, dns=bind) as ca,
    ):
        given = [word for name, value in OPTIONS.items() for word in ("--set", f"{name}={value}")]
        given += ["--set", f"port={bind.port}", "--set-file", "secret=env:TSIG_SECRET"]
        portal.manage("challenge_methods", "add", "BIND", "--kind", "dns01_rfc2136", *given)
        tested = portal.manage("challenge_methods", "test", "BIND", "one.test")
        assert SECRET not in tested.stdout + portal.manage("challenge_methods", "list", "--json").stdout

        where = ["--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file), "--allow-private-ca"]
        words = ["--accept-terms", "--challenge", "BIND", "--json", "--exit-code"]
        issued = portal.manage("issue", "*.one.test,one.test", *where, *words, check=False)
        assert (issued.returncode, json.loads(issued.stdout)["result"]) == (10, "renewed"), issued
        portal.hold_schedule()
        portal.move_clock(70 * 86400)
        renewed = portal.manage("check_certificates", "--json", "--exit-code", check=False)
        assert (renewed.returncode, json.loads(renewed.stdout)["counts"]) == (10, {"renewed": 1}), renewed
        assert ca.issued() == 2
        assert not bind.values("_acme-challenge.one.test")
        assert portal.count("certs_challenge") == 0
        assert SECRET not in portal.log
