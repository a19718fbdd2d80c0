"""The service behind Register: one order however often it is pressed; what works stays until the new one is bound."""

import socket
from datetime import timedelta

import pytest
from pytest_django import Settings

from certs.domain import states
from certs.domain.errors import BinderyError, ConflictError, InputError
from certs.models import AcmeAccount, AuditEvent, Binding, Certificate, Order, User
from certs.services.bindings import binding_set
from certs.services.issuing import order_retry
from certs.services.lets_encrypt import (
    Wish,
    lets_encrypt_register,
    lets_encrypt_renew,
    lets_encrypt_settle,
    lets_encrypt_stop,
    listener_wish_check,
)
from certs.services.orders import order_create
from certs.services.portal_state import state_get, state_update
from certs.services.versions import names_write
from portal import clock
from tests.standing import HOST, Ca, ca_make, certificate_make, stand

pytestmark = pytest.mark.django_db
STAGING = "https://staging.example.com/directory"
REAL = "https://real.example.com/directory"
CA: Ca = ca_make()


def wish(**changes: object) -> Wish:
    fields = {
        "directory_url": STAGING,
        "names": [HOST],
        "email": "alice@example.com",
        "terms_url": "https://staging.example.com/terms",
        **changes,
    }
    return Wish(**fields)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def standing() -> None:
    stand(url="http://192.0.2.1:8000", http=8000, https=8443)


def finish(order: Order, state: str = states.DONE, *, bind: bool = True) -> Certificate:
    """What the engine does: a version, the binding, the end."""
    Order.objects.filter(pk=order.pk).update(state=state, finished_at="2026-11-21T12:00:00Z")
    certificate = order.certificate
    if state == states.DONE:
        made = certificate_make(CA, list(order.names))
        version = made.versions.get()
        type(version).objects.filter(pk=version.pk).update(certificate=certificate)
        Certificate.objects.filter(pk=made.pk).update(current=None)
        Certificate.objects.filter(pk=certificate.pk).update(current=version)
        names_write(certificate, version.names)
        certificate.refresh_from_db()
        if bind:
            binding_set("", certificate, actor="test")
    return certificate


def test_register_makes_account_certificate_and_order() -> None:
    order = lets_encrypt_register(wish(), actor="test")
    account = AcmeAccount.objects.get()
    assert (account.directory_url, account.email, bool(account.terms_agreed_at)) == (STAGING, "alice@example.com", True)
    assert order.certificate.names == [HOST]
    assert order.certificate.auto_renew
    assert (order.bind, order.bind_address, order.bind_port) == (True, "", None)
    assert state_get().portal_certificate == order.certificate


def test_pressed_twice_it_makes_one_order() -> None:
    first = lets_encrypt_register(wish(form_id="a"), actor="test")
    assert lets_encrypt_register(wish(form_id="a"), actor="test") == first
    assert lets_encrypt_register(wish(form_id="b"), actor="test") == first  # still under way
    finish(first)
    assert lets_encrypt_register(wish(form_id="a"), actor="test") == first  # the same showing of the form, late
    assert Order.objects.count() == 1
    assert lets_encrypt_register(wish(form_id="c"), actor="test") != first
    assert Certificate.objects.filter(account__isnull=False).count() == 1


def test_the_account_is_used_again() -> None:
    lets_encrypt_register(wish(), actor="test")
    lets_encrypt_register(wish(names=[HOST, "www.example.com"]), actor="test")
    assert AcmeAccount.objects.count() == 1


def test_the_same_names_at_another_directory_order_at_once_and_the_old_certificate_stays_bound() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    new = lets_encrypt_register(wish(directory_url=REAL), actor="test").certificate
    assert new != old
    assert Binding.objects.get().certificate == old
    state = state_get()
    assert (state.portal_certificate, state.portal_replaces) == (new, old)
    old.refresh_from_db()
    assert old.auto_renew
    lets_encrypt_settle()
    assert state_get().portal_replaces == old


def test_once_the_new_one_is_bound_the_old_one_is_renewed_no_longer() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    new = finish(lets_encrypt_register(wish(directory_url=REAL), actor="test"))
    lets_encrypt_settle()
    lets_encrypt_settle()
    old.refresh_from_db()
    assert not old.auto_renew
    assert new.auto_renew
    assert state_get().portal_replaces is None


def test_an_old_one_that_is_still_bound_elsewhere_goes_on() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    binding_set(HOST, old, actor="test")
    finish(lets_encrypt_register(wish(directory_url=REAL), actor="test"))
    lets_encrypt_settle()
    old.refresh_from_db()
    assert old.auto_renew


