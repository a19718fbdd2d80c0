"""The order flow against a CA in memory: every step, every way it may go wrong, and whose row it is."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from certs.acme.problems import Problem, failure
from certs.domain import states
from certs.domain.errors import AcmeRefused, AcmeRetry, ConflictError, InputError, ServingError
from certs.models import AcmeAccount, AuditEvent, Certificate, CertificateVersion, Challenge, JobEvent, Order, Rebind
from certs.services import order_advance as advancing
from certs.services import order_finish, order_flow, orders
from certs.services.accounts import account_get_or_create
from certs.services.bindings import binding_set
from certs.services.certificates import certificate_new, certificate_self_sign
from certs.services.deletion import certificate_delete
from certs.services.handshakes import ServedResult
from certs.services.nodes import node_name
from certs.services.order_advance import LONGEST_LIFE, MOST_ATTEMPTS, order_advance
from certs.services.order_flow import Flow, LeaseLost
from certs.services.order_views import RESTARTS
from certs.services.orders import (
    order_cancel,
    order_create,
    orders_claim,
    orders_due,
    orders_requeue_lapsed,
)
from certs.services.portal_state import generation_wanted
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa

pytestmark = pytest.mark.django_db
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCa]:
    fake = FakeCa()
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr(order_flow, "POLL_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(order_flow, "POLL_DEADLINE_SECONDS", 0.2)
    return fake


@pytest.fixture
def account() -> AcmeAccount:
    return account_get_or_create(
        directory_url="https://ca.example/directory", email="a@example.test", terms_url="https://ca/t", actor="test"
    )


@pytest.fixture
def certificate(account: AcmeAccount) -> Certificate:
    return stock.wanted("b.example.test", "a.example.test", at=account)


@pytest.fixture
def order(certificate: Certificate) -> Order:
    return order_create(certificate, reason="asked", actor="test")


def advance(order: Order) -> Order:
    owner = uuid4()
    Order.objects.filter(pk=order.pk).update(next_attempt_at=LONG_AGO)
    assert orders_claim(1, owner) == [order.pk]
    order_advance(order.pk, owner)
    return fresh(order)


def fresh(order: Order) -> Order:
    return Order.objects.select_related("certificate__current", "version", "key").get(pk=order.pk)


def test_a_step_that_always_ends_its_worker_ends_the_order_at_last(ca: FakeCa, order: Order) -> None:
    # A worker that is killed counts nothing itself: only the claims tell.
    Order.objects.filter(pk=order.pk).update(attempts=MOST_ATTEMPTS)
    order = advance(order)
    assert order.state == states.FAILED
    assert "never came to its end" in order.error_message
    assert order.certificate.failures == 1


def test_an_order_goes_through_every_step_and_leaves_nothing_behind(ca: FakeCa, order: Order) -> None:
    order = advance(order)

    assert order.state == states.DONE
    assert order.error_message == ""
    assert order.version == order.certificate.current
    assert order.version.names == ["a.example.test", "b.example.test"]
    assert order.version.key == order.key
    assert order.finished_at is not None
    assert order.lease_owner is None
    assert order.attempts == 0
    assert order.certificate.failures == 0
    assert order.certificate.last_renewed_at is not None
    assert not Challenge.objects.exists()
    steps = list(JobEvent.objects.filter(job=order.pk).values_list("step", flat=True))
    assert [step for step in dict.fromkeys(steps) if step] == [
        "account",
        "order",
        "challenge",
        "validation",
        "certificate",
        "binding",
    ]
    assert (ca.calls["order_new"], ca.calls["order_finalize"], ca.calls["session"]) == (1, 1, 1)


def test_the_account_is_registered_once_and_used_again(ca: FakeCa, order: Order) -> None:
    advance(order)
    second = advance(order_create(order.certificate, reason="forced", actor="test"))
    assert second.state == states.DONE
    assert ca.calls["account_register"] == 1


@pytest.mark.parametrize(
    "method",
    [
        "account_register",
        "order_new",
        "authorization_read",
        "challenge_answer",
        "order_read",
        "order_finalize",
        "certificate_read",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_request_that_failed_for_now_is_made_again_and_nothing_is_issued_twice(
    ca: FakeCa, order: Order, method: str, when: str
) -> None:
    error = AcmeRetry("the connection was lost")
    if when == "before":
        ca.fail[method] = [error]
    else:
        ca.on[method] = raise_once(ca, method, error)
    first = advance(order)
    assert first.state not in {states.DONE, states.FAILED}
    assert first.lease_owner is None
    assert first.next_attempt_at > clock.now()
    assert first.error_message == "the connection was lost"

    done = advance(order)
    assert done.state == states.DONE
    assert done.error_message == ""
    assert len(ca.issued) == 1
    assert done.certificate.versions.count() == 1


def raise_once(ca: FakeCa, method: str, error: Exception) -> Callable[[], None]:
    def act() -> None:
        del ca.on[method]
        raise error

    return act


def test_a_fault_in_a_step_is_logged_and_tried_again(ca: FakeCa, order: Order, caplog: Any) -> None:
    ca.fail["order_new"] = [ZeroDivisionError("a bug")]
    waiting = advance(order)
    assert waiting.state == states.REGISTERED
    assert waiting.error_code == "fault"
    assert "a bug" in caplog.text
    assert advance(order).state == states.DONE


def test_the_ca_may_ask_for_patience(ca: FakeCa, order: Order) -> None:
    retry_at = datetime.now(UTC) + timedelta(hours=2)
    ca.fail["order_new"] = [AcmeRetry("slow down", retry_at=retry_at, problem={"detail": "slow down"})]
    order = advance(order)
    assert order.state == states.REGISTERED
    assert abs(order.next_attempt_at - retry_at) < timedelta(seconds=5)
    assert order.problem == {"detail": "slow down"}
    assert not orders_due().exists()


def test_patience_for_more_than_a_day_is_a_failure_that_remembers_when(ca: FakeCa, order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(created_at=clock.now() - LONGEST_LIFE + timedelta(hours=1))
    retry_at = datetime.now(UTC) + timedelta(hours=2)
    ca.fail["order_new"] = [AcmeRetry("slow down", retry_at=retry_at)]
    order = advance(order)
    assert order.state == states.FAILED
    kept = order.certificate
    assert kept.retry_after_at is not None
    assert abs(kept.retry_after_at - retry_at) < timedelta(seconds=5)
    assert kept.next_attempt_at is not None
    assert kept.next_attempt_at >= kept.retry_after_at


def test_a_stuck_renewal_is_given_up_while_there_is_time_for_another(ca: FakeCa, order: Order) -> None:
    advance(order)
    CertificateVersion.objects.update(not_after=clock.now() + timedelta(hours=6))
    renewal = order_create(Certificate.objects.get(), reason="due", actor="schedule")
    for made, state in ((timedelta(hours=2), states.REGISTERED), (timedelta(hours=3), states.FAILED)):
        Order.objects.filter(pk=renewal.pk).update(created_at=clock.now() - made)
        CertificateVersion.objects.update(not_after=clock.now() - made + timedelta(hours=6))
        ca.fail["order_new"] = [AcmeRetry("not now")]
        renewal = advance(renewal)
        assert renewal.state == state
    assert renewal.certificate.next_attempt_at < clock.now() + timedelta(minutes=30)


def test_an_order_that_makes_no_way_is_given_up(ca: FakeCa, order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(attempts=MOST_ATTEMPTS)
    ca.fail["account_register"] = [AcmeRetry("not now")]
    assert advance(order).state == states.FAILED


def test_a_validation_that_takes_long_gives_its_place_to_others(ca: FakeCa, order: Order) -> None:
    ca.pending_reads = 10_000
    waiting = advance(order)
    assert waiting.state == states.CHALLENGED
    assert waiting.error_message == ""
    assert Challenge.objects.count() == 2
    ca.pending_reads = 0
    assert advance(order).state == states.DONE
    assert ca.calls["challenge_answer"] == 2


def test_issuing_may_take_its_time(ca: FakeCa, order: Order) -> None:
    ca.processing_reads = 3
    assert advance(order).state == states.DONE
    assert len(ca.issued) == 1


@pytest.fixture
def no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.solvers.http01._seen", lambda *_: "HTTP 404 with something else: nginx")


@pytest.mark.usefixtures("no_looking")
def test_a_failed_challenge_is_told_in_the_cas_words_with_evidence(ca: FakeCa, order: Order) -> None:
    ca.verdict = "invalid"
    order = advance(order)

    assert order.state == states.FAILED
    assert order.error_message == (
        "The ca.example HTTP challenge failed with status 'invalid' for a.example.test: the answer was wrong"
    )
    assert order.error_code == "acme-unauthorized"
    assert order.error_advice
    assert order.problem["detail"] == "the answer was wrong"
    url = "http://a.example.test/.well-known/acme-challenge/token-1-a_example_test"
    assert order.evidence == [
        {
            "name": "a.example.test",
            "url": url,
            "curl": f"curl -i {url}",
            "seen": "HTTP 404 with something else: nginx",
            "right": False,
        }
    ]
    assert order.certificate.failures == 1
    assert order.certificate.next_attempt_at is not None
    assert order.key is None
    assert not Challenge.objects.exists()
    assert ca.calls["order_finalize"] == 0


def test_the_other_names_of_a_failed_order_are_given_up(ca: FakeCa, order: Order) -> None:
    judge = ca._judge
    ca._judge = lambda found: judge(found) if found.name.startswith("a.") else found  # type: ignore[method-assign]
    ca.verdict = "invalid"
    assert advance(order).state == states.FAILED
    assert ca.deactivated == ["https://ca/authz/1/b.example.test"]


def test_failures_in_a_row_wait_ever_longer(ca: FakeCa, certificate: Certificate) -> None:
    waits = []
    for _ in range(4):
        ca.fail["order_new"] = [AcmeRefused("no")]
        order = advance(order_create(certificate, reason="due", actor="schedule"))
        assert order.state == states.FAILED
        assert order.certificate.next_attempt_at is not None
        waits.append(order.certificate.next_attempt_at - clock.now())
    assert waits == sorted(waits)
    assert waits[0] > timedelta(seconds=50)
    certificate.refresh_from_db()
    assert certificate.failures == 4
    assert advance(order_create(certificate, reason="forced", actor="test")).certificate.failures == 0


def test_no_challenge_that_we_can_solve(ca: FakeCa, order: Order) -> None:
    ca.answers = {"dns-01"}
    order = advance(order)
    assert order.state == states.FAILED
    assert order.error_code == "acme-no-challenge"


def test_authorizations_that_are_still_valid_need_no_challenge(ca: FakeCa, order: Order) -> None:
    ca.on["order_new"] = lambda: make_valid(ca)
    assert advance(order).state == states.DONE
    assert ca.calls["challenge_answer"] == 0


def make_valid(ca: FakeCa) -> None:
    from dataclasses import replace

    for url, found in ca.authorizations.items():
        ca.authorizations[url] = replace(found, status="valid")


@pytest.mark.parametrize(
    "names", [["evil.example.test"], ["a.example.test"], ["a.example.test", "b.example.test", "c.example.test"]]
)
def test_a_certificate_for_other_names_is_not_taken(ca: FakeCa, order: Order, names: list[str]) -> None:
    ca.issue_for = names
    order = advance(order)
    assert order.state == states.FAILED
    assert order.certificate.current is None
    assert "not for" in order.error_message


def test_a_certificate_for_another_key_is_not_taken(
    ca: FakeCa, order: Order, account: AcmeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign, key = ca._sign, account.key

    def other(csr: Any, names: list[str]) -> Any:
        from cryptography import x509

        from certs.domain.csr import csr_make
        from certs.services.keys import key_open

        return sign(x509.load_pem_x509_csr(csr_make(key_open(key), names).encode()), names)

    monkeypatch.setattr(ca, "_sign", other)
    order = advance(order)
    assert order.state == states.FAILED
    assert order.certificate.current is None


@pytest.mark.parametrize("state", [states.ORDERED, states.CHALLENGED, states.READY])
def test_an_order_the_ca_lost_is_ordered_again_a_bounded_number_of_times(
    ca: FakeCa, order: Order, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = stopped_at(order, state, monkeypatch)
    ca.lose(order.order_url)
    order = advance(order)
    assert order.state == states.DONE
    assert order.restarts == 1
    assert len(ca.issued) == 1

    again = order_create(order.certificate, reason="forced", actor="test")
    again = stopped_at(again, state, monkeypatch)
    Order.objects.filter(pk=again.pk).update(restarts=RESTARTS)
    ca.lose(again.order_url)
    again = advance(again)
    assert again.state == states.FAILED
    assert again.error_code == "acme-order-gone"


def stopped_at(order: Order, state: str, monkeypatch: pytest.MonkeyPatch) -> Order:
    def stop(flow: Flow) -> None:
        raise AcmeRetry("stopped by the test")

    with monkeypatch.context() as patch:
        patch.setitem(advancing.STEPS, state, stop)
        order = advance(order)
    assert order.state == state, order.error_message
    return order


def test_an_account_the_ca_forgot_is_registered_again_once(ca: FakeCa, order: Order) -> None:
    gone = failure(Problem(code="accountDoesNotExist", status=400, detail="unknown account"), "Our CA")
    ca.fail["order_new"] = [gone]
    order = advance(order)
    assert order.state == states.DONE
    assert ca.calls["account_register"] == 2
    assert JobEvent.objects.filter(job=order.pk, message__contains="registering again").exists()

    ca.fail["order_new"] = [gone, gone]
    again = advance(order_create(order.certificate, reason="forced", actor="test"))
    assert again.state == states.FAILED


# -- leases ------------------------------------------------------------------------------------------------------


def test_a_flow_whose_lease_was_taken_changes_nothing_more(ca: FakeCa, order: Order) -> None:
    thief = uuid4()
    ca.on["order_new"] = lambda: Order.objects.filter(pk=order.pk).update(lease_owner=thief) and None
    order = advance(order)
    assert order.state == states.REGISTERED
    assert order.lease_owner == thief
    assert order.order_url == ""


def test_a_cancelled_order_stops_at_its_next_save(ca: FakeCa, order: Order) -> None:
    ca.on["order_new"] = lambda: order_cancel(order, actor="test")
    cancelled = advance(order)
    assert cancelled.state == states.CANCELLED
    assert cancelled.finished_at is not None
    assert AuditEvent.objects.filter(action="order.cancel").exists()


def test_what_is_being_issued_cannot_be_cancelled(ca: FakeCa, order: Order) -> None:
    said: list[str] = []

    def cancel() -> None:
        with pytest.raises(ConflictError) as caught:
            order_cancel(order, actor="test")
        said.append(caught.value.message)

    ca.on["certificate_read"] = cancel
    assert advance(order).state == states.DONE
    assert said


def test_only_due_unleased_open_orders_are_claimed(order: Order) -> None:
    owner = uuid4()
    Order.objects.update(next_attempt_at=clock.now() + timedelta(minutes=1))
    assert orders_claim(5, owner) == []
    assert list(orders_due(within=timedelta(minutes=2))) == [order]
    Order.objects.update(next_attempt_at=LONG_AGO)
    assert orders_claim(5, owner) == [order.pk]
    assert orders_claim(5, uuid4()) == []
    Order.objects.update(lease_until=LONG_AGO)
    assert orders_claim(5, uuid4()) == [order.pk]
    Order.objects.update(lease_until=LONG_AGO, finished_at=clock.now())
    assert orders_claim(5, uuid4()) == []


def test_a_flow_that_kills_its_worker_backs_off_by_itself(order: Order) -> None:
    delays = []
    for _ in range(8):
        Order.objects.update(lease_until=LONG_AGO, next_attempt_at=LONG_AGO)
        orders_claim(1, uuid4())
        delays.append(fresh(order).next_attempt_at - clock.now())
    assert all(delay <= timedelta(0) for delay in delays[:3])
    assert delays[-1] > timedelta(minutes=1)
    assert fresh(order).attempts == 8


def test_a_flow_is_not_advanced_by_whoever_does_not_hold_it(ca: FakeCa, order: Order) -> None:
    orders_claim(1, uuid4())
    order_advance(order.pk, uuid4())
    assert fresh(order).state == states.NEW
    assert not ca.calls


def test_a_lapsed_order_brings_a_runner(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    monkeypatch.setattr(orders, "queue_enqueue", queued.append)
    assert orders_requeue_lapsed() == 1
    orders_claim(1, uuid4())
    assert orders_requeue_lapsed() == 0
    Order.objects.update(lease_until=LONG_AGO, next_attempt_at=LONG_AGO)
    assert orders_requeue_lapsed() == 1
    assert queued == [orders.RUNNER] * 2


def test_no_move_outside_the_table(order: Order) -> None:
    flow = Flow(order, uuid4())
    with pytest.raises(ValueError, match="does not go"):
        flow.move(states.DONE, "cheating")
    with pytest.raises(LeaseLost):
        flow.move(states.REGISTERED, "without a lease")


# -- making orders -----------------------------------------------------------------------------------------------


def test_one_order_at_a_time(certificate: Certificate, order: Order) -> None:
    with pytest.raises(ConflictError, match="under way"):
        order_create(certificate, reason="asked", actor="test")
    order_cancel(order, actor="test")
    order_create(certificate, reason="asked", actor="test")


def test_a_runner_is_queued_when_the_wish_is_committed(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(orders, "queue_enqueue", queued.append)
    with django_capture_on_commit_callbacks(execute=True):
        order_create(certificate, reason="asked", actor="test")
        assert not queued
    assert queued == [orders.RUNNER]


def test_what_no_ca_gives_is_not_ordered(certificate: Certificate) -> None:
    own = certificate_self_sign(name="own", names=["own.example.test"], actor="test", key_type="ec-p256")
    with pytest.raises(InputError):
        order_create(own, reason="asked", actor="test")
    certificate.names = []
    with pytest.raises(InputError):
        order_create(certificate, reason="asked", actor="test")
    certificate.deleted_at = clock.now()
    with pytest.raises(InputError):
        order_create(certificate, reason="asked", actor="test")


# -- binding -----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServedResult]:
    results = [ServedResult(True, "", "this server", "127.0.0.1:8443 serves it.")]
    monkeypatch.setattr(order_finish, "served_await", lambda certificate, timeout: results[0])
    return results


@pytest.mark.usefixtures("served")
def test_what_was_asked_to_be_bound_is_bound_as_default_and_for_each_name(ca: FakeCa, certificate: Certificate) -> None:
    before = generation_wanted()
    order = advance(order_create(certificate, reason="asked", actor="test", bind=True))
    assert order.state == states.DONE
    assert order.served is True
    assert sorted(certificate.bindings.values_list("server_name", flat=True)) == [
        "",
        "a.example.test",
        "b.example.test",
    ]
    assert generation_wanted() > before


@pytest.mark.usefixtures("served")
def test_a_renewal_of_a_bound_certificate_reaches_the_listener(ca: FakeCa, certificate: Certificate) -> None:
    advance(order_create(certificate, reason="asked", actor="test", bind=True))
    before = generation_wanted()
    order = advance(order_create(Certificate.objects.get(), reason="due", actor="schedule"))
    assert order.state == states.DONE
    assert order.served is True
    assert generation_wanted() == before + 1


@pytest.mark.usefixtures("served")
def test_a_renewal_leaves_the_bindings_of_others_alone(ca: FakeCa, certificate: Certificate) -> None:
    own = certificate_self_sign(name="own", names=["own.example.test"], actor="test", key_type="ec-p256")
    advance(order_create(certificate, reason="asked", actor="test", bind=True))
    binding_set("", own, actor="test")
    before = generation_wanted()
    advance(order_create(Certificate.objects.get(pk=certificate.pk), reason="due", actor="schedule"))
    assert own.bindings.get().server_name == ""
    assert generation_wanted() == before + 1


@pytest.mark.parametrize(("ok", "code"), [(False, "not-served"), (None, "not-checked")])
def test_issued_but_not_served_is_said_honestly(
    ca: FakeCa, certificate: Certificate, served: list[ServedResult], ok: bool | None, code: str
) -> None:
    served[0] = ServedResult(ok, "", "this server", "1 of 2 processes is behind.")
    order = advance(order_create(certificate, reason="asked", actor="test", bind=True))
    assert order.state == states.DONE
    assert order.served is ok
    assert order.error_code == code
    assert "1 of 2 processes is behind." in order.error_message
    assert order.error_message.startswith("Issued, bound, but ")
    assert order.certificate.failures == 0


@pytest.mark.usefixtures("served")
def test_a_listener_that_does_not_move_loses_no_certificate(
    ca: FakeCa, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ConflictError("Port 443 is taken: nginx listens on it.", advice="Stop it.", code="port-taken")

    monkeypatch.setattr(order_finish, "rebind_request", refuse)
    order = advance(order_create(certificate, reason="asked", actor="test", bind=True, bind_port=443))
    assert order.state == states.DONE
    assert order.served is False
    assert order.error_code == "port-taken"
    assert order.version is not None
    assert order.certificate.current == order.version


@pytest.mark.usefixtures("served")
def test_a_move_that_a_killed_worker_asked_for_is_not_asked_for_again(
    ca: FakeCa, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(**_: Any) -> None:
        raise AssertionError("asked twice")

    monkeypatch.setattr(order_finish, "rebind_request", ask)
    order = order_create(certificate, reason="asked", actor="test", bind=True, bind_address="0.0.0.0", bind_port=4443)
    Rebind.objects.create(
        node=node_name(),
        addresses=["0.0.0.0", "::"],
        port=4443,
        old_addresses=["0.0.0.0", "::"],
        old_port=8443,
        state=states.RETURNED,
        message="Nobody confirmed it.",
        created_at=clock.now(),
        finished_at=clock.now(),
    )
    order = advance(order)
    assert (order.state, order.served, order.error_code) == (states.DONE, False, "rebind")
    assert "Nobody confirmed it." in order.error_message


def test_a_fault_after_issuing_loses_no_certificate(
    ca: FakeCa, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ServingError("the listener burns", advice="Put it out.")

    monkeypatch.setattr(order_finish, "served_await", fail)
    order = advance(order_create(certificate, reason="asked", actor="test", bind=True))
    assert order.state == states.DONE
    assert order.served is False
    assert "the listener burns" in order.error_message


# -- races -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_claimers_exactly_one_wins_each_order(ca: FakeCa, account: AcmeAccount) -> None:
    made = []
    for number in range(6):
        row = certificate_new(name="", names=[f"n{number}.example.test"], account=account, actor="test")
        made.append(order_create(row, reason="asked", actor="test").pk)
    won: list[Any] = []
    ready = threading.Barrier(4)

    def claim() -> None:
        owner = uuid4()
        ready.wait()
        try:
            while claimed := orders_claim(2, owner):
                won.extend((pk, owner) for pk in claimed)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pk for pk, _ in won) == sorted(made)
    for pk, owner in won:
        assert Order.objects.get(pk=pk).lease_owner == owner


def test_a_ca_that_refuses_to_be_told_twice_is_looked_at(ca: FakeCa, order: Order) -> None:
    """As pebble does; a request whose answer was lost is sent again."""
    refusal = failure(Problem(code="malformed", status=400, detail="Cannot update challenge"), "Our CA")
    ca.on["challenge_answer"] = raise_once(ca, "challenge_answer", refusal)
    done = advance(order)
    assert done.state == states.DONE, done.error_message
    assert ca.calls["challenge_answer"] == 2


def test_a_ca_that_refuses_to_be_told_at_all_has_refused(ca: FakeCa, order: Order) -> None:
    ca.fail["challenge_answer"] = [failure(Problem(code="malformed", status=400, detail="no"), "Our CA")]
    order = advance(order)
    assert (order.state, order.error_code) == (states.FAILED, "acme-malformed")


def test_answers_that_were_lost_are_made_anew_rather_than_waited_for(ca: FakeCa, order: Order) -> None:
    ca.on["challenge_answer"] = lambda: Challenge.objects.all().delete()
    ca.fail["authorization_read"] = []
    ca.verdict = "pending"
    ca.pending_reads = 10**6
    order = advance(order)
    assert order.restarts > 0
    assert ca.calls["order_new"] > 1


def test_an_order_asks_for_the_names_that_are_stored(ca: FakeCa, certificate: Certificate) -> None:
    """Else what comes of it would not fit the certificate, and be refused."""
    certificate.names = ["stale.example.test"]
    order = advance(order_create(certificate, reason="asked", actor="test"))
    assert order.state == states.DONE, order.error_message
    assert order.names == ["a.example.test", "b.example.test"] == order.version.names


def test_a_certificate_just_deleted_is_not_ordered(certificate: Certificate) -> None:
    stale = Certificate.objects.get(pk=certificate.pk)
    certificate_delete(certificate, actor="test")
    with pytest.raises(ConflictError, match="was deleted"):
        order_create(stale, reason="asked", actor="test")
    assert not Order.objects.exists()
