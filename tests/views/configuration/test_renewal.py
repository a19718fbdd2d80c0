from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ, Schedule

from certs.schedule import schedules_ensure
from certs.services.portal_state import state_get, state_update
from certs.services.renewal_settings import TICK
from portal import clock
from tests import stock

PAGE = "/configuration/renewal/"


def test_the_page_shows_bounds_schedule_and_decisions(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    certificate.last_decision_text = "Not due before 2027-01-29."
    certificate.save()
    schedules_ensure()
    state_update(sweep_finished_at=clock.now(), sweep_summary={"not-due": 3, "due-date": 1})
    page = client.get(PAGE).content.decode()
    for words in (
        "Every 24 hours",
        "within 21 days",
        "Next run",
        "just now",
        "3 × not due",
        "Not due before 2027-01-29.",
    ):
        assert words in page


def test_before_the_first_start_the_schedule_is_said_to_be_missing(client: Client) -> None:
    assert "not made yet" in client.get(PAGE).content.decode()


def test_both_bounds_are_changed(client: Client) -> None:
    response = client.post(PAGE, {"renew_before_days": "30", "check_hours": "12"}, follow=True)
    assert "renewed within 30 days" in response.content.decode()
    assert (state_get().renew_before_days, state_get().check_hours) == (30, 12)


@pytest.mark.parametrize("days", ["", "x", "0", "-1", "181", "1e3", "21.5", "9" * 400])
def test_bad_numbers_are_refused_and_kept_in_the_field(client: Client, days: str) -> None:
    page = client.post(PAGE, {"renew_before_days": days, "check_hours": "12"}).content.decode()
    assert "Type a whole number of days from 1 to 180." in page
    assert 'value="12"' in page
    assert (state_get().renew_before_days, state_get().check_hours) == (21, 24)


def test_check_now_queues_a_look(client: Client) -> None:
    page = client.post(reverse("renewal-check"), follow=True).content.decode()
    assert "The check is queued" in page
    assert OrmQ.objects.count() == 1


def test_one_certificate_has_bounds_of_its_own(client: Client, onlooker: Client) -> None:
    certificate = stock.issued("www.example.com")
    address = reverse("renewal-override", args=[certificate.pk])
    assert onlooker.get(address).status_code == 403
    assert client.get(address).status_code == 200
    client.post(address, {"renew_before_days": "5", "check_hours": ""})
    certificate.refresh_from_db()
    assert (certificate.renew_before_days, certificate.check_hours) == (5, None)
    assert "5 d, 24 h" in client.get(PAGE).content.decode()
    assert "from 1 to 168" in client.post(address, {"check_hours": "999"}).content.decode()
    assert client.get(reverse("renewal-override", args=["00000000-0000-4000-8000-00000000000f"])).status_code == 404


@pytest.mark.parametrize(
    ("hours", "kind", "words"),
    [
        (1, "ok", "last check 60 minutes ago, the next in"),
        (25, "ok", "last check 25 hours ago, the next in"),
        (27, "danger", "last check 27 hours ago: nothing is renewed"),
        (None, "unknown", "not checked yet; the first check comes in"),
    ],
)
def test_the_card_tells_what_happened_not_what_is_set(client: Client, hours: int | None, kind: str, words: str) -> None:
    schedules_ensure()
    Schedule.objects.filter(func=TICK).update(next_run=clock.now() + timedelta(minutes=4, seconds=30))
    state_update(sweep_finished_at=None if hours is None else clock.now() - timedelta(hours=hours))
    card = client.get("/configuration/").content.decode().split('id="entry-renewal"')[1].split("</section>")[0]
    assert f'<span class="state state-{kind}">{words}' in card


def test_without_a_schedule_nothing_is_promised(client: Client) -> None:
    Schedule.objects.all().delete()
    assert "the schedule has not begun" in client.get("/configuration/").content.decode()
