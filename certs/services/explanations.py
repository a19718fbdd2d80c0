"""Why an order failed: what its row keeps, put before the rules of `domain/explanation.py`."""

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings

from certs.acme.directories import directory_label
from certs.domain.explanation import Explanation, Failure, explain
from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, Order
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from portal import clock

log = logging.getLogger("bindery.order")
_LOOKED_AT = 5  # names; a failure seldom has more than one cause
_TELLING = (Level.WARNING, Level.ERROR)
# An address where nothing answered from here either bears out what the CA says of it; so do CAA records of which it is
# not known whether they mean this CA.
_TELLING_CODES = {(Level.UNKNOWN, "ipv4"), (Level.UNKNOWN, "ipv6"), (Level.UNKNOWN, "caa")}
_BESIDE = {"terms", "budget"}  # no cause of a challenge that failed
FINDING = "finding"  # in Order.evidence: what was found out about a name, rather than seen where the CA looked


def order_explain(order: Order) -> Explanation:
    return explain(
        Failure(
            code=order.error_code,
            message=order.error_message,
            advice=order.error_advice,
            ca=directory_label(order.account.directory_url),
            challenge=order.challenge_kind,
            names=tuple(order.names),
            problem=order.problem,
            evidence=[item for item in order.evidence if item.get("kind") != FINDING],
            findings=[item for item in order.evidence if item.get("kind") == FINDING],
        )
    )


def order_next_try(order: Order) -> datetime | None:
    """When the schedule tries by itself what has failed; None where it does not, or has done so since."""
    certificate = order.certificate
    renews = certificate.auto_renew and certificate.account_id is not None and certificate.deleted_at is None
    if order.rehearsal or not renews or certificate.orders.filter(created_at__gt=order.created_at).exists():
        return None
    upcoming = certificate.next_attempt_at or certificate.next_check_at
    return max(upcoming, clock.now()) if upcoming else None


def order_findings(order: Order, names: list[str]) -> list[dict[str, Any]]:
    """What stands between these names and the CA, for `Order.evidence`. Network, FAILURE_LOOK_SECONDS at most; what
    this server finds out at the moment of the failure is worth more than what it would find later."""
    found = _look(order, order.account, names[:_LOOKED_AT])
    telling = [one for one in found if one.level in _TELLING or (one.level, one.code) in _TELLING_CODES]
    return [{"kind": FINDING, **asdict(one)} for one in telling if one.code not in _BESIDE]


def issuer_refusal(order: Order, account: AcmeAccount) -> str:
    """Why it is no use to ask this CA instead, as far as CAA records say (RFC 8659); "" where nothing is known."""
    found = _look(order, account, list(order.names))
    return next((one.sentence for one in found if one.code == "caa" and one.level == Level.ERROR), "")


def _look(order: Order, account: AcmeAccount, names: list[str]) -> list[Finding]:
    if not settings.FAILURE_LOOK_SECONDS:
        return []
    try:
        return preflight_run(
            names,
            Target.of(account),
            method=order.certificate.challenge_method,
            certificate=order.certificate,
            seconds=settings.FAILURE_LOOK_SECONDS,
        )
    except Exception:  # the order must go on, or say that it failed, whatever the look meets
        log.exception("The names of the order could not be looked at")
        return []
