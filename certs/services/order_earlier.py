"""What an earlier order of the same certificate has left at its CA: issued after all, it costs nothing more.

An order that was given up while it was being issued, or while the CA was out of reach, keeps its key and its request.
The next one for the same names looks there first, once. Where the certificate itself was wrong, only the key is kept.
"""

from certs.acme.client import OrderView
from certs.domain import states
from certs.domain.certinfo import certificate_info
from certs.domain.errors import AcmeRefused, AcmeRetry, CertificateRefused
from certs.domain.renewal import renew_before
from certs.models import Order
from certs.services.keys import key_is_here
from certs.services.order_download import chain_proven
from certs.services.order_flow import Flow
from certs.services.portal_state import state_get
from portal import clock

MOST_LOOKS = 3  # a CA that cannot tell of an old order must not hold up the new one


def earlier_take(flow: Flow) -> bool:
    """registered → ordered by the earlier order's address, key and request, where what it has brought is good today.

    Raises AcmeRetry where the CA cannot tell now.
    """
    earlier = _earlier(flow.order)
    if earlier is None:
        return False

    def close() -> None:
        Order.objects.filter(pk=earlier.pk).update(csr_pem="")

    view = _look(flow, earlier)
    if view is None:
        flow.keep(close)
        return False
    flow.view = view
    flow.move(
        states.ORDERED,
        f"{flow.ca} has issued what was asked for on {earlier.created_at:%Y-%m-%d %H:%M} UTC; that is taken.",
        also=close,
        key=earlier.key,
        csr_pem=earlier.csr_pem,
        order_url=earlier.order_url,
        finalize_url=earlier.finalize_url,
    )
    return True


def _earlier(order: Order) -> Order | None:
    """The last one that failed so since the certificate was last issued, where it wished for the same."""
    certificate = order.certificate
    if order.rehearsal or not certificate.failures:  # counted from the last version on
        return None
    rows = Order.objects.filter(certificate=certificate, account=order.account_id, state=states.FAILED, rehearsal=False)
    found = rows.exclude(csr_pem="").exclude(order_url="").select_related("key").order_by("-created_at").first()
    if found is None or found.key is None or (found.names, found.profile) != (order.names, order.profile):
        return None
    current = certificate.current
    if current is not None and current.revoked_at is not None and current.key_id == found.key_id:
        return None
    fits = found.key.key_type == certificate.key_type and found.key.compromised_at is None and key_is_here(found.key)
    return found if fits else None


def _look(flow: Flow, earlier: Order) -> OrderView | None:
    """The order at the CA, where it has brought a certificate that fits and is not to be renewed at once."""
    try:
        view = flow.client.order_read(earlier.order_url)
        if view.status != "valid" or not view.certificate:
            return None
        chain = chain_proven(flow, flow.client.certificate_read(view.certificate).default, earlier.key)
    except (AcmeRefused, CertificateRefused):
        return None
    except AcmeRetry:
        if flow.order.attempts < MOST_LOOKS:
            raise
        return None
    info = certificate_info(chain.leaf)
    days = flow.order.certificate.renew_before_days or state_get().renew_before_days
    is_due = clock.now() >= info.not_after - renew_before(info.not_after - info.not_before, days)
    return None if is_due else view
