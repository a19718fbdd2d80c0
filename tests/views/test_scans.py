"""No page reads all certificates. What SQLite would do is looked at: without statistics its plans are the same for ten
rows and for a million."""

import re
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certs import models
from certs.admin.base import LookOnly
from certs.domain.diagnosis import Situation
from certs.domain.on_demand import HostList
from certs.models import User
from certs.services.alarm_certificates import _orders_stuck
from certs.services.bindings import binding_set
from certs.services.diagnosis import certificates as certificate_looks
from certs.services.on_demand import _children_made, _is_under_way, _usable
from certs.services.orders import orders_due
from certs.services.register import issued_of
from certs.services.revocations import version_find
from certs.services.trusted import trusted_set
from portal import clock
from tests import stock
from tests.harness import own_ca
from tests.views.conftest import Browser

LARGE = {
    each._meta.db_table
    for each in (
        models.Certificate,
        models.CertificateVersion,
        models.CertificateName,
        models.CertificateTag,
        models.IssuedCertificate,
        models.PrivateKey,
        models.Order,
    )
}
# Indexes of the few rows that something is so of.
FEW = {
    "certificate_exposed", "certificate_on_demand", "version_authority", "version_client", "version_test",
    "export_name_once", "order_due",
}  # fmt: skip
PAGES = (
    "home", "certificates", "certificates-deleted", "trust-store", "authorities", "authority-new", "activity",
    "changes", "alarms", "configuration", "bindings", "lets-encrypt", "renewal", "on-demand", "export", "public-keys",
    "trust", "notifications", "tokens",
)  # fmt: skip
ADDRESSES = [
    "/api/certificates",
    "/api/certificates/_deleted",
    "/api/authorities",
    "/api/crls",
    "/api/orders",
    "/api/bindings",
    "/admin/certs/certificate/",
    "/admin/certs/certificate/?q=own.example",
    "/admin/certs/certificate/?o=-2",
    "/admin/certs/certificateversion/",
    "/admin/certs/certificateversion/?q=AB:CD",
]


def scans(statement: str) -> list[str]:
    """What of the plan reads a large table from one end to the other, or sorts all of it."""
    if not statement.startswith("SELECT"):
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        plan = [row[3] for row in cursor.fetchall()]
    names = {alias: table for table, alias in re.findall(r'"(certs_\w+)" ([TUVW]\d+)', statement)}
    through = [
        line
        for line in plan
        if line.startswith("SCAN ")
        and names.get(line.split()[1], line.split()[1]) in LARGE
        and line.split()[-1] not in FEW
    ]
    ends_early = " LIMIT " in statement and "USE TEMP B-TREE FOR ORDER BY" not in plan
    return [] if ends_early else through


@pytest.fixture
def world(alice: User) -> Client:
    root, own = own_ca.root(), stock.uploaded("own.example.com")
    trusted_set(root.certificate, outbound=True, actor="test")
    binding_set("", own, actor="test")
    client = Browser()
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


@pytest.mark.skipif(connection.vendor != "sqlite", reason="its plans depend on what lies in the tables")
def test_no_page_reads_all_certificates(world: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LookOnly, "list_per_page", 1)  # what fits on one page it reads without an end
    wrong = []
    for address in [*map(reverse, PAGES), *ADDRESSES]:
        with CaptureQueriesContext(connection) as asked:
            assert world.get(address).status_code == 200, address
        wrong += [(address, found, each["sql"]) for each in asked if (found := scans(each["sql"]))]
    assert not wrong


@pytest.mark.skipif(connection.vendor != "sqlite", reason="its plans depend on what lies in the tables")
def test_nothing_that_people_wait_for_reads_all_certificates(world: Client) -> None:
    version = models.CertificateVersion.objects.filter(is_ca=False)[0]
    with CaptureQueriesContext(connection) as asked:
        version_find(version.fingerprint_sha256[:12])
        issued_of(version)
        _usable("own.example.com")
        _children_made(HostList.of([]))
        list(_orders_stuck(clock.now()))
        list(orders_due())
        assert not _is_under_way("new.example.com")
        assert certificate_looks.renewals(Situation("node", Path("/"), 5))
    assert not [(found, each["sql"]) for each in asked if (found := scans(each["sql"]))]
