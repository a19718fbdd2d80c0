import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain import states
from certs.models import Order, Rebind, User
from certs.services.events import audit_record, job_event
from certs.services.nodes import node_name
from certs.services.portal_state import state_update
from certs.views.activity import order_steps
from portal import clock
from tests import stock


@pytest.fixture
def order(alice: User) -> Order:
    certificate = stock.issued("www.example.com")
    return Order.objects.create(
        certificate=certificate,
        account=certificate.account,
        requested_by=alice,
        reason="asked",
        names=certificate.names,
        bind=True,
        version=certificate.current,
    )


def _end(order: Order, state: str, **fields: object) -> None:
    Order.objects.filter(pk=order.pk).update(state=state, finished_at=clock.now(), **fields)


@pytest.mark.parametrize("state", [name for name in states.ORDER.states if name not in ("failed", "cancelled")])
def test_steps_before_the_state_are_done_and_one_is_under_way(order: Order, state: str) -> None:
    order.state, order.served = state, True
    seen = [step.state for step in order_steps(order)]
    assert seen == sorted(seen, key=("done", "now", "waiting").index)
    assert seen.count("now") == (0 if state == "done" else 1)


def test_a_failure_stops_at_the_step_it_happened_in(order: Order) -> None:
    job_event(order.pk, "Asked the CA to look.", step="validation")
    order.state, order.finished_at = "failed", clock.now()
    assert [(step.label, step.state) for step in order_steps(order)][2:5] == [
        ("Challenge", "done"),
        ("Validation", "stopped"),
        ("Certificate", "waiting"),
    ]


def test_without_binding_there_are_no_steps_for_it(order: Order) -> None:
    order.bind = False
    assert [step.label for step in order_steps(order)][-1] == "Certificate"


def test_the_page_asks_for_the_steps_until_the_job_has_ended(client: Client, order: Order) -> None:
    page = client.get(reverse("job", args=[order.pk])).content.decode()
    assert f'hx-get="{reverse("job-steps", args=[order.pk])}"' in page
    assert 'http-equiv="refresh"' in page
    job_event(order.pk, "The account is ready.", step="account")
    assert "The account is ready." in client.get(reverse("job-steps", args=[order.pk])).content.decode()
    _end(order, "done", served=True)
    fragment = client.get(reverse("job-steps", args=[order.pk])).content.decode()
    assert "hx-get" not in fragment
    assert "<html" not in fragment
    assert "refresh" not in client.get(reverse("job", args=[order.pk])).content.decode()


def test_when_bound_it_names_the_new_address_and_whether_the_browser_will_warn(client: Client, order: Order) -> None:
    state_update(public_url="https://www.example.com")
    _end(order, "done", served=True)
    page = client.get(reverse("job", args=[order.pk])).content.decode()
    assert "https://www.example.com" in page
    assert "Your browser will warn" in page
    assert f'action="{reverse("go")}"' in page
    there = client.get(reverse("job", args=[order.pk]), secure=True, headers={"host": "www.example.com"})
    assert "You are there." in there.content.decode()


def test_while_another_address_is_on_trial_it_leads_there(client: Client, order: Order) -> None:
    state_update(public_url="https://www.example.com")
    _end(order, "done", served=True)
    Rebind.objects.create(
        node=node_name(),
        addresses=["0.0.0.0"],
        port=9443,
        old_port=8443,
        state="awaiting",
        deadline=datetime.now(UTC) + timedelta(seconds=60),
    )
    page = client.get(reverse("job", args=[order.pk])).content.decode()
    assert "Go to https://www.example.com:9443" in page
    assert f'action="{reverse("bindings-go")}"' in page
    assert f'action="{reverse("go")}"' not in page


@pytest.mark.parametrize(("served", "kind"), [(False, "state-warning"), (None, "state-unknown")])
def test_issued_but_not_proven_served_is_not_green(
    client: Client, order: Order, served: bool | None, kind: str
) -> None:
    _end(order, "done", served=served)
    page = client.get(reverse("job", args=[order.pk])).content.decode().split('aria-label="Result"')[1]
    assert kind in page
    assert "Done: the portal serves" not in page


@pytest.mark.parametrize(("served", "kind"), [(False, "state-warning"), (None, "state-unknown")])
def test_a_renewal_that_is_not_proven_served_is_not_green(
    client: Client, order: Order, served: bool | None, kind: str
) -> None:
    # A renewal wishes for no binding: it is bound already.
    _end(order, "done", bind=False, served=served, error_code="not-served", error_message="One process is behind.")
    page = client.get(reverse("job", args=[order.pk])).content.decode().split('aria-label="Result"')[1]
    assert kind in page
    assert "One process is behind." in page
    listed = client.get(reverse("activity")).content.decode()
    assert kind in listed
    assert "state-ok" not in listed


