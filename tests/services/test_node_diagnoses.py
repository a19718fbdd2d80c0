"""A node says that it lives, looks once for each wish, and is forgotten when it is gone."""

from datetime import timedelta

import pytest

from certs.domain.diagnosis import Line, State, line_document
from certs.models import NodeDiagnosis
from certs.services import node_diagnoses
from certs.services.prune import SILENT, prune_run
from portal import clock

pytestmark = pytest.mark.django_db
LINES = [Line("disk", State.BAD, "The disk is full.", "Make room.", "0 bytes", "files")]


def test_a_node_says_that_it_lives_and_looks_once_for_each_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_diagnoses, "diagnosis_run", lambda: LINES)
    assert node_diagnoses.node_role() == ""
    assert not node_diagnoses.node_is_here("worker")
    assert node_diagnoses.node_role() == "worker"
    NodeDiagnosis.objects.update(wished=2)
    assert node_diagnoses.node_is_here("worker")
    node_diagnoses.node_diagnose()
    assert not node_diagnoses.node_is_here("worker")
    row = NodeDiagnosis.objects.get()
    assert (row.done, row.lines) == (2, [line_document(line) for line in LINES])
    assert node_diagnoses.nodes_ask() == 0  # itself is not elsewhere


def test_a_wish_that_comes_while_it_looks_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    node_diagnoses.node_is_here("all")
    NodeDiagnosis.objects.update(wished=1)

    def wished_meanwhile() -> list[Line]:
        NodeDiagnosis.objects.update(wished=2)
        return LINES

    monkeypatch.setattr(node_diagnoses, "diagnosis_run", wished_meanwhile)
    node_diagnoses.node_diagnose()
    assert NodeDiagnosis.objects.get().done == 1
    assert node_diagnoses.node_is_here("all")


def test_a_living_node_writes_seldom_and_a_gone_one_is_forgotten() -> None:
    node_diagnoses.node_is_here("web")
    seen = NodeDiagnosis.objects.get().seen_at
    node_diagnoses.node_is_here("web")
    assert NodeDiagnosis.objects.get().seen_at == seen
    NodeDiagnosis.objects.update(seen_at=seen - timedelta(minutes=5))
    node_diagnoses.node_is_here("web")
    assert NodeDiagnosis.objects.get().seen_at >= seen
    NodeDiagnosis.objects.create(node="gone", seen_at=clock.real() - SILENT - timedelta(hours=1))
    prune_run()
    assert NodeDiagnosis.objects.values_list("node", flat=True).count() == 1
