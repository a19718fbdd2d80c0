"""Orders proven by DNS: pebble asks a real BIND, which takes our signed updates, through the real steps."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.models import AcmeAccount, Challenge, ChallengeMethod, JobEvent, Order
from certs.services.certificates import certificate_new
from certs.services.challenges import challenges_clean
from certs.services.issue_options import IssueOptions
from certs.services.options import options_store
from certs.services.order_runner import orders_run
from certs.services.orders import order_create
from certs.solvers.dns import ACCOUNT, PERSIST, account_label
from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from portal import clock
from tests.harness.bind import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Bind
from tests.harness.issuing import account_at, advance
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import LOOPBACK, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RECORDS = {"one.test": ["_acme-challenge.delegated CNAME a1b2.two.test."], "two.test": []}


@pytest.fixture
def bind(settings: Any) -> Iterator[Bind]:
    need("named")
    with Bind(zones=RECORDS, records=RECORDS, recursive=True) as running:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [running.address]
        yield running


@pytest.fixture
def ca(bind: Bind) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=free_port(), dns=bind) as running:
        yield running
    sessions_forget()


def method(bind: Bind, **changed: Any) -> ChallengeMethod:
    given = {"server": LOOPBACK, "port": bind.port, "key": KEY, "secret": SECRET, "timeout": 3, **changed}
    uid = uuid4()
    shown, sealed = options_store(Dns01Rfc2136.Options(**given), purpose=ChallengeMethod.PURPOSE, uid=uid)
    return ChallengeMethod.objects.create(
        id=uid, name=f"BIND {uid}", kind="dns01_rfc2136", options=shown, sealed=sealed
    )


def order(account: AcmeAccount, by: ChallengeMethod, *names: str) -> Order:
    certificate = certificate_new(
        name="", names=names, account=account, actor="test", options=IssueOptions(challenge_method=by)
    )
    return order_create(certificate, reason="asked", actor="test")


def left_at(bind: Bind, *names: str) -> set[str]:
    return {value for name in names for value in bind.values(f"_acme-challenge.{name}")}


def test_a_wildcard_and_its_base_name_are_issued_together(bind: Bind, ca: Pebble) -> None:
    done = advance(order(account_at(ca), method(bind), "*.one.test", "one.test", "mail.two.test"))
    assert done.state == states.DONE, (done.error_message, done.problem)
    assert done.version.names == ["*.one.test", "mail.two.test", "one.test"]
    assert not left_at(bind, "one.test", "mail.two.test")
    assert not Challenge.objects.exists()


def test_a_delegated_name_is_proven_in_the_other_zone(bind: Bind, ca: Pebble) -> None:
    done = advance(order(account_at(ca), method(bind), "*.delegated.one.test"))
    assert done.state == states.DONE, (done.error_message, done.problem)
    assert not bind.values("a1b2.two.test")


def test_dns_account_01_is_answered_under_the_accounts_label(bind: Bind, ca: Pebble) -> None:
    account = account_at(ca)
    done = advance(order(account, method(bind, challenge=ACCOUNT), "*.one.test"))
    assert done.state == states.DONE, (done.error_message, done.problem)
    account.refresh_from_db()
    assert f"_{account_label(account.account_url)}._acme-challenge.one.test" in bind.log
    assert not Challenge.objects.exists()


def test_a_standing_record_proves_the_next_order_without_a_change(bind: Bind, ca: Pebble) -> None:
    account, by = account_at(ca), method(bind, challenge=PERSIST)
    first = advance(order(account, by, "*.one.test"))
    assert first.state == states.DONE, (first.error_message, first.problem)
    (standing,) = bind.values("_validation-persist.one.test")
    account.refresh_from_db()
    assert f"accounturi={account.account_url}; policy=wildcard" in standing

    powerless = method(bind, challenge=PERSIST, key=OTHER_KEY, secret=OTHER_SECRET)
    second = advance(order(account, powerless, "one.test"))
    assert second.state == states.DONE, (second.error_message, second.problem)
    assert bind.values("_validation-persist.one.test") == {standing}
    assert not Challenge.objects.exists()


def test_the_ca_is_not_told_before_the_last_server_shows_the_record(
    bind: Bind, ca: Pebble, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.services.order_flow.POLL_DEADLINE_SECONDS", 0)
    with Bind(zones=RECORDS, primary=bind) as secondary:
        settings.DNS_AUTHORITIES = [bind.address, secondary.address]
        waiting = advance(order(account_at(ca), method(bind), "*.one.test"))
        assert waiting.state == states.ORDERED
        said = JobEvent.objects.filter(job=waiting.pk).values_list("message", flat=True)
        assert f"Waiting until {secondary.address} shows the TXT record _acme-challenge.one.test." in said
        told = JobEvent.objects.filter(job=waiting.pk, message__contains="to look: ")
        assert not told.exists()
        assert not ca.issued()
        secondary.notify()
        done = advance_until_done(waiting)
    assert done.state == states.DONE, (done.error_message, done.problem)
    assert told.count() == 1


def test_orders_for_the_same_names_at_once_do_not_take_each_others_records(bind: Bind, ca: Pebble) -> None:
    by = method(bind)
    asked = [order(account_at(ca, f"{number}@one.test"), by, "*.one.test", "one.test") for number in range(8)]
    for _ in range(20):
        if not Order.objects.filter(finished_at=None).exists():
            break
        orders_run()
    for each in asked:
        each.refresh_from_db()
        assert each.state == states.DONE, (each.error_message, each.problem)
    assert ca.issued() == len(asked)
    assert not left_at(bind, "one.test")


def test_a_wrong_key_fails_with_its_reason_and_leaves_nothing(bind: Bind, ca: Pebble) -> None:
    failed = advance(order(account_at(ca), method(bind, secret=OTHER_SECRET), "*.one.test"))
    assert "BADSIG" in failed.error_message, failed.state
    assert OTHER_SECRET not in failed.error_message
    assert not left_at(bind, "one.test")


def test_what_a_killed_present_left_is_swept_away(bind: Bind, ca: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the record was written, before that was stored."""

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    asked = order(account_at(ca), method(bind), "*.one.test")
    real = Dns01Rfc2136.present
    with monkeypatch.context() as patch:
        patch.setattr(Dns01Rfc2136, "present", lambda self, task: real(self, task) and killed())
        with pytest.raises(Killed):
            advance(asked)
    assert left_at(bind, "one.test")
    (row,) = Challenge.objects.all()
    assert row.data == {}

    Challenge.objects.update(clean_at=clock.now())
    challenges_clean()
    assert not left_at(bind, "one.test")
    assert not Challenge.objects.exists()


def advance_until_done(asked: Order) -> Order:
    for _ in range(50):
        asked = advance(asked)
        if asked.finished_at:
            break
    return asked
