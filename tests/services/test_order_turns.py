"""What is tried next: another challenge, another issuer, a rehearsal. One order, one certificate, one key."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from certs.acme.client import OrderView
from certs.acme.directories import KNOWN
from certs.acme.problems import Problem, failure
from certs.domain import states
from certs.domain.errors import AcmeRefused, AcmeRetry, Unavailable
from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, AcmeDirectory, Certificate, Challenge, JobEvent, NodeProcess, Order, PrivateKey
from certs.services import order_flow, order_turns
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.challenges import tls_challenge_answer
from certs.services.issue_options import IssueOptions
from certs.services.nodes import node_name
from certs.services.order_views import RESTARTS
from certs.services.orders import order_cancel, order_create
from certs.services.portal_state import state_update
from certs.services.rehearsals import AFTER_FAILURE, rehearsal_account, rehearsal_ask
from certs.services.sweeps import sweep_run
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db


class Cas(dict[str, FakeCa]):
    """One CA for each directory."""

    @contextmanager
    def session(self, account: Any) -> Iterator[FakeCa]:
        with self.setdefault(account.directory_url, FakeCa()).session(account) as ca:
            yield ca

    def at(self, account: AcmeAccount) -> FakeCa:
        return self.setdefault(account.directory_url, FakeCa())


@pytest.fixture
def cas(monkeypatch: pytest.MonkeyPatch) -> Cas:
    found = Cas()
    monkeypatch.setattr(order_flow, "session", found.session)
    monkeypatch.setattr("certs.solvers.http01._seen", lambda *_: "no answer")
    return found


def account(number: int) -> AcmeAccount:
    return account_get_or_create(
        directory_url=f"https://ca{number}.example/dir", email="", terms_url="https://ca.example/t", actor="test"
    )


def order(*fallbacks: AcmeAccount, at: AcmeAccount | None = None, **options: Any) -> Order:
    certificate = certificate_new(
        name="",
        names=["a.example.test"],
        account=at or account(1),
        actor="test",
        options=IssueOptions(fallbacks=fallbacks, **options),
    )
    return order_create(certificate, reason="asked", actor="test")


def refused(code: str = "caa") -> AcmeRefused:
    return AcmeRefused("It is not allowed.", code=f"acme-{code}")


def problem_of(code: str) -> Problem:
    return Problem.from_document({"type": f"urn:ietf:params:acme:error:{code}", "detail": "no way"})


# Issuers


def test_the_next_issuer_is_asked_where_one_refuses(cas: Cas) -> None:
    asked = order(account(2), account(3))
    cas.at(account(1)).fail["order_new"] = [refused()]
    cas.at(account(2)).fail["order_finalize"] = [refused("badCSR")]
    done = advance(asked)
    assert done.state == states.DONE
    assert done.account == account(3)
    assert [(entry["ca"], entry["code"]) for entry in done.tried] == [
        ("ca1.example", "acme-caa"),
        ("ca2.example", "acme-badCSR"),
    ]
    certificate = Certificate.objects.get()
    assert certificate.account == account(1)  # the next renewal begins there again
    assert certificate.versions.count() == 1
    assert Order.objects.count() == 1
    assert sum(len(ca.issued) for ca in cas.values()) == 1
    assert not Challenge.objects.exists()


def test_when_all_refuse_the_order_fails_once(cas: Cas) -> None:
    asked = order(account(2))
    for number in (1, 2):
        cas.at(account(number)).fail["order_new"] = [refused()]
    failed = advance(asked)
    assert failed.state == states.FAILED
    assert len(failed.tried) == 1
    assert Certificate.objects.get().failures == 1
    assert [cas.at(account(number)).calls["order_new"] for number in (1, 2)] == [1, 1]


def test_a_ca_that_asks_to_wait_long_is_left_for_the_next(cas: Cas) -> None:
    asked = order(account(2))
    cas.at(account(1)).fail["order_new"] = [
        AcmeRetry("Too many.", code="acme-rateLimited", retry_at=datetime.now(UTC) + timedelta(hours=3))
    ]
    done = advance(asked)
    assert done.state == states.DONE
    assert done.account == account(2)


def test_a_ca_that_is_away_for_a_moment_is_waited_for(cas: Cas) -> None:
    asked = order(account(2))
    cas.at(account(1)).fail["order_new"] = [AcmeRetry("Away.", code="acme-unreachable")]
    waiting = advance(asked)
    assert waiting.state == states.REGISTERED
    assert advance(asked).account == account(1)
    assert asked.state == states.DONE


def test_a_ca_that_stays_away_is_left_for_the_next(cas: Cas) -> None:
    asked = order(account(2))
    cas.at(account(1)).fail["order_new"] = [AcmeRetry("Away.", code="acme-unreachable") for _ in range(20)]
    for _ in range(4):
        advance(asked)
    assert asked.state == states.DONE
    assert asked.account == account(2)


def test_a_dns_provider_that_is_away_spends_no_turn_at_other_cas(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise Unavailable("The DNS provider does not answer.")

    monkeypatch.setattr("certs.solvers.http01.Http01.by_portal", False)  # as a DNS solver, which has to put it there
    monkeypatch.setattr("certs.services.order_answers.challenge_present", away)
    asked = order(account(2))
    for _ in range(6):
        advance(asked)
    assert asked.state == states.ORDERED
    assert account(2).directory_url not in cas


def test_without_fallback_a_waiting_order_goes_on_waiting(cas: Cas) -> None:
    asked = order()
    until = datetime.now(UTC) + timedelta(hours=3)
    cas.at(account(1)).fail["order_new"] = [AcmeRetry("Too many.", code="acme-rateLimited", retry_at=until)]
    waiting = advance(asked)
    assert waiting.state == states.REGISTERED
    assert abs(waiting.next_attempt_at - until) < timedelta(seconds=5)


def test_a_deactivated_fallback_is_passed_over(cas: Cas) -> None:
    asked = order(account(2), account(3))
    AcmeAccount.objects.filter(directory_url=account(2).directory_url).update(deactivated_at=clock.now())
    cas.at(account(1)).fail["order_new"] = [refused()]
    assert advance(asked).account == account(3)


def test_a_fallback_that_caa_shuts_out_is_not_asked(
    cas: Cas, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(names: list[str], target: Any, **_: Any) -> list[Finding]:
        wrong = target.account == account(2)
        return [Finding("caa", Level.ERROR if wrong else Level.OK, names[0], "CAA allows only ca3.example.")]

    settings.FAILURE_LOOK_SECONDS = 1.0
    monkeypatch.setattr("certs.services.explanations.preflight_run", look)
    asked = order(account(2), account(3))
    cas.at(account(1)).fail["order_new"] = [refused("badCSR")]
    assert advance(asked).account == account(3)
    assert account(2).directory_url not in cas
    assert JobEvent.objects.filter(message="ca2.example is not asked: CAA allows only ca3.example.").exists()


def test_what_is_being_issued_is_never_left_for_another(cas: Cas) -> None:
    """A second certificate would be issued."""
    asked = order(account(2))
    cas.at(account(1)).fail["certificate_read"] = [refused("serverInternal")]
    failed = advance(asked)
    assert failed.state == states.FAILED
    assert failed.key is not None  # the certificate may be there: its key stays
    assert account(2).directory_url not in cas


# Challenges


def https_at(url: str) -> None:
    state_update(public_url=url)


@pytest.fixture
def tls_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    from certs.services import challenges, order_turns
    from certs.solvers.http01 import Http01

    class Tls(Http01):
        label = "TLS"
        challenge_types = ("tls-alpn-01",)

    found = {**challenges.solver_kinds(), "tlsalpn01": Tls}
    for module in (challenges, order_turns):
        monkeypatch.setattr(module, "solver_kinds", lambda: found)


@pytest.mark.usefixtures("tls_solver")
@pytest.mark.parametrize("code", ["connection", "unauthorized", "tls", "incorrectResponse"])
def test_the_other_challenge_of_the_portal_is_tried_within_the_order(cas: Cas, code: str) -> None:
    https_at("https://a.example.test")
    asked = order()
    ca = cas.at(account(1))
    ca.answers = {"http-01", "tls-alpn-01"}
    ca.verdicts = {"http-01": problem_of(code)}
    done = advance(asked)
    assert done.state == states.DONE
    assert done.challenge_kind == "tlsalpn01"
    assert [(entry["kind"], entry["challenge"]) for entry in done.tried] == [("challenge", "http01")]
    assert (len(ca.orders), len(ca.issued), PrivateKey.objects.filter(orders=done).count()) == (2, 1, 1)
    again = order_create(done.certificate, reason="asked", actor="test")
    assert again.challenge_kind == "tlsalpn01"  # begun with what worked


@pytest.mark.usefixtures("tls_solver")
@pytest.mark.parametrize(
    ("public", "code", "chosen"),
    [
        ("https://a.example.test:8443", "connection", None),  # a CA comes to port 443 only
        ("https://a.example.test", "dns", None),
        ("https://a.example.test", "caa", None),
        ("https://a.example.test", "connection", "http01"),
    ],
)
def test_it_is_not_tried_where_it_cannot_help(cas: Cas, public: str, code: str, chosen: str | None) -> None:
    https_at(public)
    asked = order(challenge_method=stock.method(chosen) if chosen else None)
    ca = cas.at(account(1))
    ca.answers = {"http-01", "tls-alpn-01"}
    ca.verdicts = {"http-01": problem_of(code)}
    assert advance(asked).state == states.FAILED
    assert len(ca.orders) == 1


@pytest.mark.usefixtures("tls_solver")
def test_both_challenges_fail_once_each(cas: Cas) -> None:
    https_at("https://a.example.test")
    asked = order()
    ca = cas.at(account(1))
    ca.answers = {"http-01", "tls-alpn-01"}
    ca.verdicts = {"http-01": problem_of("connection"), "tls-alpn-01": problem_of("connection")}
    failed = advance(asked)
    assert failed.state == states.FAILED
    assert len(ca.orders) == 2
    assert Certificate.objects.get().failures == 1


# Rehearsals


@pytest.fixture
def real(cas: Cas) -> AcmeAccount:
    return account_get_or_create(
        directory_url=KNOWN["letsencrypt"].url, email="", terms_url="https://ca.example/t", actor="test"
    )


def test_a_rehearsal_leaves_nothing_but_its_result(cas: Cas, real: AcmeAccount) -> None:
    first = order(at=real)
    assert advance(first).state == states.DONE
    certificate = Certificate.objects.get()
    kept = certificate.current
    done = advance(rehearsal_ask(certificate, actor="test"))
    assert done.state == states.DONE
    assert done.rehearsal
    assert done.account.directory_url == KNOWN["letsencrypt-staging"].url
    assert (done.version, done.key) == (None, None)
    certificate.refresh_from_db()
    assert certificate.current == kept
    assert Order.objects.count() == 2  # nothing follows
    assert len(cas.at(real).issued) == 1


def test_after_a_failure_the_schedule_rehearses_and_then_orders(cas: Cas, real: AcmeAccount) -> None:
    asked = order(at=real)
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    assert advance(asked).state == states.FAILED
    Certificate.objects.update(next_attempt_at=None)
    line = sweep_run(only=[asked.certificate_id], actor="schedule")[0]
    rehearsal = Order.objects.get(pk=line.order)
    assert (rehearsal.rehearsal, rehearsal.reason) == (True, AFTER_FAILURE)
    assert advance(rehearsal).state == states.DONE
    follower = Order.objects.get(finished_at=None)
    assert not follower.rehearsal
    assert advance(follower).state == states.DONE
    assert Certificate.objects.get().failures == 0
    assert cas.at(real).calls["order_new"] == 2


def test_a_rehearsal_that_fails_spares_the_real_limits(cas: Cas, real: AcmeAccount) -> None:
    asked = order(at=real)
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    advance(asked)
    Certificate.objects.update(next_attempt_at=None)
    rehearsal = Order.objects.get(pk=sweep_run(only=[asked.certificate_id])[0].order)
    cas[KNOWN["letsencrypt-staging"].url] = FakeCa(verdict="invalid")
    assert advance(rehearsal).state == states.FAILED
    assert not Order.objects.filter(finished_at=None).exists()
    assert Certificate.objects.get().failures == 2
    assert cas.at(real).calls["order_new"] == 1


@pytest.mark.usefixtures("tls_solver")
def test_a_rehearsal_finds_the_other_challenge_and_the_order_after_it_begins_with_that(
    cas: Cas, real: AcmeAccount
) -> None:
    """Where port 80 is closed for good, each rehearsal would fail, and the order that could succeed never come."""
    https_at("https://a.example.test")
    asked = order(at=real)
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    advance(asked)
    Certificate.objects.update(next_attempt_at=None)
    for url in (real.directory_url, KNOWN["letsencrypt-staging"].url):
        ca = cas.setdefault(url, FakeCa())
        ca.answers, ca.verdicts = {"http-01", "tls-alpn-01"}, {"http-01": problem_of("connection")}
    rehearsal = Order.objects.get(pk=sweep_run(only=[asked.certificate_id])[0].order)
    assert advance(rehearsal).state == states.DONE
    follower = Order.objects.get(finished_at=None)
    assert follower.challenge_kind == "tlsalpn01"
    assert advance(follower).state == states.DONE
    assert cas.at(real).calls["order_new"] == 2


@pytest.mark.parametrize("state", [states.NEW, states.FINALIZED])
def test_a_rehearsal_that_waits_for_ever_holds_nothing_up(cas: Cas, real: AcmeAccount, state: str) -> None:
    asked = order(at=real)
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    advance(asked)
    Certificate.objects.update(next_attempt_at=None)
    rehearsal = Order.objects.get(pk=sweep_run(only=[asked.certificate_id])[0].order)
    call = {states.NEW: "order_new", states.FINALIZED: "certificate_read"}[state]
    staging = cas.setdefault(KNOWN["letsencrypt-staging"].url, FakeCa())
    staging.fail[call] = [AcmeRetry("Not yet.", code="acme-waiting") for _ in range(3)]
    assert advance(rehearsal).finished_at is None
    Order.objects.filter(pk=rehearsal.pk).update(created_at=clock.now() - timedelta(minutes=61))
    assert advance(rehearsal).state == states.FAILED
    assert rehearsal.key is None
    assert advance(Order.objects.get(finished_at=None)).state == states.DONE


@pytest.mark.parametrize("state", [states.CHALLENGED, states.READY, states.FINALIZED])
def test_the_days_that_a_person_took_are_not_taken_from_what_comes_after(cas: Cas, state: str) -> None:
    asked = order(challenge_method=stock.method("dns01_manual"))
    Order.objects.filter(pk=asked.pk).update(
        state=state, order_url="https://ca1.example/order/1", created_at=clock.now() - timedelta(days=6)
    )
    cas.at(account(1)).fail["order_read"] = [AcmeRetry("Away.", code="acme-unreachable")]
    waiting = advance(asked)
    assert (waiting.state, waiting.error_code) == (state, "acme-unreachable")


def test_a_person_is_not_asked_to_prove_the_same_twice(cas: Cas, real: AcmeAccount) -> None:
    asked = order(at=real, challenge_method=stock.method("dns01_manual"))
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    assert advance(asked).state == states.FAILED
    Certificate.objects.update(next_attempt_at=None)
    assert not Order.objects.get(pk=sweep_run(only=[asked.certificate_id])[0].order).rehearsal


def test_a_staging_directory_that_is_away_holds_nothing_up(cas: Cas, real: AcmeAccount) -> None:
    asked = order(at=real)
    cas.at(real).fail["order_new"] = [refused("unauthorized")]
    advance(asked)
    Certificate.objects.update(next_attempt_at=None)
    rehearsal = Order.objects.get(pk=sweep_run(only=[asked.certificate_id])[0].order)
    staging = cas.setdefault(KNOWN["letsencrypt-staging"].url, FakeCa())
    staging.fail["order_new"] = [AcmeRetry("Away.", code="acme-unreachable") for _ in range(20)]
    for _ in range(4):
        advance(rehearsal)
    assert rehearsal.state == states.FAILED
    assert advance(Order.objects.get(finished_at=None)).state == states.DONE


def test_what_is_about_to_expire_is_not_rehearsed(real: AcmeAccount) -> None:
    certificate = stock.issued(days=90, age=88)
    Certificate.objects.update(failures=3, account=real)
    line = sweep_run(only=[certificate.pk])[0]
    assert not Order.objects.get(pk=line.order).rehearsal


def test_a_directory_without_staging_says_so(cas: Cas) -> None:
    asked = order()
    advance(asked)
    with pytest.raises(Exception, match=r"No staging directory is known for ca1\.example"):
        rehearsal_ask(asked.certificate, actor="test")
    AcmeDirectory.objects.create(
        directory_url=account(1).directory_url, rehearsal_url="https://staging.ca1.example/dir"
    )
    found = rehearsal_account(account(1), actor="test")
    assert found is not None
    assert found.directory_url == "https://staging.ca1.example/dir"
    assert rehearsal_account(account(1), actor="test") == found


def test_a_failure_of_the_ca_is_told_with_its_problem(cas: Cas) -> None:
    asked = order(account(2))
    document = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this name", "status": 400}
    cas.at(account(1)).fail["order_new"] = [failure(Problem.from_document(document), "ca1.example")]
    done = advance(asked)
    assert done.tried[0]["problem"] == document
    assert "Asking ca2.example instead" in " ".join(JobEvent.objects.values_list("message", flat=True))


# Two orders with one authorization


class SharingCa(FakeCa):
    """Gives the authorization that is pending already to the next order, too."""

    def order_new(self, names: list[str], *, replaces: str = "", profile: str = "") -> OrderView:
        pending = {one.name: url for url, one in self.authorizations.items() if one.status == "pending"}
        view = super().order_new(names, replaces=replaces, profile=profile)
        shared = tuple(pending.get(self.authorizations[url].name, url) for url in view.authorizations)
        self.orders[view.url] = replace(view, authorizations=shared)
        return self.orders[view.url]

    def challenge_answer(self, url: str) -> None:
        self.on.pop("answer", lambda: None)()
        super().challenge_answer(url)


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_order_waits_for_another_that_has_the_same_authorization(cas: Cas, cancelled: bool) -> None:
    """Whatever becomes of the first, the second is not left without an answer."""
    first, second = order(), []
    ca = cas[first.account.directory_url] = SharingCa()

    def meanwhile() -> None:
        second.append(order())
        advance(second[0])
        if cancelled:
            order_cancel(first, actor="test")

    ca.on["answer"] = meanwhile
    assert advance(first).state == (states.CANCELLED if cancelled else states.DONE)
    assert (second[0].state, second[0].attempts) == (states.ORDERED, 0)
    assert JobEvent.objects.filter(job=second[0].pk, message__contains="Another order is proving").count() == 1
    assert advance(second[0]).state == states.DONE
    assert len(ca.issued) == (1 if cancelled else 2)
    assert not Challenge.objects.exists()


def test_two_orders_for_a_name_by_the_tls_challenge_are_both_issued(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [order(at=account(number)) for number in (1, 2)]
    for one in made:
        cas.at(one.account).answers = {"tls-alpn-01"}
        cas.at(one.account).pending_reads = 10**6
    Order.objects.update(challenge_kind="tlsalpn01")
    first, second = made
    with monkeypatch.context() as patch:
        patch.setattr(order_flow, "POLL_DEADLINE_SECONDS", 0.05)
        assert [advance(first).state, advance(second).state] == [states.CHALLENGED, states.ORDERED]
    assert "Another order is proving" in JobEvent.objects.filter(job=second.pk).latest("pk").message
    assert tls_challenge_answer("a.example.test") == Challenge.objects.get(order=first).key_authorization
    for one in made:
        cas.at(one.account).pending_reads = 0
    assert [advance(each).state for each in (first, second)] == [states.DONE, states.DONE]
    assert [len(cas.at(one.account).issued) for one in made] == [1, 1]


@pytest.fixture
def started() -> NodeProcess:
    """A serving process that was there long before."""
    long_ago = clock.now() - timedelta(hours=1)
    return NodeProcess.objects.create(node=node_name(), pid=os.getpid(), started_at=long_ago)


def fails(cas: Cas, times: int) -> FakeCa:
    """The CA finds the first answers wrong, so many of them."""
    ca = cas.at(account(1))
    ca.verdict = "invalid"

    def judge() -> None:
        ca.verdict = "invalid" if ca.calls["order_new"] <= times else "valid"

    ca.on["order_new"] = judge
    return ca


@pytest.mark.parametrize("how", ["began", "is gone"])
def test_a_name_is_not_judged_by_a_portal_that_was_being_started_anew(cas: Cas, started: NodeProcess, how: str) -> None:
    """Its web process was killed, say, while it answered the CA."""
    ca = fails(cas, 1)
    changed = {"started_at": clock.now() + timedelta(minutes=1)} if how == "began" else {"pid": 2**22 + 1}
    NodeProcess.objects.filter(pk=started.pk).update(**changed)
    begun = time.monotonic()
    waiting = advance(order())
    assert time.monotonic() - begun < order_turns.STARTING_SECONDS  # its place is another's meanwhile
    assert (waiting.state, waiting.attempts, waiting.lease_owner) == (states.REGISTERED, 0, None)
    assert waiting.next_attempt_at > clock.now() + timedelta(seconds=1)
    done = advance(waiting)
    assert (done.state, done.restarts, done.tried) == (states.DONE, 1, []), done.error_message
    assert ca.calls["order_new"] == 2
    assert JobEvent.objects.filter(job=done.pk, message__contains="started anew").exists()


def test_a_portal_that_is_started_anew_all_the_time_does_not_ask_for_ever(cas: Cas, started: NodeProcess) -> None:
    ca = fails(cas, 99)
    NodeProcess.objects.filter(pk=started.pk).update(started_at=clock.now() + timedelta(minutes=1))
    asked = order()
    for _ in range(RESTARTS):
        assert advance(asked).state == states.REGISTERED
    assert advance(asked).state == states.FAILED
    assert ca.calls["order_new"] == RESTARTS + 1


def test_a_portal_that_was_there_all_the_time_takes_the_verdict(cas: Cas, started: NodeProcess) -> None:
    ca = fails(cas, 1)
    assert advance(order()).state == states.FAILED
    assert ca.calls["order_new"] == 1
