"""How one certificate is asked for: its challenge, key and fallbacks, a rehearsal, and another organization."""

from uuid import uuid4

import pytest

from certs.models import Certificate, Department, Order, Organization
from certs.services.account_changes import account_staging
from certs.services.accounts import account_get_or_create
from tests import stock
from tests.api.conftest import Program, token
from tests.api.test_setup import ok, refused

pytestmark = pytest.mark.django_db


def test_options_are_changed_in_part_for_the_next_order(program: Program) -> None:
    row, method, other = stock.issued("a.example"), stock.method(), stock.account("https://other.example/directory")
    path = f"/api/certificates/{row.pk}/options"
    before = program.get(path)
    assert (ok(before)["account"], before.json()["method"]) == (str(row.account_id), None)
    given = {"method": str(method.pk), "keyType": "rsa-2048", "renewBeforeDays": 14, "fallbacks": [str(other.pk)]}
    told = ok(program.send("PATCH", path, given, If_Match=before["ETag"]))
    assert told == before.json() | given
    refused(program.send("PATCH", path, {"reuseKey": True}, If_Match=before["ETag"]), 412)
    assert ok(program.send("PATCH", path, {"method": None, "renewBeforeDays": None}))["keyType"] == "rsa-2048"
    department = Department.objects.create(organization=row.organization, name="Web")
    assert ok(program.send("PATCH", path, {"department": str(department.pk)}))["department"] == str(department.pk)
    now = ok(program.get(path))
    for wrong in ({"method": str(uuid4())}, {"fallbacks": [str(uuid4())]}, {"department": str(uuid4())}):
        refused(program.send("PATCH", path, wrong), 404)
    twice = {"checkHours": 5, "fallbacks": [str(row.account_id)]}
    refused(program.send("PATCH", path, twice), 400)
    refused(program.send("PATCH", path, {"keyType": "ed25519"}), 400, "/keyType")
    refused(program.send("PATCH", path, {"account": str(other.pk)}), 400, "/account")
    assert ok(program.get(path)) == now  # all of it or nothing
    refused(token("viewer").send("PATCH", path, {"checkHours": 5}), 403)
    mine = f"/api/certificates/{stock.uploaded('own.example').pk}/options"
    refused(program.send("PATCH", mine, {"reuseKey": True}), 400)


def test_an_order_is_rehearsed_where_a_staging_directory_is_known(program: Program) -> None:
    row = stock.issued("a.example")
    path = f"/api/certificates/{row.pk}/_rehearse"
    assert refused(program.send("POST", path), 409)["code"] == "no-staging"
    assert row.account is not None
    account_staging(row.account, "https://acme.example/staging", actor="test")
    asked = program.send("POST", path)
    assert ok(program.get(f"/api/orders/{ok(asked, 202)['id']}"))["rehearsal"] is True
    assert Order.objects.count() == 1


def test_a_certificate_is_moved_with_an_account_of_the_other_side(program: Program) -> None:
    row, elsewhere = stock.issued("a.example"), Organization.objects.create(name="Elsewhere")
    theirs = account_get_or_create(directory_url=stock.DIRECTORY, email="", organization=elsewhere, actor="test")
    path, body = f"/api/certificates/{row.pk}/_move", {"organization": str(elsewhere.pk)}
    assert refused(program.send("POST", path, body), 400)["code"] == "account"
    ok(program.send("POST", path, body | {"account": str(theirs.pk)}))
    assert Certificate.objects.get(pk=row.pk).account == theirs
    refused(
        token("admin", organization=Organization.objects.exclude(pk=elsewhere.pk).get()).send("POST", path, body), 404
    )
