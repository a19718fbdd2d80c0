"""A CA that misbehaves: for each fault what becomes of the order, through the real services and the real runner.

The table below is the documentation: the resource, what is wrong with it, and the outcome. Whatever the outcome, no key
of an issued certificate is lost, no order too many is made, and nothing is asked before the CA's Retry-After. Between
any two tries all state of the process is forgotten, as a restart does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from certs.domain import states
from tests.harness.acme_server import AcmeServer, Dated, Fault
from tests.harness.issuing import account_at, order_for
from tests.harness.misbehaving import nothing_lost, serving, settle

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

HOUR = 3600


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]) -> Iterator[AcmeServer]:
    with serving(monkeypatch) as running:
        yield running


@dataclass(frozen=True)
class Outcome:
    """`code` of the error where the order fails; `orders` made and certificates `issued` at the CA."""

    code: str = ""
    orders: int = 1
    issued: int = 1


DONE = Outcome()
ONE_MORE = Outcome(orders=2)  # the answer with the order's address was lost: nobody finalizes that one


def refused(code: str, *, orders: int = 0, issued: int = 0) -> Outcome:
    return Outcome(code, orders, issued)


# What a CA does                                            what becomes of it
TABLE: list[tuple[str, Fault, dict[str, Any], Outcome]] = [
    # 429 and 503: waited for, as long as it says. A day and more: the order ends, and the certificate waits.
    ("newAccount", Fault.RATE_LIMITED, {"retry_after": 3 * HOUR}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": 90, "times": 3}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": Dated(90)}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": Dated(90, zone="+0100")}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": Dated(90, zone="-0800")}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": "soon"}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {}, DONE),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": 24 * HOUR}, refused("acme-rateLimited")),
    ("newOrder", Fault.RATE_LIMITED, {"retry_after": 9999 * HOUR}, refused("acme-rateLimited")),
    # But what may be issued already is waited for.
    ("certificate", Fault.RATE_LIMITED, {"retry_after": 24 * HOUR}, DONE),
    *(
        (resource, Fault.UNAVAILABLE, {"retry_after": 300, "times": 2}, DONE)
        for resource in (
            "directory",
            "newNonce",
            "newAccount",
            "newOrder",
            "authorization",
            "challenge",
            "order",
            "finalize",
            "certificate",
        )
    ),
    ("*", Fault.UNAVAILABLE, {"times": 12}, DONE),
    # A page in place of a document: a maintenance page goes by.
    *(
        (resource, Fault.HTML, {}, DONE)
        for resource in (
            "directory",
            "newAccount",
            "newOrder",
            "authorization",
            "challenge",
            "order",
            "finalize",
            "certificate",
        )
    ),
    ("newOrder", Fault.HTML, {"status": 502}, DONE),
    ("newOrder", Fault.HTML, {"status": 503, "retry_after": 300, "times": 2}, DONE),
    ("finalize", Fault.HTML, {"status": 503, "retry_after": Dated(300)}, DONE),
    ("order", Fault.HTML, {"retry_after": 300}, DONE),
    ("newOrder", Fault.HTML_AFTER, {}, ONE_MORE),
    ("finalize", Fault.HTML_AFTER, {}, DONE),
    # What should stand in the head of an answer.
    ("*", Fault.NO_NONCE, {"times": 5}, DONE),
    ("newNonce", Fault.NO_NONCE, {}, DONE),
    ("challenge", Fault.NO_UP, {"times": None}, DONE),
    ("finalize", Fault.NO_LOCATION, {}, DONE),
    ("newAccount", Fault.NO_LOCATION, {}, refused("acme-refused")),
    ("newOrder", Fault.NO_LOCATION, {}, refused("acme-refused", orders=1)),
    ("*", Fault.CLOCK_OFF, {"seconds": HOUR, "times": None}, DONE),
    ("*", Fault.CLOCK_OFF, {"seconds": -HOUR, "times": None}, DONE),
    # It takes its time. A day-long Retry-After beside a poll is not believed: these end within minutes.
    ("finalize", Fault.PROCESSING, {"polls": 3}, DONE),
    ("finalize", Fault.PROCESSING, {"polls": 40}, DONE),
    ("validation", Fault.STALL_BEFORE, {"seconds": 2}, DONE),
    # States.
    ("finalize", Fault.ORDER_NOT_READY, {}, DONE),
    ("newOrder", Fault.OTHER_NAMES, {"names": ["x.test"]}, refused("acme-refused", orders=1)),
    ("order", Fault.STATUS, {"status": "frozen"}, DONE),
    ("authorization", Fault.STATUS, {"status": "frozen", "after": 1}, DONE),
    ("authorization", Fault.ODD_CHALLENGES, {"times": None}, DONE),
    ("authorization", Fault.NO_CHALLENGES, {"times": None}, refused("acme-no-challenge", orders=1)),
    *(
        (resource, Fault.ACCOUNT_UNKNOWN, {}, DONE)
        for resource in ("newOrder", "authorization", "challenge", "order", "finalize", "certificate")
    ),
    ("newOrder", Fault.ACCOUNT_UNKNOWN, {"times": None}, refused("acme-accountDoesNotExist")),
    ("order", Fault.NOT_FOUND, {}, DONE),  # one machine may be behind: it is asked for once more
    ("order", Fault.NOT_FOUND, {"times": 2}, ONE_MORE),
    # One of its machines is behind; or it never comes: ordered again twice, but not what was issued.
    *(
        (resource, Fault.NOT_FOUND, {"times": times}, outcome)
        for resource in ("authorization", "challenge", "finalize")
        for times, outcome in ((1, DONE), (2, ONE_MORE), (None, refused("acme-order-gone", orders=3)))
    ),
    ("certificate", Fault.NOT_FOUND, {"times": 3}, DONE),
    ("certificate", Fault.NOT_FOUND, {"times": None}, refused("acme-malformed", orders=1, issued=1)),
    # Problem documents that nothing can be stored or shown of as it stands.
    ("newOrder", Fault.CONTROL_CHARACTERS, {}, refused("acme-unauthorized")),
    ("newOrder", Fault.OVERLONG, {}, refused("acme")),
    ("newOrder", Fault.NESTED, {}, refused("acme")),
    ("order", Fault.NESTED, {}, refused("acme", orders=1)),
    ("newOrder", Fault.ODD_SUBPROBLEM, {}, refused("acme-compound")),
    ("newOrder", Fault.ALREADY_REPLACED, {}, refused("acme-alreadyReplaced")),
    ("newOrder", Fault.PROBLEM, {"document": ["a", "list"], "status": 400}, refused("acme")),
    ("newOrder", Fault.PROBLEM, {"document": {"type": 5, "detail": {}, "status": "x"}, "status": 400}, refused("acme")),
    ("validation", Fault.CONTROL_CHARACTERS, {}, refused("acme-unauthorized", orders=1)),
    ("validation", Fault.OVERLONG, {}, refused("acme-challenge", orders=1)),
    # A certificate that is not what was asked for is never taken; its key is kept all the same.
    ("certificate", Fault.WRONG_KEY, {}, refused("pair", orders=1, issued=1)),
    ("certificate", Fault.WRONG_NAMES, {}, refused("names", orders=1, issued=1)),
    ("certificate", Fault.EXPIRED, {}, refused("expired", orders=1, issued=1)),
    ("certificate", Fault.CHAIN_UNLINKED, {}, refused("chain", orders=1, issued=1)),
    ("certificate", Fault.CHAIN_REVERSED, {}, DONE),
    # Connections that end, or say nothing any more. Only a lost answer to newOrder costs an order.
    *(
        (resource, fault, {}, ONE_MORE if resource == "newOrder" and fault != Fault.CUT_BEFORE else DONE)
        for resource in ("newAccount", "newOrder", "authorization", "challenge", "order", "finalize", "certificate")
        for fault in (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_MIDDLE)
    ),
    *(
        (resource, fault, {"seconds": 1}, ONE_MORE if resource == "newOrder" else DONE)
        for resource in ("newAccount", "newOrder", "challenge", "finalize", "certificate")
        for fault in (Fault.STALL_AFTER, Fault.STALL_MIDDLE)
    ),
    ("directory", Fault.CUT_BEFORE, {"times": 2}, DONE),
    ("directory", Fault.STALL_MIDDLE, {"seconds": 1}, DONE),
    ("newNonce", Fault.CUT_BEFORE, {"times": 2}, DONE),
    ("newOrder", Fault.STALL_BEFORE, {"seconds": 1}, DONE),
    ("*", Fault.CUT_BEFORE, {"rate": 0.2, "times": None}, DONE),
    ("*", Fault.BAD_NONCE, {"rate": 0.5, "times": None}, DONE),
    ("*", Fault.BAD_NONCE, {"times": 12}, DONE),
]


# What may happen at every resource: in `make test` only where it matters most.
EVERYWHERE = {
    Fault.UNAVAILABLE,
    Fault.HTML,
    Fault.ACCOUNT_UNKNOWN,
    Fault.NOT_FOUND,
    Fault.CUT_BEFORE,
    Fault.CUT_AFTER,
    Fault.CUT_MIDDLE,
    Fault.STALL_AFTER,
    Fault.STALL_MIDDLE,
}
MATTER_MOST = {"newOrder", "finalize", "certificate", "*"}


def parameter(row: tuple[str, Fault, dict[str, Any], Outcome]) -> Any:
    long = row[1] in EVERYWHERE and row[0] not in MATTER_MOST
    return pytest.param(row, id=row_name(row), marks=[pytest.mark.proof] if long else [])


def row_name(row: tuple[str, Fault, dict[str, Any], Outcome]) -> str:
    resource, fault, options, outcome = row
    said = ",".join(
        str(value.seconds) + value.zone if isinstance(value, Dated) else str(value) for value in options.values()
    )
    return f"{resource}-{fault.name.lower()}-{said[:20]}-{outcome.code or 'done'}"


@pytest.mark.parametrize("row", [parameter(row) for row in TABLE])
def test_each_fault_has_its_documented_outcome(ca: AcmeServer, row: tuple[str, Fault, dict[str, Any], Outcome]) -> None:
    resource, fault, options, outcome = row
    planned = ca.fault(resource, fault, **options)
    if resource == "authorization" and "after" in options:
        # The order is asked first: only where it is still pending are its names looked at again.
        ca.fault("order", Fault.STATUS, status="pending")
    order = order_for(account_at(ca), "a.example.test")
    settle(order)

    wanted = (states.FAILED if outcome.code else states.DONE, outcome.code)
    assert (order.state, order.error_code) == wanted, order.error_message[:500]
    assert planned.used
    assert (len(ca.orders), len(ca.issued)) == (outcome.orders, outcome.issued)
    nothing_lost(ca)
    assert bool(order.version) == (order.state == states.DONE)
    assert bool(order.error_message) == (order.state == states.FAILED)
    assert len(order.error_message) < 5000
    assert order.error_message.isprintable()
