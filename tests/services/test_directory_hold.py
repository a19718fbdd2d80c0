"""A CA that asks to be left alone is left alone by every order, after a restart too; another CA is not concerned."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.acme.problems import Problem, failure
from certs.domain import states
from certs.models import AcmeAccount, AcmeDirectory, Order
from certs.services import order_flow
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.directories import directories_check
from certs.services.holds import directory_held, directory_hold
from certs.services.issue_options import IssueOptions
from certs.services.orders import order_create
from certs.services.renewal_info import renewal_info_refresh
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def about(found: timedelta | None, wanted: timedelta) -> bool:
    return found is not None and abs(found - wanted) < timedelta(minutes=1)


@pytest.fixture
def cas(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeCa]:
    found = {url: FakeCa() for url in ("https://one.example/dir", "https://two.example/dir")}

    @contextmanager
    def session(account: Any) -> Iterator[FakeCa]:
        with found[account.directory_url].session(account) as ca:
            yield ca

    monkeypatch.setattr(order_flow, "session", session)
    return found


def account(number: str) -> AcmeAccount:
    return account_get_or_create(
        directory_url=f"https://{number}.example/dir", email="", terms_url="https://x.example/t", actor="test"
    )


def order(name: str, *fallbacks: AcmeAccount, at: str = "one") -> Order:
    certificate = certificate_new(
        name="", names=[name], account=account(at), actor="test", options=IssueOptions(fallbacks=fallbacks)
    )
    return order_create(certificate, reason="asked", actor="test")


def told(status: int, code: str = "serverInternal") -> Exception:
    document = {"type": f"urn:ietf:params:acme:error:{code}", "status": status}
    return failure(Problem.from_document(document, status), "one", retry_at=datetime.now(UTC) + HOUR)


@pytest.mark.parametrize("method", ["order_new", "order_finalize", "certificate_read", "account_register"])
def test_no_order_asks_before_the_time_that_one_was_told(cas: dict[str, FakeCa], method: str) -> None:
    one = cas["https://one.example/dir"]
    one.fail[method] = [told(503)]
    first, second = order("a.example"), order("b.example")
    advance(first)
    calls = sum(one.calls.values())
    for _ in range(3):
        advance(second)
        advance(first)
    assert sum(one.calls.values()) == calls
    assert abs(second.next_attempt_at - datetime.now(UTC) - HOUR) < timedelta(minutes=1)
    assert advance(order("c.example", at="two")).state == states.DONE
    AcmeDirectory.objects.update(retry_after_at=datetime.now(UTC) - HOUR)
    assert [advance(each).state for each in (first, second)] == [states.DONE, states.DONE]


def test_an_order_with_another_issuer_goes_there_without_asking(cas: dict[str, FakeCa]) -> None:
    one = cas["https://one.example/dir"]
    one.fail["order_new"] = [told(503)]
    advance(order("a.example"))
    calls = one.calls["session"]
    done = advance(order("b.example", account("two")))
    assert (done.state, done.account) == (states.DONE, account("two"))
    assert one.calls["session"] == calls


def test_a_limit_of_some_names_holds_back_no_others(cas: dict[str, FakeCa]) -> None:
    cas["https://one.example/dir"].fail["order_new"] = [told(429, "rateLimited")]
    advance(order("a.example"))
    assert advance(order("b.example")).state == states.DONE


def test_a_limit_of_new_accounts_holds_back_all_that_need_one(cas: dict[str, FakeCa]) -> None:
    one = cas["https://one.example/dir"]
    one.fail["account_register"] = [told(429, "rateLimited")]
    advance(order("a.example"))
    advance(order("b.example"))
    assert one.calls["account_register"] == 1


def test_of_two_times_the_longer_is_kept() -> None:
    """Orders under way side by side are told one after the other."""
    url = "https://one.example/dir"
    directory_hold(url, HOUR)
    directory_hold(url, HOUR / 60)
    assert about(directory_held(url), HOUR)
    directory_hold(url, 2 * HOUR)
    assert about(directory_held(url), 2 * HOUR)


def test_neither_its_directory_nor_its_renewal_information_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the CA has asked to be left alone")

    certificate = stock.issued("a.example", age=80)
    renewals = AcmeAccount.objects.get()
    Order.objects.create(certificate=certificate, account=renewals, names=["a.example"], version=certificate.current)
    AcmeAccount.objects.update(account_url="https://ca.example/account/1")
    directory_hold(renewals.directory_url, HOUR)
    monkeypatch.setattr("certs.services.directories.directory_read", asked)
    monkeypatch.setattr("certs.services.renewal_info.RenewalInfoReader", asked)
    assert directories_check() == 0
    assert renewal_info_refresh(everything=True) == 0
    certificate.refresh_from_db()
    assert certificate.ari == {}  # nor is it told of as a trouble


def test_a_neighbour_under_way_keeps_to_it_as_well(cas: dict[str, FakeCa]) -> None:
    """Its session is open already when another order of this process is told."""
    one = cas["https://one.example/dir"]
    until = datetime.now(UTC) + HOUR
    one.on["order_new"] = lambda: directory_hold("https://one.example/dir", HOUR)
    waiting = advance(order("a.example"))
    assert waiting.state == states.ORDERED
    assert one.calls["order_new"] == 1
    assert one.calls["authorization_read"] == 0
    assert abs(waiting.next_attempt_at - until) < timedelta(minutes=1)
    del one.on["order_new"]
    AcmeDirectory.objects.update(retry_after_at=datetime.now(UTC) - HOUR)
    assert advance(waiting).state == states.DONE
    assert one.calls["order_new"] == 1