def test_tries_that_came_to_nothing_leave_no_renewals_behind() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    typo = lets_encrypt_register(wish(names=["prtal.example.com"]), actor="test")
    finish(typo, states.FAILED)
    third = lets_encrypt_register(wish(names=[HOST, "www.example.com"]), actor="test")
    state = state_get()
    assert (state.portal_certificate, state.portal_replaces) == (third.certificate, old)
    typo.certificate.refresh_from_db()
    assert not typo.certificate.auto_renew


def test_a_try_under_way_is_cancelled_by_the_next() -> None:
    first = lets_encrypt_register(wish(), actor="test")
    lets_encrypt_register(wish(directory_url=REAL), actor="test")
    first.refresh_from_db()
    assert first.state == states.CANCELLED


def test_back_to_what_is_bound_anyway_waits_for_nothing() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    finish(lets_encrypt_register(wish(directory_url=REAL), actor="test"), states.FAILED)
    again = lets_encrypt_register(wish(), actor="test")
    assert again.certificate == old
    assert state_get().portal_replaces is None


def test_a_stopped_certificate_is_taken_up_again() -> None:
    old = finish(lets_encrypt_register(wish(), actor="test"))
    lets_encrypt_stop(instead=None, keep=True, actor="test")
    assert lets_encrypt_register(wish(), actor="test").certificate == old
    old.refresh_from_db()
    assert old.auto_renew


def test_what_came_only_with_a_later_try_is_bound_as_it_was_wished() -> None:
    wished = lets_encrypt_register(wish(), actor="test")
    finish(wished, states.FAILED)
    lets_encrypt_settle()
    assert not Binding.objects.exists()
    later = order_create(wished.certificate, reason="due-date", actor="schedule")
    certificate = finish(later, bind=False)
    lets_encrypt_settle()
    assert [(one.server_name, one.certificate) for one in Binding.objects.all()] == [
        ("", certificate),
        (HOST, certificate),
    ]


def test_a_default_chosen_since_is_the_newer_wish() -> None:
    wished = lets_encrypt_register(wish(), actor="test")
    finish(wished, states.FAILED)
    own = certificate_make(None, [HOST], source="uploaded")
    binding_set("", own, actor="test")
    finish(order_create(wished.certificate, reason="due-date", actor="schedule"), bind=False)
    lets_encrypt_settle()
    assert [one.certificate for one in Binding.objects.all()] == [own]


def test_a_binding_that_somebody_took_away_stays_away() -> None:
    certificate = finish(lets_encrypt_register(wish(), actor="test"))
    Binding.objects.all().delete()
    finish(order_create(certificate, reason="due-date", actor="schedule"), bind=False)
    lets_encrypt_settle()
    assert not Binding.objects.exists()


def test_stop_keeps_the_certificate_without_renewing_it() -> None:
    certificate = finish(lets_encrypt_register(wish(), actor="test"))
    lets_encrypt_stop(instead=None, keep=True, actor="test")
    certificate.refresh_from_db()
    assert not certificate.auto_renew
    assert Binding.objects.get().certificate == certificate
    assert state_get().portal_certificate is None
    with pytest.raises(ConflictError, match="not configured"):
        lets_encrypt_stop(instead=None, keep=True, actor="test")


def test_stop_goes_back_to_ones_own() -> None:
    own = certificate_make(None, [HOST], source="uploaded")
    certificate = finish(lets_encrypt_register(wish(), actor="test"))
    binding_set(HOST, certificate, actor="test")
    lets_encrypt_stop(instead=own, keep=False, actor="test")
    assert [(one.server_name, one.certificate) for one in Binding.objects.all()] == [("", own)]


def test_stop_goes_back_to_the_placeholder() -> None:
    finish(lets_encrypt_register(wish(), actor="test"))
    lets_encrypt_stop(instead=None, keep=False, actor="test")
    assert not Binding.objects.exists()


def test_what_cannot_be_served_does_not_take_its_place() -> None:
    empty = Certificate.objects.create(name="empty", source="uploaded")
    certificate = finish(lets_encrypt_register(wish(), actor="test"))
    with pytest.raises(BinderyError):
        lets_encrypt_stop(instead=empty, keep=False, actor="test")
    certificate.refresh_from_db()
    assert certificate.auto_renew
    assert state_get().portal_certificate == certificate


