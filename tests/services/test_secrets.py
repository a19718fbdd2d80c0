from collections.abc import Iterator

import pytest

from certs.domain.envelope import KeyRing
from certs.domain.errors import SecretError
from certs.models import KeyRingCanary
from certs.services import secrets
from portal import home

pytestmark = pytest.mark.django_db


@pytest.fixture
def other_ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After the canary was made, the process comes up with another ring."""
    secrets.canary_check()
    monkeypatch.setattr(home, "key_ring", KeyRing.generate)
    secrets.ring.cache_clear()
    yield
    secrets.ring.cache_clear()


def test_a_secret_opens_only_where_it_belongs() -> None:
    sealed = secrets.secret_seal("purpose", "row", b"secret")
    assert secrets.secret_open("purpose", "row", sealed) == b"secret"
    for purpose, uid in (("other", "row"), ("purpose", "other")):
        with pytest.raises(SecretError):
            secrets.secret_open(purpose, uid, sealed)


def test_the_canary_is_made_once() -> None:
    secrets.canary_check()
    secrets.canary_check()
    assert KeyRingCanary.objects.count() == 1


@pytest.mark.usefixtures("other_ring")
def test_another_ring_is_recognised_before_anything_is_sealed_with_it() -> None:
    with pytest.raises(SecretError, match="does not belong to this database") as refusal:
        secrets.canary_check()
    assert str(home.key_ring_file()) in refusal.value.advice
    assert refusal.value.code == "wrong-key-ring"
    assert KeyRingCanary.objects.count() == 1
