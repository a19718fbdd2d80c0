"""Lists and responders of our own CAs: signed again in time, each number once, and told when they are not."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest
from cryptography.x509 import CRLNumber
from cryptography.x509.ocsp import load_der_ocsp_response
from django.db import connections

from certs.domain.errors import InputError, KeyRefused, NotAllowed, Unavailable
from certs.domain.ocsp import OcspRefused
from certs.models import AuditEvent, Authority, CertificateVersion, IssuedCertificate
from certs.services import crls
from certs.services.alarm_pki import pki_troubles
from certs.services.crls import (
    authority_publish,
    crl_days_change,
    crl_refresh,
    crl_sign,
    crl_sweep,
)
from certs.services.deletion import certificate_delete, certificate_restore
from certs.services.ocsp import ocsp_answer
from certs.services.publication import publication_shown
from certs.services.register import issued_revoke
from certs.services.revocations import version_revoke
from portal import clock
from tests import own_ca

pytestmark = pytest.mark.django_db
DAY = 86_400.0


@pytest.fixture
def ca() -> Authority:
    authority = own_ca.root()
    authority_publish(authority, actor="test")
    return authority


@pytest.fixture
def offline() -> Authority:
    authority = own_ca.root("Offline Root", passphrase=own_ca.PASSPHRASE, crl_days=90)
    authority_publish(authority, own_ca.PASSPHRASE, actor="test")
    return authority


def test_what_is_published_first(ca: Authority) -> None:
    assert len(own_ca.crl(ca)) == 0
    responder = ca.responder
    assert responder is not None
    assert responder.current is not None
    assert responder.authority_id == ca.pk
    assert responder.name == "OCSP of Our Root"
    assert not responder.auto_renew
    assert IssuedCertificate.objects.filter(authority=ca, serial=responder.current.serial).exists()
    assert AuditEvent.objects.filter(action="authority.publish").exists()


def test_all_is_well_and_nothing_is_written(ca: Authority, django_assert_num_queries: Callable[..., object]) -> None:
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        assert crl_sweep() == 0


def test_a_list_is_signed_again_at_half_of_its_life(ca: Authority, move_clock: Callable[[float], None]) -> None:
    first = ca.crl_number
    move_clock(3.4 * DAY)
    assert crl_sweep() == 0
    move_clock(3.6 * DAY)
    assert crl_sweep() == 1
    assert own_ca.crl(ca).next_update_utc == ca.crl_next_update
    assert ca.crl_number > first


def test_its_responder_too_with_another_key(ca: Authority, move_clock: Callable[[float], None]) -> None:
    first = ca.responder.current if ca.responder else None
    assert first is not None
    move_clock(7.1 * DAY)
    assert crl_sweep() == 2
    ca.refresh_from_db()
    assert ca.responder is not None
    second = own_ca.version(ca.responder)
    assert second.pk != first.pk
    assert second.key_id != first.key_id
    move_clock(15 * DAY)
    crl_sweep()
    assert not CertificateVersion.objects.filter(pk=first.pk).exists()  # lapsed, and of no use


def test_a_revoked_responder_is_replaced_at_once(ca: Authority) -> None:
    assert ca.responder is not None
    first = own_ca.version(ca.responder)
    version_revoke(first, "keyCompromise", actor="test")
    second = own_ca.version(ca.responder)
    assert second.pk != first.pk
    assert second.revoked_at is None
    leaf = own_ca.leaf(ca)
    answer = ocsp_answer(ca.pk, own_ca.asked(ca, leaf))
    assert answer is not None
    told = load_der_ocsp_response(answer.der)
    assert [one.serial_number for one in told.certificates] == [own_ca.parsed(ca.responder).serial_number]


def test_a_revoked_responder_of_an_offline_ca_signs_no_more(offline: Authority) -> None:
    assert offline.responder is not None
    first = own_ca.version(offline.responder)
    version_revoke(first, "superseded", actor="test")
    assert own_ca.version(offline.responder).pk == first.pk
    with pytest.raises(OcspRefused, match="the CA is offline"):
        ocsp_answer(offline.pk, own_ca.asked(offline, offline.responder))
    assert publication_shown(offline).responder_state.words == "revoked"
    (trouble,) = [one for one in pki_troubles(clock.now()) if one.key.startswith("responder:")]
    assert "OCSP gives no answers now." in trouble.happened
    authority_publish(offline, own_ca.PASSPHRASE, actor="test")
    assert ocsp_answer(offline.pk, own_ca.asked(offline, offline.responder)) is not None
    assert publication_shown(offline).responder_state.words == "in force"


def test_a_list_without_end_before_the_clock_went_back(ca: Authority, move_clock: Callable[[float], None]) -> None:
    """A clock that was far ahead has left a list from the future: clients refuse it, so another one is signed."""
    move_clock(30 * DAY)
    crl_sweep()
    move_clock(0)
    crl_sweep()
    numbers = own_ca.crl(ca)
    assert numbers.last_update_utc <= clock.now()
    assert ca.crl_number == own_ca.crl(ca).extensions.get_extension_for_class(CRLNumber).value.crl_number


@pytest.mark.parametrize(
    ("days", "gap"),
    [(14, 6.4), pytest.param(7, 0.9, marks=pytest.mark.proof), pytest.param(1, 0.3, marks=pytest.mark.proof)],
)
def test_two_years_without_a_gap(ca: Authority, days: int, gap: float, move_clock: Callable[[float], None]) -> None:
    """At every tick the list and the responder in force are current, though ticks fail to come for days."""
    crl_days_change(ca, days, actor="test")
    certificate = own_ca.leaf(ca)
    version_revoke(own_ca.version(certificate), "superseded", actor="test")
    day, gone, dice = 0.0, None, random.Random(5)
    while day < 730:
        day += gap * dice.uniform(0.7, 1)
        move_clock(day * DAY)
        now = clock.now()
        found = own_ca.crl(ca)
        assert found.next_update_utc is not None
        assert now < found.next_update_utc  # what the last tick left behind
        crl_sweep()
        found = own_ca.crl(ca)
        assert found.next_update_utc is not None
        assert found.last_update_utc <= clock.now() < found.next_update_utc
        assert ca.responder is not None
        assert own_ca.version(ca.responder).is_valid_at(now)
        if not own_ca.on_list(ca, certificate):
            gone = gone or now
    assert gone is not None  # RFC 5280 §3.3: not before a scheduled list told of it after its end
    assert gone > own_ca.version(certificate).not_after + timedelta(days=days)


def test_numbers_go_up_even_after_a_backup_was_restored(ca: Authority, move_clock: Callable[[float], None]) -> None:
    backup = {name: getattr(ca, name) for name in ("crl_number", "crl_der", "crl_this_update", "crl_next_update")}
    for hours in (1, 2, 3):
        move_clock(hours * 3600)
        crl_sign(ca, actor="test")
    newest = ca.crl_number
    Authority.objects.filter(pk=ca.pk).update(**backup)
    move_clock(4 * 3600)
    crl_sign(ca, actor="test")
    assert ca.crl_number > newest


def test_one_cas_trouble_is_not_anothers(ca: Authority) -> None:
    other = own_ca.root("Another Root")
    third = own_ca.root("Third Root")
    Authority.objects.update(crl_changes=99, crl_der=None, responder=None)
    real = crls.authority_key

    def broken(authority: Authority, passphrase: str = "") -> object:
        if authority.pk == other.pk:
            raise RuntimeError("a fault nobody thought of")
        return real(authority, passphrase)

    with patch.object(crls, "authority_key", broken):
        crl_sweep()
    for row in (ca, third):
        assert own_ca.crl(row).is_signature_valid(own_ca.parsed(row.certificate).public_key())  # type: ignore[arg-type]
        assert row.responder is not None
        assert row.crl_trouble == ""
    other.refresh_from_db()
    assert "RuntimeError" in other.crl_trouble
    assert "RuntimeError" in other.responder_trouble
    crl_sweep()
    other.refresh_from_db()
    assert (other.crl_trouble, other.responder_trouble) == ("", "")


def test_a_change_of_the_register_is_enough(ca: Authority) -> None:
    certificate = own_ca.leaf(ca)
    issued = IssuedCertificate.objects.get(serial=own_ca.version(certificate).serial)
    issued_revoke(issued, "superseded", actor="test")
    assert not own_ca.on_list(ca, certificate)
    assert crl_sweep() == 1
    assert own_ca.on_list(ca, certificate)
    assert crl_sweep() == 0


def test_the_life_of_a_list_is_chosen(ca: Authority) -> None:
    crl_days_change(ca, 30, actor="test")
    crl_sweep()
    found = own_ca.crl(ca)
    assert found.next_update_utc is not None
    assert found.next_update_utc - found.last_update_utc == timedelta(days=30)
    for days in (0, 3651, -1):
        with pytest.raises(InputError):
            crl_days_change(ca, days, actor="test")


class TestOffline:
    def test_nothing_is_signed_without_a_person(self, offline: Authority, move_clock: Callable[[float], None]) -> None:
        number = offline.crl_number
        move_clock(200 * DAY)
        assert crl_sweep() == 0
        assert not crl_refresh(offline)
        for passphrase, code in (("", "passphrase-needed"), ("wrong passphrase", "passphrase-wrong")):
            with pytest.raises(KeyRefused) as refused:
                authority_publish(offline, passphrase, actor="test")
            assert refused.value.code == code
        offline.refresh_from_db()
        assert offline.crl_number == number
        assert offline.crl_trouble == ""

    def test_a_person_signs_both_for_the_chosen_time(self, offline: Authority) -> None:
        found = own_ca.crl(offline)
        assert found.next_update_utc is not None
        assert found.next_update_utc - found.last_update_utc == timedelta(days=90)
        assert offline.responder is not None
        # Signed one after the other, each from its own moment on.
        later = found.next_update_utc - own_ca.version(offline.responder).not_after
        assert timedelta(0) <= later < timedelta(minutes=1)

    def test_what_was_revoked_waits_for_the_person(self, offline: Authority) -> None:
        certificate = own_ca.leaf(offline, passphrase=own_ca.PASSPHRASE)
        version_revoke(own_ca.version(certificate), "keyCompromise", actor="test")
        assert not own_ca.on_list(offline, certificate)
        assert offline.register_changes > offline.crl_changes
        authority_publish(offline, own_ca.PASSPHRASE, actor="test")
        assert own_ca.on_list(offline, certificate)
        assert offline.register_changes == offline.crl_changes


def test_an_expired_ca_signs_nothing(ca: Authority, move_clock: Callable[[float], None]) -> None:
    move_clock(3700 * DAY)
    assert crl_sweep() == 0
    with pytest.raises(NotAllowed, match="expired"):
        crl_sign(ca, actor="test")


def test_a_list_that_came_too_late_is_thrown_away(ca: Authority) -> None:
    """Killed or overtaken between signing and storing: the list in force is whole, and the next one has a number of its
    own."""
    real, stored = crls._crl_store, []

    def overtaken(row: Authority, made: object) -> bool:
        if not stored:
            stored.append(made)
            crl_sign(Authority.objects.get(pk=ca.pk), actor="another")
        return real(row, made)  # type: ignore[arg-type]

    with patch.object(crls, "_crl_store", overtaken):
        crl_sign(ca, actor="test")
    numbers = [event.after["number"] for event in AuditEvent.objects.filter(action="authority.crl").order_by("id")]
    assert len(set(numbers)) == 2
    assert numbers == sorted(numbers)
    assert own_ca.crl(ca).extensions.get_extension_for_class(CRLNumber).value.crl_number == numbers[-1]

    def killed(row: Authority, made: object) -> bool:
        raise KeyboardInterrupt

    before = own_ca.crl(ca)
    with patch.object(crls, "_crl_store", killed), pytest.raises(KeyboardInterrupt):
        crl_sign(ca, actor="test")
    assert own_ca.crl(ca) == before
    with patch.object(crls, "_crl_store", return_value=False), pytest.raises(Unavailable):
        crl_sign(ca, actor="test")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_many_at_once_never_give_a_number_twice() -> None:
    authority = own_ca.root()
    certificates = [own_ca.leaf(authority, f"host{number}.example") for number in range(6)]
    published: list[tuple[int, bytes]] = []
    real = crls._crl_store

    def noted(row: Authority, made: "crls._Due") -> bool:
        stored = real(row, made)
        if stored:
            published.append((made.number, made.der))
        return stored

    def revoke(number: int) -> None:
        try:
            version_revoke(own_ca.version(certificates[number]), "superseded", actor="test")
        finally:
            connections.close_all()

    with patch.object(crls, "_crl_store", noted), ThreadPoolExecutor(6) as pool:
        list(pool.map(revoke, range(6)))
    assert len({number for number, _ in published}) == len(published)
    assert all(own_ca.on_list(authority, certificate) for certificate in certificates)


@pytest.fixture(autouse=True)
def _still() -> Iterator[None]:
    """No renewal of what is revoked here: that is told of elsewhere."""
    with patch("certs.services.revocations.sweep_run"):
        yield


def test_a_ca_that_has_signed_nothing_but_its_responder_can_go_and_come_back(
    ca: Authority, move_clock: Callable[[float], None]
) -> None:
    certificate_delete(ca.certificate, actor="test")
    move_clock(5 * DAY)
    assert crl_sweep() == 0
    assert not list(pki_troubles(clock.now()))
    certificate_restore(ca.certificate, actor="test")
    assert crl_sweep() == 1
