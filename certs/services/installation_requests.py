"""What a person asks of an endpoint beside an installation: what stood there before, and a restart."""

from certs.domain import states
from certs.domain.errors import BinderyError, InputError
from certs.domain.roles import Right
from certs.models import CertificateVersion, Endpoint, Installation, Node
from certs.services.access import Actor, needs, require
from certs.services.endpoint_sessions import contact_failed, endpoint_open, installer_of
from certs.services.endpoints import require_delegated
from certs.services.events import audit_record


def node_previous(node: Node) -> CertificateVersion:
    """The version that we installed there before the one that is there now. Raises InputError where there is none."""
    done = (
        Installation.objects.filter(node=node, state=states.INSTALLED)
        .exclude(version=None)
        .exclude(version=node.installed)
    )
    last = done.select_related("version__certificate", "version__key").order_by("-finished_at").first()
    if last is None or last.version is None:
        raise InputError(
            f"Nothing else was installed on {node} by us.",
            advice="What stood there before the first time is beside its files, as .NAME.bindery-old.",
            code="no-previous",
        )
    return last.version


@needs(Right.INSTALL)
def endpoint_restart(row: Endpoint, *, actor: Actor) -> None:
    """Restart the server program. Network. Raises ConflictError where it is not delegated, CommandFailed."""
    require(actor, Right.INSTALL, row)
    require_delegated(row)
    audit_record(actor, "endpoint.restart", row)
    try:
        with endpoint_open(row) as host:
            installer_of(row).restart(host)
    except BinderyError as error:
        contact_failed(row, error)
        raise
