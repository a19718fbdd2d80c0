"""The operator's word that a copy of the key ring is kept somewhere safe."""

from certs.domain.roles import Right
from certs.services.access import Actor, needs
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_update
from portal import clock


@needs(Right.SETTING)
def ring_mark_saved(*, actor: Actor) -> None:
    if state_get().ring_saved_at is not None:
        return
    state_update(ring_saved_at=clock.now())
    audit_record(actor, "keyring.saved", "keyring.json")