@pytest.mark.parametrize(("served", "words"), [(False, "not served"), (None, "could not check")])
def test_the_check_has_no_tick_where_it_proved_nothing(
    client: Client, order: Order, served: bool | None, words: str
) -> None:
    _end(order, "done", bind=True, served=served)
    order.refresh_from_db()
    assert (order_steps(order)[-1].state, order_steps(order)[-1].words) == ("stopped", words)


def test_a_failure_shows_the_ca_its_url_our_evidence_and_what_to_do(client: Client, order: Order) -> None:
    url = "http://www.example.com/.well-known/acme-challenge/abc"
    _end(
        order,
        "failed",
        error_message="The Let's Encrypt HTTP challenge failed with status 'invalid'.",
        error_advice="Open port 80.",
        problem={"type": "urn:ietf:params:acme:error:connection", "detail": "Connection <refused>"},
        evidence=[{"url": url, "curl": f"curl -v {url}", "seen": "no answer"}],
    )
    page = client.get(reverse("job", args=[order.pk])).content.decode()
    for words in ("Connection &lt;refused&gt;", url, f"curl -v {url}", "no answer", "Open port 80.", "acme:error"):
        assert words in page
    assert f'href="{url}"' not in page  # a browser that saw HSTS would be led elsewhere


def test_a_job_that_is_no_order_shows_its_lines(client: Client) -> None:
    job = uuid.uuid4()
    job_event(job, "Port 8444 is open now.")
    assert "Port 8444 is open now." in client.get(reverse("job", args=[job])).content.decode()


def test_secrets_in_lines_are_masked_before_they_come_here(client: Client, order: Order) -> None:
    job_event(order.pk, "tried password=hunter2")
    assert "hunter2" not in client.get(reverse("job", args=[order.pk])).content.decode()


def test_lists_show_jobs_and_changes(client: Client, order: Order) -> None:
    assert "www.example.com" in client.get(reverse("activity")).content.decode()
    audit_record("schedule", "certificate.renew", "www.example.com", before={"x": "<b>"}, after={"x": 1})
    page = client.get(reverse("changes")).content.decode()
    assert "Certificate: renew" in page
    assert "&lt;b&gt;" in page


def test_a_fragment_whose_session_ended_makes_the_whole_page_log_in_again(stranger: Client, order: Order) -> None:
    response = stranger.get(reverse("job-steps", args=[order.pk]), headers={"hx-request": "true"})
    assert response.status_code == 204
    assert response["HX-Refresh"] == "true"


def test_what_failed_is_tried_again_with_the_same_wish(client: Client, order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(bind=True, bind_address="0.0.0.0", bind_port=4443)
    _end(order, "failed", error_message="No.")
    assert reverse("job-retry", args=[order.pk]) in client.get(reverse("job", args=[order.pk])).content.decode()
    response = client.post(reverse("job-retry", args=[order.pk]))
    again = Order.objects.exclude(pk=order.pk).get()
    assert response["Location"] == reverse("job", args=[again.pk])
    assert (again.bind, again.bind_address, again.bind_port) == (True, "0.0.0.0", 4443)


def test_only_an_administrator_tries_again_and_only_what_has_ended(
    client: Client, onlooker: Client, order: Order
) -> None:
    assert client.post(reverse("job-retry", args=[order.pk])).status_code == 409
    _end(order, "failed")
    assert onlooker.post(reverse("job-retry", args=[order.pk])).status_code == 403
    assert Order.objects.count() == 1


def test_an_order_under_way_is_cancelled_by_an_administrator(client: Client, onlooker: Client, order: Order) -> None:
    page, cancel = reverse("job", args=[order.pk]), reverse("job-cancel", args=[order.pk])
    assert cancel in client.get(page).content.decode()
    assert cancel not in onlooker.get(page).content.decode()
    assert onlooker.post(cancel).status_code == 403
    assert client.get(cancel).status_code == 405
    assert client.post(cancel)["Location"] == page
    order.refresh_from_db()
    assert (order.state, order.finished_at is None) == ("cancelled", False)
    assert cancel not in client.get(page).content.decode()


def test_what_the_ca_issues_already_is_not_cancelled(client: Client, order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(state="finalized")
    assert reverse("job-cancel", args=[order.pk]) not in client.get(reverse("job", args=[order.pk])).content.decode()
    assert client.post(reverse("job-cancel", args=[order.pk])).status_code == 409
    order.refresh_from_db()
    assert order.finished_at is None


def test_what_kept_a_certificate_from_its_place_is_told(client: Client, order: Order) -> None:
    _end(order, "done", served=False, bind=True, error_message="Port 443 is taken by nginx.", error_advice="Stop it.")
    page = client.get(reverse("job", args=[order.pk])).content.decode()
    assert "Port 443 is taken by nginx." in page
    assert "Stop it." in page
