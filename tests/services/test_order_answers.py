"""How long an order waits for what it cannot see."""

from datetime import timedelta
from typing import Any

import pytest

from certs.domain import states
from certs.models import Challenge, JobEvent
from certs.services.events import job_event
from certs.services.order_answers import BLIND_PATIENCE, TOLD, _awaited
from certs.solvers.base import Evidence, Solver, Task
from portal import clock
from tests.services.test_order_flow import flow

pytestmark = pytest.mark.django_db


class Records(Solver):
    """One whose record nobody shows."""

    label = "DNS"
    challenge_types = ("dns-01",)

    def __init__(self, *, blind: bool, by_hand: bool = False) -> None:
        super().__init__()
        self.blind = blind
        self.by_hand = by_hand  # type: ignore[misc]

    def present(self, task: Task) -> dict[str, Any]:
        return {}

    def clean(self, task: Task, data: Any) -> None: ...

    def look(self, task: Task) -> Evidence:
        return Evidence("", "", "")

    def awaited(self, task: Task) -> str:
        return "Waiting for the record."

    def is_blind(self, task: Task) -> bool:
        return self.blind


@pytest.mark.parametrize(
    ("blind", "age", "goes_on"),
    [
        (True, BLIND_PATIENCE - timedelta(minutes=1), False),
        (True, BLIND_PATIENCE + timedelta(minutes=1), True),
        (False, BLIND_PATIENCE + timedelta(minutes=1), False),  # it is seen that the record is not there
    ],
)
def test_an_order_that_can_see_nothing_goes_on_and_says_so(blind: bool, age: timedelta, goes_on: bool) -> None:
    one = flow()
    one.move(states.REGISTERED, "ready")
    row = Challenge.objects.create(
        token="t", order=one.order, name="a.example", type="dns-01", presented_at=clock.now() - age
    )
    said = _awaited(one, Records(blind=blind), row)
    events = list(JobEvent.objects.filter(job=one.order.pk, level="warning").values_list("message", flat=True))
    if goes_on:
        assert said == ""
        assert "is asked to look all the same: it may see what this server cannot" in events[0]
    else:
        assert said.startswith("Waiting for the record.")
        assert ("UTC" in said) is blind
        assert not events


def test_by_hand_it_goes_on_only_when_a_person_says_so() -> None:
    one = flow()
    one.move(states.REGISTERED, "ready")
    row = Challenge.objects.create(token="t", order=one.order, name="a.example", type="dns-01")
    records = Records(blind=True, by_hand=True)
    assert _awaited(one, records, row).endswith(
        "Say on the page of the order when it is in place, since this server cannot see it."
    )
    job_event(one.order.pk, "alice says so", **TOLD)
    assert "Say" not in _awaited(one, Records(blind=False, by_hand=True), row)  # it is seen that nothing is there
    assert _awaited(one, records, row) == ""
