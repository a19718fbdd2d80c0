"""An order by hand shows its records, what each server shows of them, and goes on without a click."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.domain import states
from certs.domain.options import options_read
from certs.models import AuditEvent, Challenge, JobEvent, Order, User
from certs.services import by_hand
from certs.services.certificates import certificate_new
from certs.services.issue_options import IssueOptions
from certs.services.methods import method_create
from certs.solvers.dns import digest
from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from portal import clock
from tests import stock
from tests.commands.running import run
from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.need import need

NAMES = ["one.test", "*.one.test", "alias.one.test"]


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    need("named")
    with Bind(records={"one.test": ["_acme-challenge.alias CNAME alias.acme.two.test."]}) as server:
        yield server


@pytest.fixture
def order(alice: User, bind: Bind, settings: Settings) -> Order:
    settings.DNS_AUTHORITIES = [bind.address]
    by_hand = method_create(kind="dns01_manual", name="By hand", given={}, actor="test")
    certificate = certificate_new(
        name="", names=NAMES, account=stock.account(), actor="test", options=IssueOptions(challenge_method=by_hand)
    )
    order = Order.objects.create(
        certificate=certificate,
        account=certificate.account,
        requested_by=alice,
        reason="asked",
        names=NAMES,
        state=states.ORDERED,
        challenge_kind="dns01_manual",
    )
    for number, name in enumerate(NAMES):
        Challenge.objects.create(
            token=f"t{number}",
            order=order,
            name=name.removeprefix("*."),
            wildcard=name.startswith("*."),
            key_authorization=f"t{number}.thumb",
            kind="dns01_manual",
            method=by_hand,
            type="dns-01",
        )
    return order


def records(browser: Client, order: Order, *, later: bool = True) -> str:
    """As a tab gets them; `later`: when the last look is not fresh any more."""
    if later:
        cache.delete(f"by-hand-fresh.{order.pk}")
    response = browser.get(reverse("job-records", args=[order.pk]), headers={"HX-Request": "true"})
    assert response.status_code == 200
    return response.content.decode()


def put(bind: Bind, zone: str, name: str, value: str) -> None:
    given: dict[str, Any] = {"server": bind.address, "key": KEY, "secret": SECRET}
    Dns01Rfc2136(options_read(Dns01Rfc2136.Options, given)).record_add(zone, name, value, 60)


def test_the_jobs_page_asks_for_the_records_and_asks_no_dns_itself(
    onlooker: Client, order: Order, settings: Settings
) -> None:
    settings.DNS_AUTHORITIES = ["127.0.0.1:1"]
    page = onlooker.get(reverse("job", args=[order.pk])).content.decode()
    address = reverse("job-records", args=[order.pk])
    assert f'hx-get="{address}" hx-trigger="load, every 5s"' in page
    assert f'<a href="{address}">Show the records</a>' in page
    assert "copy.js" in page


def test_every_record_is_there_to_be_copied_with_what_each_server_shows(
    onlooker: Client, order: Order, bind: Bind
) -> None:
    page = records(onlooker, order)
    assert page.count("TXT record") == 3
    for number in range(3):
        assert f'value="{digest(f"t{number}.thumb")}" readonly' in page
    assert page.count('value="_acme-challenge.one.test" readonly') == 2
    assert 'value="alias.acme.two.test" readonly' in page
    assert "_acme-challenge.alias.one.test</span> is an alias" in page
    assert page.count("does not show it yet") == 3
    assert bind.address.partition(":")[0] in page
    put(bind, "one.test", "_acme-challenge.one.test", digest("t0.thumb"))
    page = records(onlooker, order)
    assert page.count("shows it") == 1
    assert page.count("shows another value") == 1
    put(bind, "one.test", "_acme-challenge.one.test", digest("t1.thumb"))
    put(bind, "two.test", "alias.acme.two.test", digest("t2.thumb"))
    assert "Every name server shows what is needed" in records(onlooker, order)


def test_without_scripts_it_is_a_page_of_its_own(onlooker: Client, order: Order) -> None:
    page = onlooker.get(reverse("job-records", args=[order.pk])).content.decode()
    assert "<h1>Records for" in page
    assert "Look again" in page
    assert "hx-preserve" not in page


def test_servers_that_cannot_be_asked_are_neither_green_nor_red(
    onlooker: Client, order: Order, settings: Settings
) -> None:
    settings.DNS_AUTHORITIES = ["127.0.0.1:1"]
    page = records(onlooker, order)
    assert "could not look" in page
    assert digest("t0.thumb") in page


def test_when_the_person_is_not_needed_any_more_nothing_is_asked(onlooker: Client, order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(state=states.CHALLENGED)
    assert "Nothing is to be done" in records(onlooker, order)
    assert "To be done by hand" not in onlooker.get(reverse("job", args=[order.pk])).content.decode()
    Order.objects.filter(pk=order.pk).update(state=states.CANCELLED, finished_at=clock.now())
    assert "Nothing is to be done" in records(onlooker, order)


def test_strangers_see_nothing(stranger: Client, order: Order) -> None:
    assert stranger.get(reverse("job-records", args=[order.pk])).status_code == 302


def test_many_tabs_ask_the_name_servers_once(
    onlooker: Client, client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _counted(monkeypatch)
    first = records(onlooker, order)
    for browser in (client, onlooker, client):
        assert records(browser, order, later=False) == first
    assert by_hand.by_hand_look(order).records  # the command line too
    assert looks == [order.pk]
    records(client, order)
    assert len(looks) == 2


def test_while_one_looks_the_others_see_what_was_seen_before(
    onlooker: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[str] = []
    look = by_hand._look

    def slow(row: Order) -> Any:
        inside.append(records(onlooker, order))
        return look(row)

    monkeypatch.setattr(by_hand, "_look", slow)
    shown = records(onlooker, order)
    assert "Asking the name servers" in inside[0]  # nothing is known yet, which is not "nothing to be done"
    assert "Nothing is to be done" not in inside[0]
    assert records(onlooker, order) == shown == inside[1]


def test_a_look_that_fails_lets_the_next_one_look(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(by_hand, "_look", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            by_hand.by_hand_look(order)
    assert by_hand.by_hand_look(order).records


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    looks: list[Any] = []
    look = by_hand._look

    def counting(row: Order) -> Any:
        looks.append(row.pk)
        return look(row)

    monkeypatch.setattr(by_hand, "_look", counting)
    return looks


@pytest.fixture
def blind(order: Order, settings: Settings, bind: Bind) -> Order:
    """Only the resolver answers: nobody is at port 53 of the zones' own servers."""
    settings.DNS_AUTHORITIES = []
    settings.DNS_RESOLVERS = [bind.address]
    order.challenges.update(key_authorization="other.thumb")  # what no test has put there
    return order


