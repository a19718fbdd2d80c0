"""After each renewal installation follows by itself: every node whose certificate has a newer version than it holds.

An installation that failed is tried again by its own waits, whatever becomes of orders: issued and installed are two
things, and no failure of the one asks a CA for anything.
"""

from datetime import timedelta

from django.db.models import F, Q, QuerySet

from certs.domain.errors import BinderyError
from certs.models import Installation, Node
from certs.services.installations import installation_create
from portal import clock

ACTOR = "schedule"
# After so many failures of the same version on the same node; the last counts on.
WAITS = tuple(timedelta(minutes=minutes) for minutes in (5, 30, 120, 360, 720))


def installations_follow() -> int:
    """Returns how many were asked for."""
    return sum(_asked(node) for node in _behind().iterator())


def _behind() -> QuerySet[Node]:
    behind = Node.objects.filter(
        follows=True,
        gone_at=None,
        certificate__deleted_at=None,
        certificate__current__isnull=False,
        endpoint__organization=F("certificate__organization"),
    )
    other = Q(installed=None) | ~Q(installed=F("certificate__current"))
    busy = Installation.objects.filter(finished_at=None).values("node")
    return behind.filter(other).exclude(pk__in=busy).select_related("endpoint", "certificate__current")


def _asked(node: Node) -> bool:
    version = node.certificate.current if node.certificate else None
    if version is None or not _due(node, version.fingerprint_sha256):
        return False
    try:
        installation_create(node, version, reason=Installation.Reason.RENEWAL, actor=ACTOR)
    except BinderyError:  # another process was first, or a person has changed it just now
        return False
    return True


def _due(node: Node, fingerprint: str) -> bool:
    failed = Installation.objects.filter(node=node, fingerprint=fingerprint).exclude(finished_at=None)
    last = failed.order_by("-finished_at").values_list("finished_at", flat=True).first()
    if last is None:
        return True
    return last + WAITS[min(failed.count(), len(WAITS)) - 1] <= clock.now()
