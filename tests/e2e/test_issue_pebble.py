"""Orders against pebble, through the real steps: what comes out, what goes wrong, and what is said of it."""

import time
from collections.abc import Iterator

import pytest

from certs.acme.client import AcmeClient
from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.domain.errors import AcmeRetry, BinderyError
from certs.models import AcmeAccount, Challenge, JobEvent, Order
from certs.services.accounts import directory_read
from certs.services.order_advance import STEPS
from certs.services.order_runner import orders_run
from certs.services.orders import order_create
from tests.harness.issuing import Responder, account_at, advance, order_for
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.rounds import rounds

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder() as running:
        yield running
    sessions_forget()


@pytest.fixture
def ca(responder: Responder) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=responder.port) as running:
        yield running


def test_a_certificate_is_issued_and_kept_with_its_key(ca: Pebble) -> None:
    order = advance(order_for(account_at(ca), "b.example.test", "a.example.test"))

    assert order.state == states.DONE, (order.error_message, order.problem)
    assert order.version.names == ["a.example.test", "b.example.test"]
    assert order.version.key == order.key
    assert order.certificate.current == order.version
    assert not Challenge.objects.exists()
    assert ca.issued() == 1


@pytest.mark.parametrize("reject", [5, 50])
@rounds("count", 16, 100)
def test_all_succeed_however_often_the_ca_rejects_nonces(responder: Responder, reject: int, count: int) -> None:
    need("pebble")
    with Pebble(http_port=responder.port, nonce_reject=reject) as ca:
        account = account_at(ca)
        orders = [order_for(account) for _ in range(count)]
        started = time.monotonic()
        while left := count - Order.objects.filter(finished_at__isnull=False).count():
            assert orders_run() > 0, f"{left} orders that nobody goes on with"
        seconds = time.monotonic() - started
        for order in orders:
            order.refresh_from_db()
            assert order.state == states.DONE, (order.error_message, order.problem)
        assert ca.issued() == count
    print(f"{count} orders with {reject} % of the nonces rejected: all issued, once each, in {seconds:.1f} s")


def test_a_failed_challenge_tells_what_the_ca_said_and_what_we_see(ca: Pebble, responder: Responder) -> None:
    responder.everything = (404, "nothing of that name")
    order = advance(order_for(account_at(ca), "a.example.test", "b.example.test"))

    assert order.state == states.FAILED
    assert "HTTP challenge failed with status 'invalid'" in order.error_message
    assert order.error_code == "acme-unauthorized"
    assert order.error_advice
    assert order.problem["detail"]
    (seen,) = order.evidence
    assert seen["url"].startswith(f"http://{seen['name']}")
    assert seen["curl"] == f"curl -i {seen['url']}"
    assert seen["seen"]
    order.certificate.refresh_from_db()
    assert order.certificate.failures == 1
    assert order.certificate.next_attempt_at is not None
    assert not Challenge.objects.exists()
    assert ca.issued() == 0


def test_a_name_the_ca_does_not_issue_for_fails_at_once_in_its_own_words(ca: Pebble) -> None:
    order = advance(order_for(account_at(ca), "www.blocked.test"))

    assert order.state == states.FAILED
    assert order.error_code == "acme-rejectedIdentifier"
    assert "blocked" in order.error_message


def test_an_account_the_ca_has_forgotten_is_registered_again_and_said_so(responder: Responder) -> None:
    need("pebble")
    with Pebble(http_port=responder.port) as ca:
        account = account_at(ca)
        assert advance(order_for(account)).state == states.DONE
        first_url = AcmeAccount.objects.get().account_url
        ca.stop()  # pebble keeps everything in memory
        ca.start()
        order = advance(order_for(account))
        assert order.state == states.DONE, order.error_message
    assert AcmeAccount.objects.get().account_url != first_url
    assert JobEvent.objects.filter(job=order.pk, message__contains="registering again").count() == 1


