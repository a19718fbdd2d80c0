"""The one row of settings, and the generation that every serving process follows."""

from typing import Any

from django.db import connection
from django.db.models import F

from certs.models import PortalState

_ADVISORY_LOCK = 0x53544154  # "STAT": one number for every node of the portal


def state_get() -> PortalState:
    return PortalState.objects.get_or_create(pk=1)[0]


def state_update(**fields: Any) -> None:
    """Write just these fields, so that two writers never undo each other's others."""
    state_get()
    PortalState.objects.filter(pk=1).update(**fields)


def state_lock() -> PortalState:
    """Inside a transaction: whoever else asks for it waits until that ends, and sees what it has done.

    A lock of its own on PostgreSQL, and not that of the row: rows are locked in one order, certificates first, then the
    settings, as a renewal does. This one comes before all of them. SQLite has one writer at a time.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
    return state_get()


def generation_bump() -> None:
    """Call inside the transaction that changed what is to be served."""
    state_get()
    PortalState.objects.filter(pk=1).update(generation=F("generation") + 1)


def generation_wanted() -> int:
    return PortalState.objects.filter(pk=1).values_list("generation", flat=True).first() or 0
