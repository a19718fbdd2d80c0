"""The same request with the same key: once, whatever happens on the way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from certs.models import AuditEvent, Certificate, IdempotencyKey
from certs.services.idempotency import ABANDONED, KEPT, idempotency_prune, idempotency_take
from tests import stock
from tests.api.conftest import Program, token
from tests.api.test_rights import WRITES, World
from tests.harness import pki

PATH = "/api/certificates/_keypair"
BODY = {"name": "jwt", "tags": ["signing"]}


@pytest.mark.django_db
def test_a_lost_answer_is_given_again_and_nothing_is_made_twice(program: Program) -> None:
    first = program.send("POST", PATH, BODY, Idempotency_Key="k1")
    again = program.send("POST", PATH, BODY, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again["Location"], again["ETag"]) == (first.json(), first["Location"], first["ETag"])
    assert again["Idempotent-Replayed"] == "true"
    assert Certificate.objects.count() == 1
    other = program.send("POST", PATH, BODY | {"name": "x"}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert program.send("POST", PATH, BODY, Idempotency_Key="k2").status_code == 201
    assert token("admin").send("POST", PATH, BODY, Idempotency_Key="k1").status_code == 201  # its own keys
    assert Certificate.objects.count() == 3


@pytest.mark.django_db
def test_what_failed_gives_its_key_back(program: Program) -> None:
    refused = program.send("POST", PATH, BODY | {"tags": ["a,b"]}, Idempotency_Key="k1")
    assert refused.status_code == 400
    assert program.send("POST", PATH, BODY, Idempotency_Key="k1").status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(program: Program, key: str) -> None:
    assert program.send("POST", PATH, BODY, Idempotency_Key=key).json()["code"] == "idempotency-key"
    assert not Certificate.objects.exists()


@pytest.mark.django_db
def test_no_secret_is_kept_with_a_key(program: Program) -> None:
    pair = pki.leaf(stock.CA, ["a.example"])
    body = {"chain": pair.pem, "privateKey": pair.key_pem, "password": "a pass phrase"}
    assert program.send("POST", "/api/certificates", body, Idempotency_Key="k1").status_code == 201
    row = IdempotencyKey.objects.get()
    kept = f"{row.body}{row.headers}{row.request_sha256}{row.key}{row.caller}"
    assert "PRIVATE" not in kept
    assert "pass phrase" not in kept


@pytest.mark.django_db
def test_one_that_is_still_at_it_is_waited_for_and_one_that_died_is_not(program: Program) -> None:
    assert idempotency_take("user:x", "k", "d") is None
    with pytest.raises(Exception, match="still at work"):
        idempotency_take("user:x", "k", "d")
    row = IdempotencyKey.objects.get()
    IdempotencyKey.objects.update(created_at=row.created_at - ABANDONED - timedelta(seconds=1))
    assert idempotency_take("user:x", "k", "d") is None
    assert idempotency_prune() == 0
    IdempotencyKey.objects.update(created_at=row.created_at - KEPT - timedelta(seconds=1))
    assert idempotency_prune() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_at_once_one_works(db: None) -> None:
    stock.administrator()
    programs = [token("admin")]
    start = threading.Barrier(6)

    def ask(_: int) -> Any:
        try:
            caller = Program()
            caller.defaults.update(programs[0].defaults)
            start.wait()
            return caller.send("POST", PATH, BODY, Idempotency_Key="race")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert Certificate.objects.count() == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert made
    assert len(set(made)) == 1
    assert all(answer.json()["code"] == "still-running" for answer in answers if answer.status_code == 409)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_changes_of_the_same_version_one_is_told_to_look_again(db: None) -> None:
    stock.administrator()
    program = token("admin")
    made = program.send("POST", PATH, BODY)
    path, start = made["Location"], threading.Barrier(4)

    def change(number: int) -> int:
        try:
            caller = Program()
            caller.defaults.update(program.defaults)
            start.wait()
            answer = caller.send("PATCH", path, {"description": str(number)}, If_Match=made["ETag"])
            return int(answer.status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(change, range(4)))
    assert statuses == [200, 412, 412, 412]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_changes_of_different_parts_at_once_are_all_kept(db: None) -> None:
    stock.administrator()
    program = token("admin")
    path, start = program.send("POST", PATH, {"name": "x"})["Location"], threading.Barrier(3)

    def change(number: int) -> int:
        try:
            caller = Program()
            caller.defaults.update(program.defaults)
            start.wait()
            return int(caller.send("PATCH", path, {"metadata": {str(number): "here"}}).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(change, range(3))) == {200}
    assert program.get(path).json()["metadata"] == {"0": "here", "1": "here", "2": "here"}


@pytest.mark.django_db
def test_every_post_does_its_work_once(db: None) -> None:
    stock.administrator()
    world, program, done = World(), token("admin", can_export=True), set()
    for name in (each for each in WRITES if each.startswith("POST")):
        route = name.partition(" ")[2]
        first = program.send("POST", world.path(route), world.body(name), Idempotency_Key=name)
        if first.status_code >= 400:
            continue  # what was refused gave its key back
        before = AuditEvent.objects.count()
        again = program.send("POST", world.path(route), world.body(name), Idempotency_Key=name)
        assert again.status_code == first.status_code, (name, again.content)
        if first["Content-Type"] == "application/json":
            assert again["Idempotent-Replayed"] == "true", name
            assert AuditEvent.objects.count() == before, name
        done.add(route)
        other = program.send("POST", world.path(route), {"another": name}, Idempotency_Key=name)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused"), name
    assert len(done) >= 30


@pytest.mark.django_db
def test_a_file_is_made_anew_and_kept_nowhere(db: None) -> None:
    stock.administrator()
    row, program = stock.uploaded("a.example"), token("admin", can_export=True)
    path, body = f"/api/certificates/{row.pk}/_export", {"format": "key"}
    first, again = (program.send("POST", path, body, Idempotency_Key="k") for _ in range(2))
    assert first.content == again.content
    assert b"PRIVATE KEY" in again.content
    assert AuditEvent.objects.filter(action="certificate.export").count() == 2
    assert [key.body for key in IdempotencyKey.objects.all()] == [""]
