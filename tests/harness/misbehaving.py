"""What the tests of a misbehaving CA share: the server with short waits, the run of an order, and what always holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.harness.acme_server import AcmeServer, Fault
from tests.harness.issuing import Responder

ROUNDS = 60
# What a step asks the CA first; a 503 there leaves the order in the step's state.
ASKED_FIRST = {
    "new": "newAccount",
    "registered": "newOrder",
    "ordered": "authorization",
    "challenged": "challenge",
    "ready": "finalize",
    "finalized": "certificate",
}


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[AcmeServer]:
    """The server on the portal's clock, and a client whose patience is half a second instead of half a minute."""
    from certs.acme.network import Network
    from certs.acme.sessions import sessions_forget
    from certs.services import order_flow, runner
    from portal import clock

    monkeypatch.setattr(runner, "_SOON", timedelta(0))  # it does not wait for what the clock is moved to
    monkeypatch.setattr(order_flow, "POLL_DEADLINE_SECONDS", 0.5)
    monkeypatch.setitem(Network.__init__.__kwdefaults__, "read_seconds", 0.5)
    with Responder() as responder, AcmeServer(http_port=responder.port, clock=clock.now) as ca:
        yield ca
        sessions_forget()


def settle(*orders: Any, most: int = ROUNDS, ahead: float = 0) -> float:
    """Run the orders to their end, or for so many rounds; between two of them the clock goes ahead to the next attempt
    and the process forgets all it knows, as a restart does. Returns how far ahead the clock is, in seconds."""
    from django.conf import settings

    from certs.acme.sessions import sessions_forget
    from certs.services.order_runner import orders_run
    from portal import clock

    file: Path = settings.TEST_CLOCK_FILE
    for _ in range(most):
        sessions_forget()
        orders_run()
        for order in orders:
            order.refresh_from_db()
        waiting = [order.next_attempt_at for order in orders if order.finished_at is None]
        if not waiting:
            break
        ahead += max((min(waiting) - clock.now()).total_seconds(), 0) + 0.001
        file.write_text(str(ahead))
    return ahead


def stop_at(ca: AcmeServer, order: Any, state: str) -> None:
    """Run the order to where it is in this state, and nothing is known of it in memory."""
    planned = ca.fault(ASKED_FIRST[state], Fault.UNAVAILABLE)
    settle(order, most=1)
    assert (planned.used, order.state) == (1, state), order.error_message


def nothing_lost(ca: AcmeServer) -> None:
    """What holds whatever the CA does: no Retry-After was disregarded, no answer is left, no key was lost."""
    from certs.models import Challenge, PrivateKey

    assert not ca.early, ca.early
    assert not Challenge.objects.exists()
    keys = set(PrivateKey.objects.exclude(sealed="").values_list("spki_sha256", flat=True))
    assert {spki(leaf) for leaf in ca.issued} <= keys


def spki(leaf: Any) -> str:
    return sha256(leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
