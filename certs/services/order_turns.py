"""What is tried next, within the same order, where the CA has refused: the same once more where that was our fault,
another challenge, then another issuer.

The order goes back to an earlier state with its key; what failed is kept in `Order.tried`, so that nothing is tried
twice and the person sees all of it.
"""

from datetime import timedelta
from typing import Any

import psutil
from django.db.models import Min

from certs.acme.directories import directory_label
from certs.domain import states
from certs.domain.errors import AcmeFailure, AcmeRetry, BinderyError
from certs.domain.urls import url_split
from certs.models import AcmeAccount, Order
from certs.services.addresses import public_url
from certs.services.challenges import AUTOMATIC, challenge_kind_first, challenges_clear, solver_kinds
from certs.services.explanations import issuer_refusal
from certs.services.ledger import SPENT
from certs.services.nodes import node_name
from certs.services.order_flow import Flow
from certs.services.order_views import RESTARTS, ChallengeFailed, OrderGone, step_restart
from certs.services.serving import processes_live
from portal import clock

CHALLENGE, ISSUER = "challenge", "issuer"
STARTING_SECONDS = 2.0  # until a process is there again
HTTPS_PORT = 443  # where a CA makes the tls-alpn-01 handshake (RFC 8737 §3)
# Another way to the same name may do better; a broken DNS or a refused name would fail there as well.
_OTHER_WAY = frozenset({"acme-connection", "acme-unauthorized", "acme-incorrectResponse", "acme-tls"})
_AT_THE_CA: dict[str, Any] = {"order_url": "", "finalize_url": "", "certificate_url": ""}
_BEFORE_ISSUE = frozenset({states.NEW, states.REGISTERED, states.ORDERED, states.CHALLENGED, states.READY})


def turn_take(flow: Flow, error: BinderyError, told: dict[str, Any]) -> bool:
    """Whether the order goes on in another way. `told` is what would be said of its failure. Raises LeaseLost."""
    if flow.order.state not in _BEFORE_ISSUE:
        return False
    return _other_challenge(flow, error, told) or issuer_turn_take(flow, error, told)


def issuer_turn_take(flow: Flow, error: BinderyError, told: dict[str, Any]) -> bool:
    """The same for a CA that cannot do it now: there is another issuer, or the order waits."""
    if flow.order.rehearsal or flow.order.state not in _BEFORE_ISSUE:
        return False
    return _other_issuer(flow, error, told)


def turn_failures(order: Order, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in order.tried if entry["kind"] == kind]


def turn_once_more(flow: Flow, error: BinderyError) -> AcmeRetry | None:
    """A CA that met the portal while it was being started anew has judged that, and not the name: the order is back
    at its beginning, and what is returned says when to go on. None where that is not so. Raises LeaseLost."""
    order = flow.order
    if not isinstance(error, ChallengeFailed) or error.code not in _OTHER_WAY or order.restarts >= RESTARTS:
        return None
    if order.state not in _BEFORE_ISSUE or not solver_kinds()[order.challenge_kind].by_portal:
        return None
    if not _was_starting(order):
        return None
    step_restart(flow, OrderGone(f"{error.message} The portal was being started anew when the CA looked."))
    later = clock.real() + timedelta(seconds=STARTING_SECONDS)
    return AcmeRetry("Waiting until the portal is there again.", code="acme-waiting", retry_at=later)


def _was_starting(order: Order) -> bool:
    """Whether a serving process has begun since the answers were stored, or is gone and not replaced yet."""
    stored = order.challenges.aggregate(at=Min("created_at"))["at"]
    if stored is None:
        return False
    own = processes_live(node_name())
    return any(each.started_at >= stored for each in processes_live()) or not all(_runs(each.pid) for each in own)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _other_challenge(flow: Flow, error: BinderyError, told: dict[str, Any]) -> bool:
    order = flow.order
    if not isinstance(error, ChallengeFailed) or error.code not in _OTHER_WAY:
        return False
    other = _challenge_left(order)
    if other is None:
        return False
    label = solver_kinds()[other].label
    flow.view = flow.authorizations = None
    flow.move(
        states.REGISTERED,
        f"{error.message} Trying the {label} challenge instead.",
        level="warning",
        also=lambda: challenges_clear(order.pk),
        challenge_kind=other,
        tried=[*order.tried, _entry(order, CHALLENGE, told)],
        **_AT_THE_CA,
    )
    return True


def _challenge_left(order: Order) -> str | None:
    """What the portal can answer by itself and has not tried at this CA yet; None where a person chose the method."""
    if order.certificate.challenge_method_id is not None or order.challenge_kind not in AUTOMATIC:
        return None
    account = str(order.account_id)
    tried = {entry["challenge"] for entry in turn_failures(order, CHALLENGE) if entry["account"] == account}
    left = [kind for kind in AUTOMATIC if kind not in {*tried, order.challenge_kind} and kind in solver_kinds()]
    return next((kind for kind in left if kind != "tlsalpn01" or _has_https_port()), None)


def _has_https_port() -> bool:
    """Whether people, and so a CA, reach our listener on port 443."""
    parts = url_split(public_url())
    return parts.scheme == "https" and (parts.port or HTTPS_PORT) == HTTPS_PORT


def _other_issuer(flow: Flow, error: BinderyError, told: dict[str, Any]) -> bool:
    if not isinstance(error, AcmeFailure) or not (error.code.startswith("acme") or error.code == SPENT):
        return False  # a DNS provider that is away, say, would be away for the next CA as well
    order = flow.order
    account = _issuer_left(flow)
    if account is None:
        return False
    entry = _entry(order, ISSUER, told)
    flow.client_drop()
    flow.view = flow.authorizations = None
    flow.reregistered = False
    flow.move(
        states.NEW,
        f"{error.message} Asking {directory_label(account.directory_url)} instead.",
        level="warning",
        also=lambda: challenges_clear(order.pk),
        account=account,
        replaces="",  # an account replaces only its own certificates
        restarts=0,
        challenge_kind=challenge_kind_first(order.certificate, account),
        tried=[*order.tried, entry],
        **_AT_THE_CA,
    )
    return True


def _issuer_left(flow: Flow) -> AcmeAccount | None:
    """The next one that was not asked yet and that the names' CAA records do not shut out."""
    order = flow.order
    tried = {entry["account"] for entry in turn_failures(order, ISSUER)} | {str(order.account_id)}
    rows = order.certificate.fallbacks.filter(account__deactivated_at=None).select_related("account__key")
    for account in (row.account for row in rows if str(row.account_id) not in tried):
        refusal = issuer_refusal(order, account)
        if not refusal:
            return account
        flow.note(f"{directory_label(account.directory_url)} is not asked: {refusal}", level="warning")
    return None


def _entry(order: Order, kind: str, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "account": str(order.account_id),
        "ca": directory_label(order.account.directory_url),
        "challenge": order.challenge_kind,
        "at": clock.now().isoformat(),
        **{name.removeprefix("error_"): value for name, value in told.items()},
    }