def test_going_back_is_refused_while_hsts_would_lock_everybody_out() -> None:
    own = certificate_make(None, [HOST], source="self-signed")
    certificate = finish(lets_encrypt_register(wish(), actor="test"))
    state_update(hsts=True, hsts_host=HOST)
    for instead in (own, None):
        with pytest.raises(ConflictError, match="HSTS is on"):
            lets_encrypt_stop(instead=instead, keep=False, actor="test")
    assert Binding.objects.get().certificate == certificate
    lets_encrypt_stop(instead=None, keep=True, actor="test")


def test_renew_now_orders_within_the_limits() -> None:
    with pytest.raises(ConflictError, match="not configured"):
        lets_encrypt_renew(actor="test")
    finish(lets_encrypt_register(wish(), actor="test"))
    order = lets_encrypt_renew(actor="test")
    assert order.finished_at is None
    assert lets_encrypt_renew(actor="test") == order


def test_address_and_port_are_wished_only_where_they_differ() -> None:
    same = lets_encrypt_register(wish(address="0.0.0.0", port=8443), actor="test")
    assert (same.bind_address, same.bind_port) == ("", None)
    Order.objects.all().delete()
    other = lets_encrypt_register(wish(address="127.0.0.1", port=free_port()), actor="test")
    assert other.bind_address == "127.0.0.1"
    assert other.bind_port


def test_what_another_server_or_the_environment_decides_is_not_wished(settings: Settings) -> None:
    settings.HTTPS_ADDRESS_LOCKED = settings.HTTPS_PORT_LOCKED = True
    order = lets_encrypt_register(wish(address="127.0.0.1", port=free_port()), actor="test")
    assert (order.bind_address, order.bind_port) == ("", None)


def test_a_taken_port_is_refused_and_nothing_is_stored() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConflictError) as refused:
        lets_encrypt_register(wish(address="127.0.0.1", port=taken.getsockname()[1]), actor="test")
    assert refused.value.code == "port"
    assert not AcmeAccount.objects.exists()
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("address", "port", "code"),
    [("192.0.2.7", 8443, "address"), ("", 8000, "port"), ("", 70000, "port"), ("", 0, "port")],
)
def test_an_address_or_port_that_cannot_be_is_refused(address: str, port: int, code: str) -> None:
    with pytest.raises((InputError, ConflictError)) as refused:
        listener_wish_check(address, port)
    assert refused.value.code == code


def test_nothing_is_stored_where_the_order_is_refused() -> None:
    with pytest.raises(InputError):
        lets_encrypt_register(wish(directory_url="http://plain.example.com"), actor="test")
    assert not Certificate.objects.exists()
    assert state_get().portal_certificate is None


def test_every_change_names_its_actor(django_user_model: type[User]) -> None:
    alice = django_user_model.objects.create_superuser("alice@example.com", "x")
    finish(lets_encrypt_register(wish(), actor=alice))
    lets_encrypt_register(wish(directory_url=REAL), actor=alice)
    lets_encrypt_stop(instead=None, keep=True, actor=alice)
    actions = set(AuditEvent.objects.filter(actor=alice).values_list("action", flat=True))
    assert {
        "account.create",
        "certificate.create",
        "order.create",
        "lets-encrypt.change",
        "lets-encrypt.stop",
    } <= actions


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_presses_at_the_same_moment_make_one_order() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    def press(_: int) -> object:
        try:
            return lets_encrypt_register(wish(form_id="same"), actor="test").pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(press, range(4)))
    assert len(made) == 1
    assert Certificate.objects.count() == 1


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_register_again_waits_where_the_ca_asked_to_wait() -> None:
    order = lets_encrypt_register(wish(), actor="test")
    certificate = finish(order, states.FAILED)
    Certificate.objects.filter(pk=certificate.pk).update(
        retry_after_at=clock.now() + timedelta(hours=3), next_attempt_at=clock.now() + timedelta(hours=3)
    )
    with pytest.raises(ConflictError, match="the CA asked to wait"):
        lets_encrypt_register(wish(), actor="test")
    with pytest.raises(ConflictError, match="the CA asked to wait"):
        order_retry(order, actor="test")
    assert Order.objects.count() == 1


def test_register_does_not_use_up_what_the_ca_allows_in_an_hour() -> None:
    for _ in range(4):
        finish(lets_encrypt_register(wish(), actor="test"), states.FAILED)
    with pytest.raises(ConflictError, match="4 times within an hour"):
        lets_encrypt_register(wish(), actor="test")
    with pytest.raises(ConflictError, match="4 times within an hour"):
        # Another set with the same name meets the same limit, and nothing of it is kept.
        lets_encrypt_register(wish(names=[HOST, f"www.{HOST}"]), actor="test")
    assert Order.objects.count() == 4
    assert Certificate.objects.count() == 1
