"""Issued by the TLS challenge alone, on the listener that others go on using."""

from collections.abc import Iterator

import pytest

from tests.harness.load import Load, seen
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.ports import LOOPBACK, free_port, has_ipv6, wait_until
from tests.harness.rounds import rounds

pytestmark = pytest.mark.e2e

NAME = "shop.example.test"
ORDER = """
from pathlib import Path
from certs.models import ChallengeMethod
from certs.services.accounts import account_get_or_create
from certs.services.issuing import certificate_order
account = account_get_or_create(directory_url={url!r}, email="", ca_bundle=Path({bundle!r}).read_text(),
    allow_private=True, terms_url="data:text/plain,Do%20what%20thou%20wilt", actor="test")
method, _ = ChallengeMethod.objects.get_or_create(name="TLS", kind="tlsalpn01")
wanted = dict(challenge_method=method) if {chosen} else None
result = [str(certificate_order([name], account, actor="test", wanted=wanted).order.hex) for name in {names!r}]
"""


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Two serving processes, as by default; people reach HTTPS on port 443."""
    environment = {"BINDERY_WEB_WORKERS": "2", "BINDERY_PUBLIC_URL": "https://portal.example.test"}
    with Portal(environment=environment) as running:
        yield running


@pytest.fixture
def ca(portal: Portal) -> Iterator[Pebble]:
    """It reaches nothing but the HTTPS port."""
    need("pebble")
    with Pebble(http_port=free_port(), tls_port=portal.https_port) as running:
        yield running


def order(portal: Portal, ca: Pebble, *names: str, chosen: bool = True) -> list[dict[str, object]]:
    """Ask for one certificate per name, and wait for the end of all."""
    code = ORDER.format(url=ca.directory_url, bundle=str(ca.ca_bundle_file), names=list(names), chosen=chosen)
    ids = portal.run(code)
    wait_until(lambda: all(row["finished_at"] for row in rows(portal, ids)), timeout=90, what="the end of the orders")
    return rows(portal, ids)


def rows(portal: Portal, ids: list[str]) -> list[dict[str, object]]:
    marks = ",".join("?" * len(ids))
    return portal.rows(
        f"SELECT state, challenge_kind, error_message, evidence, finished_at FROM certs_order WHERE id IN ({marks})",
        *ids,
    )


@rounds("count", 6, 40)
def test_eight_clients_of_the_same_name_notice_nothing(portal: Portal, ca: Pebble, count: int) -> None:
    names = [NAME, *(f"{number}.{NAME}" for number in range(count - 1))]
    with PortalData(portal.home) as data:
        bound = data.call("bind", NAME)
    address = (LOOPBACK, portal.https_port)
    wait_until(lambda: all(seen(address, NAME) == bound for _ in range(8)), timeout=10, what="the certificate bound")
    with Load(address, kept=4, fresh=4, path="/healthz", name=NAME) as load:
        done = order(portal, ca, *names)
        met = {seen(address, NAME) for _ in range(10)}
    assert [row for row in done if row["state"] != "done"] == []
    assert {row["challenge_kind"] for row in done} == {"tlsalpn01"}
    assert ca.issued() == count
    assert load.failures == []
    assert min(load.counts) > 5
    assert met == {bound}
    assert portal.count("certs_challenge") == 0
    print(f"{count} certificates by TLS challenge during {load.total} requests of 8 clients, 0 failed")


def test_addresses_are_proven_too(portal: Portal, ca: Pebble) -> None:
    names = [LOOPBACK, *(["::1"] if has_ipv6() else [])]
    done = order(portal, ca, *names)
    assert {row["state"] for row in done} == {"done"}, done


def test_it_is_taken_by_itself_where_port_80_is_closed(portal: Portal, ca: Pebble) -> None:
    (done,) = order(portal, ca, NAME, chosen=False)
    assert (done["state"], done["challenge_kind"]) == ("done", "tlsalpn01"), done


def test_a_failure_says_what_is_seen_there(portal: Portal) -> None:
    """Something else answers on the port."""
    need("pebble")
    with Pebble(http_port=free_port(), tls_port=free_port()) as ca:
        (done,) = order(portal, ca, NAME)
    assert done["state"] == "failed"
    assert "TLS challenge failed" in str(done["error_message"])
    assert "openssl s_client" in str(done["evidence"])
