"""Work on many certificates: told before it is done, done once, whatever happens to who does it."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.db import connection
from django_q.models import OrmQ

from certs.domain.errors import InputError, NotAllowed
from certs.domain.wishes import Wish
from certs.models import AuditEvent, Authority, BulkJob, Certificate, User
from certs.services import bulk, revocations
from certs.services.access import TokenActor
from certs.services.bindings import binding_set
from certs.services.bulk import bulk_ask, bulk_preview, bulk_requeue_lapsed, bulk_run
from certs.services.certificate_properties import certificate_tags
from certs.services.crls import crl_refresh
from certs.services.issued import authority_issue
from certs.services.tokens import token_create, token_revoke
from portal import clock
from tests import stock
from tests.harness import own_ca, pki

ROOT = Path(__file__).resolve().parents[2]


def document(number: int, **more: Any) -> dict[str, Any]:
    pair = pki.leaf(stock.CA, [f"{number}.example"])
    return {"id": f"c{number}", "chain": pair.pem, "privateKey": pair.key_pem, **more}


def _person() -> User:
    return User.objects.filter(is_superuser=True).first() or stock.administrator()


def three() -> list[Certificate]:
    return [stock.uploaded(f"{number}.example") for number in range(3)]


@pytest.mark.django_db
def test_a_preview_tells_what_would_happen_and_changes_nothing() -> None:
    rows = three()
    binding_set("", rows[0], actor="test")
    events = AuditEvent.objects.count()
    keys = [row.pk for row in rows]
    lines = bulk_preview("delete", keys, options={}, actor="test")
    assert [(line.ok, line.code) for line in lines] == [(False, "in-use"), (True, "ok"), (True, "ok")]
    lines = bulk_preview("tag", keys, options={"add": ["B", "a"]}, actor="test")
    assert lines[0].message == "Its tags would be: a, b."
    lines = bulk_preview("revoke", keys, options={"reason": "superseded"}, actor="test")
    assert [line.code for line in lines] == ["no-account"] * 3  # nobody's CA can be asked
    lines = bulk_preview("renew", keys, options={}, actor="test")
    assert not any(line.ok for line in lines)  # nobody renews what was uploaded
    lines = bulk_preview("import", [document(1), {"chain": "x"}], options={}, actor="test")
    assert [(line.ok, line.id) for line in lines] == [(True, "c1"), (False, "")]
    assert AuditEvent.objects.count() == events
    assert Certificate.objects.count() == 3
    assert not BulkJob.objects.exists()


@pytest.mark.django_db
def test_one_item_that_fails_does_not_stop_the_others() -> None:
    rows = three()
    binding_set("", rows[1], actor="test")
    job = bulk_ask("delete", [row.pk for row in rows], options={}, actor=_person())
    assert bulk_run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done, job.failed) == ("done", 2, 1)
    assert [line["ok"] for line in job.results] == [True, False, True]
    assert [row.pk for row in Certificate.objects.filter(deleted_at=None)] == [rows[1].pk]
    assert bulk_run(job.pk) is False  # nothing is left to do


@pytest.mark.django_db
def test_many_are_revoked_by_one_list_of_each_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    near = own_ca.root()
    far = own_ca.root(own_ca.BELOW, passphrase=own_ca.PASSPHRASE)
    at_hand = [authority_issue(near, Wish(hosts=(f"{n}.example",), days=90), actor="test") for n in range(3)]
    wish = Wish(hosts=("far.example",), days=90)
    offline = authority_issue(far, wish, passphrase=own_ca.PASSPHRASE, actor="test", auto_renew=False)
    keys = [*(row.pk for row in at_hand), offline.pk]
    binding_set("", at_hand[0], actor="test")
    lines = bulk_preview("revoke", keys, options={"reason": "superseded"}, actor="test")
    assert "although it is bound: default" in lines[0].message
    assert "is offline" in lines[3].message
    signed: list[str] = []
    monkeypatch.setattr(bulk, "crl_refresh", lambda row: signed.append(str(row)) or crl_refresh(row))
    monkeypatch.setattr(revocations, "crl_refresh", None)  # not by each
    before = Authority.objects.get(pk=near.pk).crl_number
    job = bulk_ask("revoke", keys, options={"reason": "superseded"}, actor=_person())
    assert bulk_run(job.pk)
    job.refresh_from_db()
    assert (job.done, job.failed) == (4, 0), job.results
    assert sorted(signed) == sorted([str(near), str(far)])
    assert "is offline" in job.results[3]["message"]
    assert "is offline" not in job.results[0]["message"]
    row = Authority.objects.get(pk=near.pk)
    assert (row.crl_number > before, row.crl_changes) == (True, row.register_changes)
    told = x509.load_der_x509_crl(bytes(row.crl_der or b""))
    serials = [int(version.serial, 16) for one in at_hand for version in one.versions.filter(revoked_at__isnull=False)]
    assert len(serials) == 3
    assert all(told.get_revoked_certificate_by_serial_number(serial) for serial in serials)
    assert {one.versions.count() for one in at_hand} == {2}  # each has its successor


@pytest.mark.django_db
def test_an_import_brings_its_keys_sealed_and_leaves_none_behind() -> None:
    given = [document(1, tags=["a"]), document(2), document(1)]
    given[2]["id"] = "c1"
    job = bulk_ask("import", given, options={}, actor=_person())
    assert "PRIVATE" not in f"{job.sealed}{job.options}"
    assert not any("PRIVATE" in str(task.payload) for task in OrmQ.objects.all())
    assert bulk_run(job.pk)
    job.refresh_from_db()
    assert (job.done, job.failed, job.sealed) == (2, 1, "")  # the third has another key under the id of the first
    assert certificate_tags(Certificate.objects.get(api_id="c1")) == ["a"]


@pytest.mark.django_db
def test_who_lost_the_right_meanwhile_changes_nothing_more() -> None:
    rows = three()
    stock.administrator()
    token, _ = token_create("bulk", "operator", actor="test")
    job = bulk_ask("delete", [row.pk for row in rows], options={}, actor=TokenActor(token))
    token_revoke(token, actor="test")
    assert bulk_run(job.pk)
    job.refresh_from_db()
    assert (job.done, job.failed) == (0, 3)
    assert Certificate.objects.filter(deleted_at=None).count() == 3


@pytest.mark.django_db
def test_what_is_asked_wrongly_is_refused_at_once() -> None:
    key = stock.uploaded("a.example").pk
    wrong: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("paint", [key], {}),
        ("delete", [], {}),
        ("import", [{}] * 1001, {}),
        ("revoke", [key], {"reason": "bored"}),
        ("tag", [key], {"add": [], "remove": []}),
    ]
    for action, items, options in wrong:
        with pytest.raises(InputError):
            bulk_ask(action, items, options=options, actor=_person())
    viewer, _ = token_create("looks", "viewer", actor="test")
    with pytest.raises(NotAllowed):
        bulk_ask("delete", [key], options={}, actor=TokenActor(viewer))
    with pytest.raises(NotAllowed):
        bulk_ask("delete", [key], options={}, actor="command line")
    assert not BulkJob.objects.exists()


@pytest.mark.django_db
def test_a_job_is_one_workers_and_comes_back_when_its_lease_lapses() -> None:
    job = bulk_ask("tag", [stock.uploaded("a.example").pk], options={"add": ["x"]}, actor=_person())
    BulkJob.objects.update(state="running", lease_until=clock.real() + timedelta(seconds=30))
    assert bulk_run(job.pk) is False
    assert bulk_requeue_lapsed() == 0
    BulkJob.objects.update(lease_until=clock.real() - timedelta(seconds=1))
    assert bulk_requeue_lapsed() == 1
    assert bulk_run(job.pk)


@pytest.mark.django_db
def test_who_lost_the_lease_writes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = three()
    job = bulk_ask("tag", [row.pk for row in rows], options={"add": ["x"]}, actor=_person())
    monkeypatch.setattr(bulk, "_WRITE_SECONDS", 0.0)
    told = bulk._line

    def steal(*given: Any) -> Any:
        BulkJob.objects.update(lease_until=clock.real() + timedelta(minutes=5))
        return told(*given)

    monkeypatch.setattr(bulk, "_line", steal)
    assert bulk_run(job.pk) is False
    job.refresh_from_db()
    assert (job.state, job.results) == ("running", [])


@pytest.mark.django_db
def test_a_long_job_is_carried_on_by_another_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "TURN_SECONDS", 0.0)
    job = bulk_ask("tag", [row.pk for row in three()], options={"add": ["x"]}, actor=_person())
    assert [bulk_run(job.pk) for _ in range(3)] == [False, False, True]
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", 3)


RUN = "import django; django.setup(); from certs.services.bulk import bulk_run; bulk_run({!r})"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_worker_killed_in_the_middle_loses_nothing_and_does_nothing_twice() -> None:
    job = bulk_ask("import", [document(number) for number in range(40)], options={}, actor=_person())
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.api.kill_settings"}
    environment["BINDERY_TEST_DATABASE"] = str(connection.settings_dict["NAME"])
    worker = subprocess.Popen([sys.executable, "-c", RUN.format(str(job.pk))], cwd=ROOT, env=environment)
    try:
        until = time.monotonic() + 30
        while Certificate.objects.count() < 10 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    came = Certificate.objects.count()
    assert 10 <= came < 40
    until = time.monotonic() + 15
    while not bulk_requeue_lapsed() and time.monotonic() < until:
        time.sleep(0.1)
    assert bulk_run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done, job.failed, len(job.results)) == ("done", 40, 0, 40)
    assert [line["id"] for line in job.results] == [f"c{number}" for number in range(40)]
    assert Certificate.objects.count() == 40
    assert AuditEvent.objects.filter(action="certificate.import").count() == 40
