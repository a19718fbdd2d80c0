"""Statements written out do what Django's own would, for every type of column that they meet."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from certs.models import AcmeAccount, Certificate, JobEvent, Order
from certs.models.statements import row_delete, row_insert, row_update
from certs.services.keys import key_create

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "state": "ordered",
    "attempts": 3,
    "names": ["a.example", "ü'\"%s"],
    "problem": {"type": "x", "deep": [1, None]},
    "next_attempt_at": NOW,
    "lease_owner": None,
    "lease_until": None,
    "rehearsal": True,
    "bind_port": None,
}


def order() -> Order:
    account = AcmeAccount.objects.create(directory_url=f"https://{uuid4().hex}.example/dir", key=key_create("ec-p256"))
    certificate = Certificate.objects.create(name="x", source="acme", names=["a.example"], account=account)
    return Order.objects.create(certificate=certificate, account=account, reason="test", names=["a.example"])


def values(row: Order) -> dict[str, object]:
    row.refresh_from_db()
    return {name: getattr(row, name) for name in (*FIELDS, "key_id")}


def test_an_update_does_what_django_would() -> None:
    key = key_create("ec-p256")
    ours, django = order(), order()
    assert row_update(Order, {"pk": ours.pk, "state": "new", "lease_owner": None}, {**FIELDS, "key": key}) == 1
    Order.objects.filter(pk=django.pk).update(**FIELDS, key=key)
    assert values(ours) == values(django)
    assert ours.key == key


@pytest.mark.parametrize("missed", [{"state": "ready"}, {"lease_owner": uuid4()}, {"lease_until": NOW}])
def test_only_the_rows_meant_are_changed(missed: dict[str, object]) -> None:
    row, other = order(), order()
    assert row_update(Order, {"pk": row.pk, **missed}, {"attempts": 9}) == 0
    assert row_update(Order, {"pk": row.pk, "state": "new"}, {"attempts": 9}) == 1
    other.refresh_from_db()
    assert other.attempts == 0


def test_only_the_rows_meant_are_deleted() -> None:
    job, other = uuid4(), uuid4()
    for each in (job, job, other):
        JobEvent.objects.create(job=each, message="x")
    assert row_delete(JobEvent, {"job": job}) == 2
    assert [event.job for event in JobEvent.objects.filter(job__in=[job, other])] == [other]


def test_an_insert_does_what_django_would() -> None:
    job = uuid4()
    fields: dict[str, Any] = {"job": job, "message": "100 % “sure”", "step": "order", "level": "info", "data": {"a": 1}}
    row_insert(JobEvent(**fields))
    JobEvent.objects.create(**fields)
    ours, django = JobEvent.objects.filter(job=job).order_by("id")
    assert {name: getattr(ours, name) for name in fields} == fields == {name: getattr(django, name) for name in fields}
    assert abs((django.at - ours.at).total_seconds()) < 60
