"""What is in the JWK Set, and what never is."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.domain.errors import InputError, NotAllowed
from certs.domain.jwk import jwk_of
from certs.models import AuditEvent, Certificate, CertificateVersion, PrivateKey
from certs.services.certificate_changes import certificate_update
from certs.services.jwks import jwks_document, jwks_overlap_set
from certs.services.keys import key_create, key_import, key_open
from certs.services.version_history import version_use
from certs.services.versions import version_add
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db
DAY = 86400


def told() -> list[dict[str, Any]]:
    return json.loads(jwks_document())["keys"]  # type: ignore[no-any-return]


def kid(version: CertificateVersion | None) -> str:
    assert version is not None
    assert version.key is not None
    return str(jwk_of(key_open(version.key).public_key())["kid"])


def exposed(*names: str) -> Certificate:
    row = stock.uploaded(*names)
    certificate_update(row, actor="test", exposed=True)
    return Certificate.objects.get(pk=row.pk)


def rotated(row: Certificate, key: Any = None) -> CertificateVersion:
    pair = pki.leaf(stock.CA, ["own.example"], key=key)
    version_add(row, leaf=pair.certificate, chain=[], key=key_import(pair.key))  # type: ignore[arg-type]
    row.refresh_from_db()
    assert row.current is not None
    return row.current


def test_only_what_is_exposed_is_told_and_nothing_private() -> None:
    row = exposed("own.example")
    stock.uploaded("hidden.example")
    (key,) = told()
    assert key["kid"] == kid(row.current)
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert row.current is not None
    assert len(key["x5c"]) == 1
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg", "x5c", "x5t#S256"}
    certificate_update(row, actor="test", exposed=False)
    assert told() == []


def test_a_replaced_key_stays_for_the_overlap(move_clock: Callable[[float], None]) -> None:
    row = exposed()
    jwks_overlap_set(3, actor="test")
    first = row.current
    second = rotated(row)
    assert {key["kid"] for key in told()} == {kid(first), kid(second)}
    move_clock(2.9 * DAY)
    assert {key["kid"] for key in told()} == {kid(first), kid(second)}
    move_clock(3.1 * DAY)
    assert {key["kid"] for key in told()} == {kid(second)}
    jwks_overlap_set(10, actor="test")
    assert len(told()) == 2
    jwks_overlap_set(0, actor="test")
    assert {key["kid"] for key in told()} == {kid(second)}


def test_going_back_to_an_earlier_version_keeps_both() -> None:
    row = exposed()
    first = row.current
    assert first is not None
    second = rotated(row)
    version_use(row, first, actor="test")
    assert {key["kid"] for key in told()} == {kid(first), kid(second)}
    jwks_overlap_set(0, actor="test")
    assert {key["kid"] for key in told()} == {kid(first)}


def test_the_same_key_in_two_versions_is_told_once_with_the_current_certificate() -> None:
    row = exposed()
    assert row.current is not None
    assert row.current.key is not None
    version = rotated(row, key_open(row.current.key))
    (key,) = told()
    assert key["kid"] == kid(version)
    assert key["x5c"][0] in "".join(version.leaf_pem.split("\n")[1:-2])


def test_revoked_compromised_and_deleted_ones_are_never_told() -> None:
    row = exposed()
    first, second = row.current, rotated(row)
    assert first is not None
    CertificateVersion.objects.filter(pk=first.pk).update(revoked_at=clock.now())
    assert {key["kid"] for key in told()} == {kid(second)}
    PrivateKey.objects.filter(pk=second.key_id).update(compromised_at=clock.now())
    assert told() == []
    PrivateKey.objects.update(compromised_at=None)
    Certificate.objects.filter(pk=row.pk).update(deleted_at=clock.now())
    assert told() == []


def test_one_whose_certificate_expired_stays_until_it_is_replaced(move_clock: Callable[[float], None]) -> None:
    row = exposed()
    move_clock(200 * DAY)
    assert {key["kid"] for key in told()} == {kid(row.current)}


def test_a_key_pair_without_a_certificate_is_told_without_one() -> None:
    key = key_create("ed25519")
    row = Certificate.objects.create(name="signing", source=Certificate.Source.UPLOADED, key=key, exposed=True)
    (jwk,) = told()
    assert (jwk["alg"], jwk["crv"]) == ("EdDSA", "Ed25519")
    assert "x5c" not in jwk
    PrivateKey.objects.filter(pk=key.pk).update(compromised_at=clock.now())
    assert told() == []
    row.delete()


def test_one_that_cannot_be_read_does_not_take_the_others_along(caplog: pytest.LogCaptureFixture) -> None:
    row = exposed()
    locked = key_create("ec-p256")
    PrivateKey.objects.filter(pk=locked.pk).update(locked=True)
    Certificate.objects.create(name="locked", source=Certificate.Source.UPLOADED, key=locked, exposed=True)
    assert [key["kid"] for key in told()] == [kid(row.current)]
    assert "left out of the JWKS" in caplog.text
    PrivateKey.objects.filter(pk=locked.pk).update(locked=False)
    assert len(told()) == 2


def test_the_bytes_stay_the_same_and_the_queries_few(django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        exposed(f"n{number}.example")
    before = jwks_document()
    with django_assert_max_num_queries(4):
        assert jwks_document() == before


def test_it_is_read_by_the_index_however_large_the_store_is() -> None:
    exposed("own.example")
    with CaptureQueriesContext(connection) as queries:
        jwks_document()
    plans = []
    for query in queries.captured_queries:
        with connection.cursor() as cursor:
            explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
            cursor.execute(explain + query["sql"])
            plans.append(str(cursor.fetchall()))
    if connection.vendor == "sqlite":
        assert "certificate_exposed" in plans[0]
        assert not [plan for plan in plans[1:] if "SCAN" in plan]


def test_the_overlap_is_bounded_and_an_administrators_matter() -> None:
    for days in (-1, 366):
        with pytest.raises(InputError, match="out of range"):
            jwks_overlap_set(days, actor="test")
    with pytest.raises(NotAllowed):
        jwks_overlap_set(3, actor=None)
    jwks_overlap_set(3, actor="test")
    jwks_overlap_set(3, actor="test")
    assert AuditEvent.objects.get(action="jwks.change").after == {"overlap_days": 3}