@pytest.mark.parametrize("state", [states.ORDERED, states.CHALLENGED, states.READY])
def test_an_order_the_ca_has_lost_is_ordered_again(ca: Pebble, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order = stopped_at(order_for(account_at(ca)), state, monkeypatch)
    Order.objects.filter(pk=order.pk).update(order_url=order.order_url + "x")
    order = advance(order)

    assert order.state == states.DONE, order.error_message
    assert order.restarts == 1
    assert ca.issued() == 1


def test_a_lost_answer_to_finalize_does_not_bring_a_second_certificate(
    ca: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_for(account_at(ca))
    finalize = AcmeClient.order_finalize

    def lost(self: AcmeClient, *args: str) -> None:
        finalize(self, *args)
        raise AcmeRetry("the connection was lost")

    monkeypatch.setattr(AcmeClient, "order_finalize", lost)
    assert advance(order).state == states.READY
    monkeypatch.undo()
    order = advance(order)

    assert order.state == states.DONE
    assert order.restarts == 0
    assert ca.issued() == 1


def test_a_renewal_makes_a_new_version_with_a_new_key_and_says_what_it_replaces(ca: Pebble) -> None:
    first = advance(order_for(account_at(ca)))
    second = advance(order_create(first.certificate, reason="forced", actor="test"))

    assert second.state == states.DONE, second.error_message
    assert second.replaces
    assert second.version != first.version
    assert second.key != first.key
    assert second.certificate.current == second.version


def test_a_ca_that_knows_nothing_of_what_is_replaced_is_asked_without(responder: Responder) -> None:
    need("pebble")
    with Pebble(http_port=responder.port) as ca:
        account = account_at(ca)
        first = advance(order_for(account))
        ca.stop()
        ca.start()
        second = advance(order_create(first.certificate, reason="forced", actor="test"))
    assert second.state == states.DONE, second.error_message


def test_a_busy_ca_is_waited_for(responder: Responder) -> None:
    need("pebble")
    with Pebble(http_port=responder.port, sleep=True, environment={"PEBBLE_VA_SLEEPTIME": "2"}) as ca:
        order = advance(order_for(account_at(ca)))
    assert order.state == states.DONE, order.error_message


def test_the_directory_says_its_terms_and_profiles(ca: Pebble) -> None:
    info = directory_read(ca.directory_url, ca_bundle=ca.ca_bundle_pem, allow_private=True)
    assert info.terms_url
    assert not info.eab_required
    assert bool(info.profiles) == ca.has_profiles


@pytest.mark.parametrize(
    ("path", "bundle", "private", "says"),
    [
        ("dir", "", True, "not trusted"),
        ("dir", "own", False, "not on the Internet"),
        ("nonce-plz", "own", True, "not JSON"),
        ("nowhere", "own", True, "404"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused_with_the_reason(
    ca: Pebble, path: str, bundle: str, private: bool, says: str
) -> None:
    with pytest.raises(BinderyError) as error:
        directory_read(
            ca.directory_url.replace("/dir", f"/{path}"),
            ca_bundle=ca.ca_bundle_pem if bundle else "",
            allow_private=private,
        )
    assert says in error.value.message
    assert path == "nowhere" or error.value.advice or says == "not JSON"


def test_terms_that_nobody_accepted_stop_the_order(ca: Pebble) -> None:
    account = account_at(ca)
    AcmeAccount.objects.update(terms_agreed_at=None)
    account.refresh_from_db()
    order = advance(order_for(account))
    assert order.state == states.FAILED
    assert order.error_code == "acme-terms"


def stopped_at(order: Order, state: str, monkeypatch: pytest.MonkeyPatch) -> Order:
    """The order as a killed worker leaves it in `state`: saved, and nothing known of it in memory."""

    def stop(flow: object) -> None:
        raise AcmeRetry("stopped by the test")

    with monkeypatch.context() as patch:
        patch.setitem(STEPS, state, stop)
        order = advance(order)
    assert order.state == state, order.error_message
    return order
