from datetime import timedelta

import pytest
from django_q.models import OrmQ, Schedule

from certs.domain.errors import InputError
from certs.models import AuditEvent, Certificate
from certs.schedule import schedules_ensure
from certs.services.portal_state import state_get
from certs.services.renewal_settings import check_now, renewal_change, renewal_override, schedule_state
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db


@pytest.fixture
def certificate() -> Certificate:
    made = stock.issued("www.example.com")
    Certificate.objects.update(next_check_at=clock.now() + timedelta(days=1))
    return made


def test_both_bounds_are_stored_and_everything_is_looked_at_again(certificate: Certificate) -> None:
    renewal_change(renew_before_days=30, check_hours=12, actor="test")
    state = state_get()
    assert (state.renew_before_days, state.check_hours) == (30, 12)
    certificate.refresh_from_db()
    assert certificate.next_check_at
    assert certificate.next_check_at <= clock.now()
    event = AuditEvent.objects.get(action="renewal.change")
    assert event.before == {"renew_before_days": 21, "check_hours": 24}


def test_the_same_again_changes_nothing(certificate: Certificate) -> None:
    renewal_change(renew_before_days=21, check_hours=24, actor="test")
    assert not AuditEvent.objects.filter(action="renewal.change").exists()


@pytest.mark.parametrize(
    ("days", "hours", "field"),
    [(0, 24, "renew_before_days"), (181, 24, "renew_before_days"), (21, 0, "check_hours"), (21, 169, "check_hours")],
)
def test_what_makes_no_sense_is_refused(days: int, hours: int, field: str) -> None:
    with pytest.raises(InputError) as refused:
        renewal_change(renew_before_days=days, check_hours=hours, actor="test")
    assert refused.value.code == field
    assert state_get().renew_before_days == 21


def test_one_certificate_has_numbers_of_its_own_and_goes_back(certificate: Certificate) -> None:
    renewal_override(certificate, renew_before_days=5, check_hours=None, actor="test")
    certificate.refresh_from_db()
    assert (certificate.renew_before_days, certificate.check_hours) == (5, None)
    renewal_override(certificate, renew_before_days=None, check_hours=None, actor="test")
    certificate.refresh_from_db()
    assert certificate.renew_before_days is None


def test_check_now_queues_one_look_at_everything(certificate: Certificate) -> None:
    assert check_now(actor="test")
    assert not check_now(actor="test")
    assert OrmQ.objects.count() == 1
    certificate.refresh_from_db()
    assert certificate.next_check_at
    assert certificate.next_check_at <= clock.now()


def test_the_schedule_says_when_it_runs_next() -> None:
    assert schedule_state().next_run is None
    schedules_ensure()
    state = schedule_state()
    assert state.next_run == Schedule.objects.get(name="tick").next_run
    assert state.minutes == 5
