"""What other nodes find: a page wishes for a look, the supervisor of each node has it made and stores the lines.

A worker asks CAs and name servers from another place of the network than the web node whose page shows it.
"""

from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import F, QuerySet

from certs.domain.diagnosis import line_document
from certs.models import NodeDiagnosis
from certs.services.diagnoses import diagnosis_run
from certs.services.nodes import node_name
from portal import clock


def nodes_may_be_several() -> bool:
    """SQLite has one machine."""
    return connection.vendor != "sqlite"


def node_is_here(role: str) -> bool:
    """The supervisor of this node lives; whether a look is wished for that was not made."""
    moment = clock.real()
    alive: float = settings.DIAGNOSIS_ALIVE_SECONDS
    stale = moment - timedelta(seconds=alive / 4)
    row, created = NodeDiagnosis.objects.get_or_create(node=node_name(), defaults={"role": role, "seen_at": moment})
    if not created and (row.seen_at < stale or row.role != role):
        NodeDiagnosis.objects.filter(pk=row.pk).update(seen_at=moment, role=role)
    return row.wished > row.done


def nodes_elsewhere() -> QuerySet[NodeDiagnosis]:
    """The other nodes whose supervisor lives."""
    since = clock.real() - timedelta(seconds=settings.DIAGNOSIS_ALIVE_SECONDS)
    return NodeDiagnosis.objects.exclude(node=node_name()).filter(seen_at__gte=since)


def nodes_ask() -> int:
    """Have every other node look at itself; returns how many were asked."""
    return nodes_elsewhere().update(wished=F("wished") + 1)


def node_diagnose() -> None:
    """Look, and store what was found for those who wished for it until now. Network; may run twice."""
    row = NodeDiagnosis.objects.filter(node=node_name()).first()
    if row is None:
        return
    lines = [line_document(line) for line in diagnosis_run()]
    NodeDiagnosis.objects.filter(pk=row.pk, done__lt=row.wished).update(
        lines=lines, done=row.wished, finished_at=clock.now()
    )


def node_role() -> str:
    """Of the supervisor on this node as it said itself; "" where it never did."""
    return NodeDiagnosis.objects.filter(node=node_name()).values_list("role", flat=True).first() or ""
