"""The first steps of an order: an account, a key and a request, and the order at the CA."""

from functools import partial
from http import HTTPStatus

from certs.acme.client import OrderView
from certs.acme.network import NO_ANSWER
from certs.domain import states
from certs.domain.csr import csr_make
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry
from certs.models import Order, PrivateKey
from certs.services.keys import key_is_here, key_new, key_open
from certs.services.ledger import ledger_order, ledger_order_refused, order_budget_check
from certs.services.order_earlier import earlier_take
from certs.services.order_flow import Flow
from certs.services.order_views import at_account, register

COMPROMISED = "keyCompromise"  # RFC 5280 §5.3.1
IN_DOUBT = {NO_ANSWER, AcmeRefused.code}  # the second: an answer without what belongs to it


def step_register(flow: Flow) -> None:
    """new → registered: an account at the CA, and the key and the request of the certificate to come."""
    order = flow.order
    if not order.account.account_url:
        register(flow)
        flow.note(f"Registered at {flow.ca}.")
    key = order.key or _key(order)
    csr = order.csr_pem or csr_make(key_open(key), order.names)
    flow.move(
        states.REGISTERED,
        f"The account at {flow.ca} is ready.",
        also=partial(key.save, force_insert=True) if key._state.adding else None,
        at_once=False,  # but before newOrder, as that is written down first
        key=key,
        csr_pem=csr,
    )


def _key(order: Order) -> PrivateKey:
    """A new one, unless the certificate is to keep its key and that is still here and good."""
    certificate = order.certificate
    version = certificate.current
    kept = version.key if version is not None and certificate.reuse_key and not order.rehearsal else None
    if kept is None or kept.compromised_at is not None or (version and version.revocation_reason == COMPROMISED):
        return key_new(certificate.key_type)
    if kept.key_type == certificate.key_type and key_is_here(kept):
        return kept
    return key_new(certificate.key_type)


def step_order(flow: Flow) -> None:
    """registered → ordered."""
    if earlier_take(flow):
        return
    order_budget_check(flow.order)
    view = at_account(flow, lambda: _order_new(flow))
    flow.view = view
    flow.move(
        states.ORDERED,
        f"Ordered a certificate for {', '.join(flow.order.names)}.",
        order_url=view.url,
        finalize_url=view.finalize,
        replaces=flow.order.replaces,
    )


def _order_new(flow: Flow) -> OrderView:
    replaces = flow.order.replaces
    try:
        return _ask(flow)
    except AcmeFailure as error:
        if not replaces or not _is_about_replaces(flow.order, error):
            raise
        flow.note(f"{error.message} Ordering without naming the certificate it replaces.")
        flow.order.replaces = ""
        order_budget_check(flow.order)  # what it was free of as a renewal counts now
        return _ask(flow)


def _ask(flow: Flow) -> OrderView:
    """newOrder, written down before it is sent: whatever becomes of us or of the answer, what the CA counts, we do."""
    order, client = flow.order, flow.client
    flow.keep(lambda: ledger_order(order))
    try:
        return client.order_new(order.names, replaces=order.replaces, profile=order.profile)
    except AcmeFailure as error:
        if not _may_be_made(error):
            flow.keep(lambda: ledger_order_refused(order))
        raise


def _may_be_made(error: AcmeFailure) -> bool:
    """Whether the CA may have made an order all the same: it gave no answer, or another than an ACME server's."""
    status = error.problem.get("status")
    refused = "type" in error.problem or (isinstance(status, int) and 400 <= status < 500)
    return error.code in IN_DOUBT or (bool(error.problem) and not refused)


def _is_about_replaces(order: Order, error: AcmeFailure) -> bool:
    """A CA may refuse what we say it replaces (RFC 9773 §5): done already, another account's, unknown to it. Some fail
    over it with a mere 500, each time."""
    status = error.problem.get("status")
    if isinstance(error, AcmeRetry):
        return status == HTTPStatus.INTERNAL_SERVER_ERROR and order.attempts > 0
    named = error.code in {"acme-alreadyReplaced", "acme-malformed"} or "replace" in error.message.lower()
    return named or status == HTTPStatus.CONFLICT
