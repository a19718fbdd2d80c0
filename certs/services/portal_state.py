"""The one row of settings, and the generation that every serving process follows."""

from typing import Any

from django.db.models import F

from certs.models import PortalState


def state_get() -> PortalState:
    return PortalState.objects.get_or_create(pk=1)[0]


def state_update(**fields: Any) -> None:
    """Write just these fields, so that two writers never undo each other's others."""
    state_get()
    PortalState.objects.filter(pk=1).update(**fields)


def state_lock() -> PortalState:
    """Inside a transaction: whoever else asks for it waits until that ends, and sees what it has done.

    Do not change a certificate after it that others may be changing: a renewal locks the certificate first, then this.
    """
    state_get()
    return PortalState.objects.select_for_update().get(pk=1)


def generation_bump() -> None:
    """Call inside the transaction that changed what is to be served."""
    state_get()
    PortalState.objects.filter(pk=1).update(generation=F("generation") + 1)


def generation_wanted() -> int:
    return PortalState.objects.filter(pk=1).values_list("generation", flat=True).first() or 0