def test_where_no_name_server_answers_a_person_says_that_it_is_there(
    client: Client, onlooker: Client, blind: Order
) -> None:
    told = reverse("job-records-told", args=[blind.pk])
    assert told in records(client, blind)
    page = records(onlooker, blind)
    assert told not in page
    assert "your resolver" in page
    assert "Every name server shows" not in page
    assert onlooker.post(told).status_code == 403
    assert client.post(told).status_code == 302
    (event,) = JobEvent.objects.filter(job=blind.pk)
    assert "says that the records are in place" in event.message
    assert AuditEvent.objects.filter(action="order.records").exists()


def test_what_only_a_resolver_shows_is_said_to_be_so(client: Client, blind: Order, bind: Bind) -> None:
    for zone, name in (("one.test", "_acme-challenge.one.test"), ("two.test", "alias.acme.two.test")):
        put(bind, zone, name, digest("other.thumb"))
    page = records(client, blind)
    assert "Your resolver shows what is needed" in page
    assert "Every name server" not in page


def test_where_they_answer_nobody_needs_to_say_so(client: Client, order: Order) -> None:
    assert reverse("job-records-told", args=[order.pk]) not in records(client, order)


def test_what_does_not_wait_any_more_is_not_told(client: Client, blind: Order) -> None:
    Order.objects.filter(pk=blind.pk).update(state=states.DONE, finished_at=clock.now())
    assert client.post(reverse("job-records-told", args=[blind.pk])).status_code == 409
    assert not JobEvent.objects.filter(job=blind.pk).exists()


def test_the_command_line_says_so_too(blind: Order) -> None:
    assert run("challenge_methods", "records", "--in-place", "other.test").code == 4
    done = run("challenge_methods", "records", "--in-place", NAMES[0])
    assert (done.code, JobEvent.objects.filter(job=blind.pk).count()) == (0, 1), done.err
