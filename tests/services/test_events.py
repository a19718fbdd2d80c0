from uuid import uuid4

import pytest

from certs.models import AuditEvent, JobEvent
from certs.services.events import audit_record, job_event
from tests import stock

pytestmark = pytest.mark.django_db


def test_a_job_s_line_is_in_the_log_and_under_activity(caplog: pytest.LogCaptureFixture) -> None:
    job = uuid4()
    with caplog.at_level("INFO"):
        job_event(job, "Asked the CA", step="order", url="https://ca.example")
    row = JobEvent.objects.get(job=job)
    assert (row.message, row.step, row.level, row.data) == (
        "Asked the CA",
        "order",
        "info",
        {"url": "https://ca.example"},
    )
    assert "Asked the CA" in caplog.text


def test_secrets_are_masked_in_both(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        job_event(uuid4(), "went to /setup/abcdefghijklmnopqrstuvwxyz with password=hunter22")
    assert "hunter22" not in JobEvent.objects.get().message + caplog.text
    assert "abcdefghijklm" not in JobEvent.objects.get().message + caplog.text


def test_the_trail_keeps_who_it_was_when_the_person_goes() -> None:
    person = stock.administrator()
    audit_record(person, "binding.set", "x" * 300, before={"a": 1}, after={"a": 2})
    audit_record("schedule", "order.create")
    person.delete()
    schedule, by_person = AuditEvent.objects.all()
    assert (by_person.actor, by_person.actor_text, len(by_person.target)) == (None, "admin@example.com", 255)
    assert schedule.actor_text == "schedule"
