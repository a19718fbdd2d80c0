from datetime import timedelta

import pytest
from django.db import transaction

from certs.domain import keys
from certs.domain.errors import KeyRefused, SecretError
from certs.models import AcmeAccount, Certificate, PrivateKey
from certs.services.authority_keys import locked_key_import
from certs.services.certificates import certificate_import
from certs.services.keys import key_create, key_import, key_is_here, key_open, keys_prune
from certs.services.posting import certificate_post
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db


def test_a_key_is_sealed_and_opens_again() -> None:
    row = key_create("ec-p256")
    key = key_open(row)
    assert keys.spki_sha256(key.public_key()) == row.spki_sha256
    assert row.key_type == "ec-p256"
    assert "PRIVATE" not in row.sealed
    assert keys.key_to_der(key).hex() not in row.sealed


def test_the_same_key_is_found_again() -> None:
    key = keys.key_generate("ec-p256")
    assert key_import(key) == key_import(key)
    assert PrivateKey.objects.count() == 1


def test_a_key_held_elsewhere_is_not_opened_and_comes_here_by_import() -> None:
    key = keys.key_generate("ec-p256")
    row = PrivateKey.objects.create(
        key_type="ec-p256", spki_sha256=keys.spki_sha256(key.public_key()), held=PrivateKey.Held.ENDPOINT
    )
    assert not key_is_here(row)
    with pytest.raises(KeyRefused, match="on the endpoint"):
        key_open(row)
    assert key_import(key) == row
    row.refresh_from_db()
    assert key_is_here(row)
    key_open(row)


def test_a_sealed_key_moved_to_another_row_does_not_open() -> None:
    one, other = key_create("ec-p256"), key_create("ec-p256")
    other.sealed = one.sealed
    with pytest.raises(SecretError):
        key_open(other)


def test_no_key_is_made_inside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="inside a transaction"), transaction.atomic():
        key_create("ec-p256")
    assert not PrivateKey.objects.exists()


def test_an_unknown_type_stores_nothing() -> None:
    with pytest.raises(KeyRefused):
        key_create("rsa-512")
    assert not PrivateKey.objects.exists()


def test_only_keys_that_nothing_points_at_go_and_only_after_a_day() -> None:
    kept = stock.issued()
    loose, fresh = key_create("ec-p256"), key_create("ec-p256")
    before = PrivateKey.objects.count()
    PrivateKey.objects.exclude(pk=fresh.pk).update(created_at=clock.now() - timedelta(days=2))
    assert keys_prune() == 1
    assert PrivateKey.objects.count() == before - 1
    assert not PrivateKey.objects.filter(pk=loose.pk).exists()
    assert kept.current is not None
    assert (
        PrivateKey.objects.filter(pk__in=[fresh.pk, kept.current.key_id, AcmeAccount.objects.get().key_id]).count() == 3
    )


def test_a_compromised_key_loses_its_secret_and_is_recognised_for_good() -> None:
    pair = pki.leaf(stock.CA, ["a.example"], days=20)
    row = key_import(pair.key)
    PrivateKey.objects.update(compromised_at=clock.now(), created_at=clock.now() - timedelta(days=2))
    assert (keys_prune(), keys_prune()) == (1, 0)
    row.refresh_from_db()
    assert (row.sealed, key_is_here(row)) == ("", False)
    doors = (
        lambda: key_import(pair.key),
        lambda: locked_key_import(pair.key, "a long enough passphrase"),
        lambda: certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test"),
        lambda: certificate_post({"chain": pair.pem, "privateKey": pair.key_pem}, actor="test"),
    )
    for door in doors:
        with pytest.raises(KeyRefused, match="reported as compromised") as refused:
            door()
        assert refused.value.code == "key-compromised"
    row.refresh_from_db()
    assert row.sealed == ""
    assert not Certificate.objects.exists()
