"""Revocation at pebble, whose own books are asked: by the account and by the key, with a reason, and twice."""

from collections.abc import Iterator

import pytest

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.domain.errors import AcmeRefused, InputError
from certs.models import AuditEvent, Certificate, CertificateVersion, Order, PrivateKey
from certs.services.account_changes import account_register_now
from certs.services.revocations import version_revoke
from tests.harness.issuing import Responder, account_at, advance, order_for
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]


@pytest.fixture
def ca() -> Iterator[Pebble]:
    need("pebble")
    with Responder() as responder, Pebble(http_port=responder.port) as running:
        yield running
    sessions_forget()


def issued(ca: Pebble) -> CertificateVersion:
    order = advance(order_for(account_at(ca)))
    assert order.state == states.DONE, order.error_message
    version: CertificateVersion = order.version
    return version


@pytest.mark.parametrize("by", ["account", "key"])
@pytest.mark.parametrize(
    ("reason", "number"), [("unspecified", 0), ("keyCompromise", 1), ("superseded", 4), ("cessationOfOperation", 5)]
)
def test_the_ca_revokes_with_the_reason_given(ca: Pebble, by: str, reason: str, number: int) -> None:
    version = issued(ca)
    assert ca.revocation(version.serial)[0] == "Valid"
    version_revoke(version, reason, by=by, actor="test")  # type: ignore[arg-type]
    status, given = ca.revocation(version.serial)
    assert status == "Revoked"
    assert (given or 0) == number
    kept = CertificateVersion.objects.get(pk=version.pk)
    assert kept.revoked_at is not None
    assert kept.revocation_reason == reason
    event = AuditEvent.objects.get(action="certificate.revoke")
    assert (event.after["reason"], event.after["by"]) == (reason, by)


def test_a_revoked_current_version_is_replaced_at_once_with_another_key(ca: Pebble) -> None:
    version = issued(ca)
    Certificate.objects.update(reuse_key=True)
    version_revoke(version, "keyCompromise", by="key", actor="test")
    order = Order.objects.get(finished_at=None)
    assert order.reason == "revoked"
    order = advance(order)
    assert order.state == states.DONE, order.error_message
    certificate = Certificate.objects.get()
    assert certificate.current != version
    assert certificate.current is not None
    assert certificate.current.key != version.key
    assert PrivateKey.objects.get(pk=version.key_id).compromised_at is not None


def test_revoked_already_is_success(ca: Pebble) -> None:
    version = issued(ca)
    version_revoke(version, "superseded", actor="test")
    # Killed before it was written.
    CertificateVersion.objects.update(revoked_at=None, revocation_reason="")
    version_revoke(CertificateVersion.objects.get(pk=version.pk), "superseded", actor="test")
    assert CertificateVersion.objects.get(pk=version.pk).revoked_at is not None


def test_what_is_revoked_is_not_asked_again(ca: Pebble) -> None:
    version = issued(ca)
    version_revoke(version, "superseded", actor="test")
    at = version.revoked_at
    ca.stop()
    version_revoke(version, "superseded", actor="test")
    assert CertificateVersion.objects.get(pk=version.pk).revoked_at == at


def test_the_key_revokes_where_the_account_may_not(ca: Pebble) -> None:
    version = issued(ca)
    other = account_at(ca, "other@example.test")
    account_register_now(other, actor="test")
    Order.objects.update(account=other)
    with pytest.raises(AcmeRefused):
        version_revoke(version, "superseded", by="account", actor="test")
    assert CertificateVersion.objects.get(pk=version.pk).revoked_at is None
    version_revoke(version, "superseded", by="key", actor="test")
    assert ca.revocation(version.serial)[0] == "Revoked"


def test_a_key_that_is_not_here_cannot_sign(ca: Pebble) -> None:
    version = issued(ca)
    CertificateVersion.objects.update(key=None)
    version.refresh_from_db()
    with pytest.raises(InputError, match="not here"):
        version_revoke(version, "superseded", by="key", actor="test")
    assert ca.revocation(version.serial)[0] == "Valid"


def test_a_key_reported_as_compromised_stays_marked_when_the_ca_is_away(ca: Pebble) -> None:
    version = issued(ca)
    ca.stop()
    with pytest.raises(Exception, match="cannot be reached"):
        version_revoke(version, "keyCompromise", actor="test")
    assert PrivateKey.objects.get(pk=version.key_id).compromised_at is not None
    assert CertificateVersion.objects.get(pk=version.pk).revoked_at is None
