"""The ledger: what is written by which step, what the limits leave, and that neither schedule nor person go past."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.acme.directories import KNOWN
from certs.acme.network import NO_ANSWER
from certs.acme.problems import Problem, failure
from certs.domain.budget import Event, Limit, Scope
from certs.domain.errors import AcmeRetry, ConflictError, InputError
from certs.models import AcmeAccount, AcmeDirectory, AuditEvent, Certificate, FallbackIssuer, LedgerEntry, Order
from certs.services import ledger, order_flow
from certs.services.accounts import account_get_or_create
from certs.services.issuing import certificate_order, certificate_renew, order_ask, order_retry
from certs.services.order_advance import order_advance
from certs.services.orders import order_create, orders_claim
from certs.services.prune import prune_run
from certs.services.sweeps import renewal_decision, sweep_run
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa

pytestmark = pytest.mark.django_db
Clock = Callable[[float], None]
REAL = KNOWN["letsencrypt"].url
HOUR, DAY = 3600, 86400
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
    made = account_get_or_create(directory_url=REAL, email="", terms_url="https://acme.example/t", actor="test")
    AcmeAccount.objects.filter(pk=made.pk).update(account_url="https://ca/account/1")
    made.refresh_from_db()
    return made


def certificate_at(account: AcmeAccount, *names: str) -> Certificate:
    return stock.wanted(*(names or ("www.example.com",)), at=account)


def advance(order: Order) -> Order:
    owner = uuid4()
    Order.objects.filter(pk=order.pk).update(next_attempt_at=LONG_AGO)
    assert orders_claim(1, owner) == [order.pk]
    order_advance(order.pk, owner)
    return Order.objects.select_related("certificate__current").get(pk=order.pk)


def spent(account: AcmeAccount, event: Event, key: str, times: int = 1, ago: float = 20, **fields: bool) -> None:
    for _ in range(times):
        LedgerEntry.objects.create(
            directory_url=account.directory_url,
            account=account.pk,
            event=event,
            key=key,
            at=clock.now() - timedelta(seconds=ago),
            **fields,
        )


def issued(account: AcmeAccount, *names: str, times: int) -> None:
    """So many certificates of the exact set were issued just now."""
    spent(account, Event.CERTIFICATE, ledger.names_digest(names), times)


def left(account: AcmeAccount, *names: str, certificate: Certificate | None = None) -> dict[str, int]:
    found = ledger.budgets(account, names or ["www.example.com"], certificate=certificate)
    return {str(budget.limit.scope): budget.left for budget in found}


FULL = {"account": 300, "domain": 50, "set": 5, "name": 5}


def test_what_an_account_has_left_is_told_of_one_that_is_there(account: AcmeAccount) -> None:
    told = {one.limit.scope for one in ledger.budgets_shown(account, ["www.example.com"])}
    assert told == {Scope.SET, Scope.DOMAIN, Scope.ACCOUNT}
    new = AcmeAccount(directory_url=REAL)
    assert {one.limit.scope for one in ledger.budgets_shown(new, ["www.example.com"])} == told - {Scope.ACCOUNT}


def test_an_issued_order_is_counted_once_for_each_limit(ca: FakeCa, account: AcmeAccount) -> None:
    assert left(account) == FULL
    order = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    assert order.state == "done"
    assert {(row.event, row.order, row.exempt, row.renewal) for row in LedgerEntry.objects.all()} == {
        ("order", order.pk, False, False),
        ("certificate", order.pk, False, False),
    }
    assert left(account) == {"account": 299, "domain": 49, "set": 4, "name": 5}
    (worst, *_) = ledger.budgets(account, ["www.example.com"])
    assert worst.text.startswith("4 left of 5 for this set until ")


@pytest.mark.parametrize("lost", ["answer", "page", "save", "kill"])
def test_no_more_new_orders_are_sent_than_the_limit_leaves_however_they_are_lost(
    ca: FakeCa, account: AcmeAccount, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def lose() -> None:
        if lost == "answer":
            raise AcmeRetry("no answer", code=NO_ANSWER)
        if lost == "page":
            raise AcmeRetry("a page", problem={"status": 502, "body": "<html>"})
        raise ZeroDivisionError if lost == "save" else SystemExit

    ledger.limits_set(account.directory_url, [Limit(Event.ORDER, Scope.ACCOUNT, 3, timedelta(hours=3))], actor="test")
    ca.on["order_new"] = lose
    order = order_create(certificate_at(account), reason="asked", actor="test")
    for _ in range(8):
        with suppress(SystemExit):
            advance(order)
        Order.objects.update(lease_until=None)
    assert ca.calls["order_new"] == 3
    order.refresh_from_db()
    assert order.error_code == ledger.SPENT


@pytest.mark.parametrize(
    "error",
    [
        AcmeRetry("busy", problem={"type": "urn:ietf:params:acme:error:serverInternal", "status": 503}),
        AcmeRetry("a limit of the proxy", problem={"status": 429, "body": "slow down"}),
        AcmeRetry("away", code="acme-unreachable"),
    ],
)
def test_what_the_ca_did_not_make_is_not_counted(ca: FakeCa, account: AcmeAccount, error: AcmeRetry) -> None:
    ca.fail["order_new"] = [error]
    order = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    assert order.state == "registered"
    assert not LedgerEntry.objects.filter(event="order").exists()


def test_an_order_that_has_not_come_so_far_counts_as_if_it_had(account: AcmeAccount) -> None:
    order = order_create(certificate_at(account), reason="asked", actor="test")
    after = {"account": 299, "domain": 49, "set": 4, "name": 5}
    assert left(account) == after
    assert left(account, "other.example.com") == {"account": 299, "domain": 49, "set": 5, "name": 5}
    ledger.ledger_order(order)
    Order.objects.filter(pk=order.pk).update(state="ordered")
    assert left(account) == after, "the same order is not counted twice"
    Order.objects.filter(pk=order.pk).update(state="failed", finished_at=clock.now())
    assert left(account) == {"account": 299, "domain": 50, "set": 5, "name": 5}


def test_a_failed_authorization_is_counted_once_however_often_it_is_seen(ca: FakeCa, account: AcmeAccount) -> None:
    ca.verdict = "invalid"
    order = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    assert order.state == "failed"
    tries = ca.calls["order_new"]
    assert LedgerEntry.objects.filter(event="failure", key="www.example.com").count() == tries
    ledger.ledger_failure(order, "www.example.com")
    assert LedgerEntry.objects.filter(event="failure").count() == tries
    assert left(account)["name"] == 5 - tries


def test_a_new_account_is_counted_and_shown_only_where_one_would_be_made(ca: FakeCa, account: AcmeAccount) -> None:
    AcmeAccount.objects.update(account_url="")
    account.refresh_from_db()
    assert left(account)["server"] == 10
    order = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    assert LedgerEntry.objects.filter(event="account").count() == 1
    assert "server" not in left(Order.objects.get(pk=order.pk).account)


def test_a_renewal_of_the_same_names_spends_only_of_the_set(ca: FakeCa, account: AcmeAccount) -> None:
    first = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    certificate = first.certificate
    assert set(left(account, certificate=certificate)) == {"set", "name"}
    advance(order_create(certificate, reason="forced", actor="test"))
    assert left(account, "www.example.com") == {"account": 299, "domain": 49, "set": 3, "name": 5}


def test_a_renewal_within_its_window_is_free(ca: FakeCa, account: AcmeAccount) -> None:
    certificate = advance(order_create(certificate_at(account), reason="asked", actor="test")).certificate
    for start, end, names in ((-2, -1, {"set", "name"}), (-1, 1, {"name"}), (1, 2, {"set", "name"})):
        window = {
            name: (clock.now() + timedelta(hours=hours)).isoformat() for name, hours in (("start", start), ("end", end))
        }
        certificate.ari = window
        assert set(left(account, certificate=certificate)) == names
    Certificate.objects.filter(pk=certificate.pk).update(
        ari={
            "start": (clock.now() - timedelta(hours=1)).isoformat(),
            "end": (clock.now() + timedelta(hours=1)).isoformat(),
        }
    )
    renewal = advance(order_create(Certificate.objects.get(), reason="due-ari", actor="schedule"))
    assert renewal.state == "done"
    assert set(LedgerEntry.objects.filter(order=renewal.pk).values_list("exempt", flat=True)) == {True}
    assert left(account)["set"] == 4


def test_a_refused_replacement_counts(ca: FakeCa, account: AcmeAccount) -> None:
    certificate = advance(order_create(certificate_at(account), reason="asked", actor="test")).certificate
    window = {
        "start": (clock.now() - timedelta(hours=1)).isoformat(),
        "end": (clock.now() + timedelta(hours=1)).isoformat(),
    }
    Certificate.objects.update(ari=window)
    ca.fail["order_new"] = [failure(Problem(code="alreadyReplaced", status=409, detail="done", document={}), "CA")]
    renewal = advance(order_create(Certificate.objects.get(pk=certificate.pk), reason="due-ari", actor="schedule"))
    assert (renewal.state, renewal.replaces) == ("done", "")
    assert set(LedgerEntry.objects.filter(order=renewal.pk).values_list("exempt", flat=True)) == {False}


def test_rows_outlive_account_certificate_and_order(ca: FakeCa, account: AcmeAccount) -> None:
    order = advance(order_create(certificate_at(account), reason="asked", actor="test"))
    before = left(account)
    Certificate.objects.filter(pk=order.certificate_id).delete()
    assert not Order.objects.exists()
    assert left(account) == before


def test_other_accounts_share_domain_and_set_but_not_orders_and_failures(account: AcmeAccount) -> None:
    other = account_get_or_create(directory_url=REAL, email="b@example.com", terms_url="https://t/", actor="test")
    AcmeAccount.objects.filter(pk=other.pk).update(account_url="https://ca/account/2")
    other.refresh_from_db()
    issued(account, "www.example.com", times=2)
    spent(account, Event.CERTIFICATE, "example.com", 3)
    spent(account, Event.ORDER, str(account.pk), 7)
    spent(account, Event.FAILURE, "www.example.com", 1)
    assert left(account) == {"account": 293, "domain": 47, "set": 3, "name": 4}
    assert left(other) == {"account": 300, "domain": 47, "set": 3, "name": 5}


def test_a_directory_without_limits_has_none(ca: FakeCa) -> None:
    account = stock.account()
    advance(order_create(certificate_at(account), reason="asked", actor="test"))
    assert ledger.budgets(account, ["www.example.com"]) == []
    # What was counted before counts as soon as the operator sets a limit.
    ledger.limits_set(stock.DIRECTORY, [Limit(Event.CERTIFICATE, Scope.SET, 2, timedelta(days=1))], actor="test")
    assert left(account) == {"set": 1}
    assert AuditEvent.objects.filter(action="directory.limits").count() == 1


def test_the_operator_s_limits_take_the_place_of_the_published_ones_of_their_kind(account: AcmeAccount) -> None:
    ledger.limits_set(REAL, [Limit(Event.CERTIFICATE, Scope.DOMAIN, 2000, timedelta(days=7))], actor="test")
    assert left(account) == {**FULL, "domain": 2000}
    spent(account, Event.CERTIFICATE, "example.com", 9, renewal=True)
    assert left(account)["domain"] == 2000, "a raised limit does not count renewals either"
    AcmeDirectory.objects.update(limits=["nonsense", {"event": "certificate", "scope": "domain", "count": -1}])
    assert left(account) == FULL
    twice = [Limit(Event.CERTIFICATE, Scope.SET, count, timedelta(days=1)) for count in (1, 2)]
    with pytest.raises(InputError, match="two limits"):
        ledger.limits_set(REAL, twice, actor="test")


# What is decided by it.


def test_nothing_goes_past_a_limit_not_even_by_force(account: AcmeAccount) -> None:
    certificate = certificate_at(account)
    issued(account, "www.example.com", times=5)
    for options in ({}, {"force": True}, {"use_last": True}, {"force": True, "use_last": True}):
        decision = renewal_decision(certificate, asked=True, **options)
        assert (decision.code, decision.due) == ("held-back", False)
        assert "Let's Encrypt limits it: 0 left of 5 for this set until " in decision.text
    with pytest.raises(ConflictError) as refused:
        order_ask(certificate, actor="test", use_last=True)
    assert refused.value.code == "held-back"
    assert decision.next_check_at <= clock.now() + timedelta(hours=40)


def test_a_person_is_asked_before_the_last_one_and_the_schedule_is_not(account: AcmeAccount, move_clock: Clock) -> None:
    certificate = certificate_at(account)
    issued(account, "www.example.com", times=4)
    actions: list[Callable[..., object]] = [
        lambda **more: certificate_renew(certificate, actor="test", **more),
        lambda **more: order_ask(certificate, actor="test", **more),
        lambda **more: certificate_order(["www.example.com", "x.example"], account, actor="test", **more),
    ]
    issued(account, "www.example.com", "x.example", times=4)
    for action in actions:
        with pytest.raises(ConflictError) as asked:
            action()
        assert asked.value.code == "last-token"
        assert "1 left of 5 for this set" in asked.value.message
        assert not Order.objects.exists()
    assert Certificate.objects.count() == 1, "what was only asked about is not kept"
    for action in actions:
        action(use_last=True)
        assert Order.objects.count() == 1
        Order.objects.all().delete()


def test_the_schedule_uses_the_last_one_and_then_waits(account: AcmeAccount) -> None:
    due = [certificate_at(account, f"h{number}.example.com") for number in range(3)]
    for row in due:
        stock.renewed(row, age=80)
    spent(account, Event.CERTIFICATE, "example.com", 48)
    lines = {line.code: line for line in sweep_run()}
    assert sorted(line.code for line in lines.values()) == ["due-date", "held-back"]
    assert Order.objects.count() == 2, "each order leaves less to those after it"
    assert "0 left of 50 for example.com until " in lines["held-back"].text


def test_a_dry_run_tells_the_same(account: AcmeAccount) -> None:
    for number in range(3):
        stock.renewed(certificate_at(account, f"h{number}.example.com"), age=80)
    spent(account, Event.CERTIFICATE, "example.com", 48)
    codes = sorted(line.code for line in sweep_run(dry_run=True))
    assert codes == ["due-date", "due-date", "held-back"]
    assert not Order.objects.exists()


def test_four_failures_of_a_name_within_the_hour_are_enough(account: AcmeAccount) -> None:
    certificate = certificate_at(account)
    spent(account, Event.FAILURE, "www.example.com", 4)
    decision = renewal_decision(certificate, asked=True, force=True)
    assert decision.code == "held-back"
    assert "1 left of 5 failures of www.example.com until " in decision.text


def test_just_before_neworder_the_limits_are_looked_at_once_more(ca: FakeCa, account: AcmeAccount) -> None:
    order = order_create(certificate_at(account), reason="asked", actor="test")
    issued(account, "www.example.com", times=5)
    order = advance(order)
    assert ca.calls["order_new"] == 0
    assert order.error_code == "budget"
    assert "0 left of 5 for this set until" in order.error_message


def test_try_again_asks_too(account: AcmeAccount) -> None:
    certificate = certificate_at(account)
    failed = Order.objects.create(
        certificate=certificate,
        account=account,
        reason="asked",
        names=certificate.names,
        state="failed",
        finished_at=clock.now(),
        created_at=clock.now() - timedelta(hours=2),
    )
    issued(account, "www.example.com", times=4)
    with pytest.raises(ConflictError) as asked:
        order_retry(failed, actor="test")
    assert asked.value.code == "last-token"
    assert order_retry(failed, actor="test", use_last=True).state == "new"


def test_not_due_costs_no_look_at_the_ledger(account: AcmeAccount) -> None:
    for number in range(5):
        stock.renewed(certificate_at(account, f"h{number}.example.com"))
    with CaptureQueriesContext(connection) as queries:
        assert {line.code for line in sweep_run(dry_run=True, everything=True)} == {"not-due"}
    assert not [query for query in queries.captured_queries if "ledger" in query["sql"]]


def test_the_count_is_found_by_the_index(account: AcmeAccount) -> None:
    spent(account, Event.ORDER, str(account.pk))
    with CaptureQueriesContext(connection) as queries:
        ledger.budgets(account, ["www.example.com"])
    counts = [query["sql"] for query in queries.captured_queries if '"certs_ledgerentry"' in query["sql"]]
    assert len(counts) == 1
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {counts[0]}")
            plan = " ".join(str(row) for row in cursor.fetchall()).lower()
        assert "ledger_count" in plan
        assert "scan certs_ledgerentry" not in plan


def test_prune_keeps_what_a_limit_may_count(account: AcmeAccount) -> None:
    spent(account, Event.CERTIFICATE, "kept.example", ago=27 * DAY)
    spent(account, Event.CERTIFICATE, "gone.example", ago=29 * DAY)
    assert prune_run().ledger == 1
    assert LedgerEntry.objects.get().key == "kept.example"
    ledger.limits_set(REAL, [Limit(Event.CERTIFICATE, Scope.DOMAIN, 9, timedelta(days=30))], actor="test")
    spent(account, Event.CERTIFICATE, "still.example", ago=100 * DAY)
    assert prune_run().ledger == 0


def test_of_two_orders_for_the_last_one_the_older_goes(ca: FakeCa, account: AcmeAccount) -> None:
    """Made at the same moment by two nodes: neither may wait for the other for ever."""
    first = order_create(certificate_at(account, "a.example.com"), reason="asked", actor="test")
    second = order_create(certificate_at(account, "b.example.com"), reason="asked", actor="test")
    spent(account, Event.CERTIFICATE, "example.com", 49)
    assert advance(second).error_code == "budget"
    assert advance(first).state == "done"
    assert ca.calls["order_new"] == 1


def test_an_issuer_to_fall_back_on_has_room_of_its_own(ca: FakeCa, account: AcmeAccount) -> None:
    certificate = certificate_at(account)
    issued(account, "www.example.com", times=5)
    assert not renewal_decision(certificate, asked=True).due
    other = stock.account()
    FallbackIssuer.objects.create(certificate=certificate, account=other, position=1)
    assert renewal_decision(certificate, asked=True).due
    order = advance(order_create(certificate, reason="asked", actor="test"))
    assert (order.state, order.account) == ("done", other)
    assert [entry["code"] for entry in order.tried] == ["budget"]


@pytest.mark.parametrize(("hours", "after"), [(1, {"set": 4}), (-1, {"set": 3})])
def test_an_open_renewal_counts_on_its_own_terms(
    ca: FakeCa, account: AcmeAccount, hours: int, after: dict[str, int]
) -> None:
    """Within its window it spends nothing, outside it only of its set."""
    advance(order_create(certificate_at(account), reason="asked", actor="test"))
    start, end = clock.now() - timedelta(hours=2), clock.now() + timedelta(hours=hours)
    Certificate.objects.update(ari={"start": start.isoformat(), "end": end.isoformat()})
    before = left(account)
    order_create(Certificate.objects.get(), reason="due-ari", actor="schedule")
    assert left(account) == {**before, **after}
