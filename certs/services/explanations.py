"""Why an order failed: what its row keeps, put before the rules of `domain/explanation.py`."""

import logging
from dataclasses import asdict
from typing import Any

from django.conf import settings

from certs.acme.directories import directory_label
from certs.domain.explanation import Explanation, Failure, explain
from certs.domain.preflight import Level
from certs.models import Order
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target

log = logging.getLogger("bindery.order")
_LOOKED_AT = 5  # names; a failure seldom has more than one cause
_TELLING = (Level.WARNING, Level.ERROR)
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


def order_findings(order: Order, names: list[str]) -> list[dict[str, Any]]:
    """What stands between these names and the CA, for `Order.evidence`. Network, FAILURE_LOOK_SECONDS at most; what
    this server finds out at the moment of the failure is worth more than what it would find later."""
    if not settings.FAILURE_LOOK_SECONDS:
        return []
    try:
        found = preflight_run(
            names[:_LOOKED_AT],
            Target.of(order.account),
            method=order.certificate.challenge_method,
            certificate=order.certificate,
            seconds=settings.FAILURE_LOOK_SECONDS,
        )
    except Exception:  # the order has failed, and must be able to say so whatever the look meets
        log.exception("The names of the failed order could not be looked at")
        return []
    return [{"kind": FINDING, **asdict(one)} for one in found if one.level in _TELLING]
