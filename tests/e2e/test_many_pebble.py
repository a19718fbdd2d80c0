"""Pebble at its most unkind: every certificate of many is issued, once, through the real queue and its lanes."""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509

from tests.harness.many import every_order_done
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.rounds import rounds

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Unkind:
    """Besides rejecting every second nonce: options of Pebble. `twice`: the second half asks for the names again."""

    twice: bool = False
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "sleeps and long chains": Unkind(
        options={"sleep": True, "environment": {"PEBBLE_VA_SLEEPTIME": "3"}, "chain_length": 3, "alternate_roots": 3}
    ),
    "authorizations never reused": Unkind(twice=True, options={"authz_reuse": 0, "alternate_roots": 3}),
    "authorizations always reused": Unkind(twice=True, options={"authz_reuse": 100, "chain_length": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
@rounds("count", 12, 200)
def test_all_are_issued_once(kind: str, count: int) -> None:
    need("pebble")
    unkind = KINDS[kind]
    names = [f"www.many{number}.test" for number in range(count // 2 if unkind.twice else count)]
    with Portal() as portal, PortalData(portal.home) as data:
        with Pebble(http_port=portal.http_port, nonce_reject=50, **unkind.options) as ca:
            began = time.monotonic()
            data.call("orders", ca.directory_url, str(ca.ca_bundle_file), names)
            every_order_done(portal, len(names))
            if unkind.twice:
                assert data.call("renewals") == len(names)
                every_order_done(portal, count)
            seconds = time.monotonic() - began
            assert ca.issued() == count
            root = x509.load_pem_x509_certificate(ca.root_pem().encode())
        chains_lead_to(portal, root, ca.chain_length)
        assert portal.rows("SELECT id FROM certs_order WHERE restarts > 0") == []
        assert "Traceback" not in portal.log
    print(f"{kind}: {count} of {count} issued in {seconds:.0f} s, {count / seconds:.1f} per second")


def chains_lead_to(portal: Portal, root: x509.Certificate, length: int) -> None:
    rows = portal.rows(
        "SELECT v.leaf_pem AS leaf, v.chain_pem AS chain FROM certs_certificateversion v"
        " JOIN certs_certificate c ON c.id = v.certificate_id WHERE c.source = 'acme'"
    )
    assert rows
    for row in rows:
        chain = [*x509.load_pem_x509_certificates((row["leaf"] + row["chain"]).encode()), root]
        assert len(chain) == length + 2
        for one, issuer in pairwise(chain):
            one.verify_directly_issued_by(issuer)
