"""Why an order failed: what its row keeps, put before the rules of `domain/explanation.py`."""

from certs.acme.directories import directory_label
from certs.domain.explanation import Explanation, Failure, explain
from certs.models import Order

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
