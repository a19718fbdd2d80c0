"""The listener moves to and fro under load, kept or not: no request fails, and only what was confirmed stays."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.load import Load
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.ports import LOOPBACK, free_port, is_listening, wait_until
from tests.harness.rounds import rounds

pytestmark = pytest.mark.e2e

EVERY, ONE = ["0.0.0.0", "::"], [LOOPBACK]


@pytest.fixture
def portal() -> Iterator[Portal]:
    environment = {"BINDERY_TEST_CONFIRM_SECONDS": "120"}
    with Portal(settings="tests.harness.short_confirm", environment=environment) as running:
        yield running


@pytest.fixture
def data(portal: Portal) -> Iterator[PortalData]:
    with PortalData(portal.home) as data:
        yield data


def state(portal: Portal, rebind: str) -> str:
    return str(portal.rows("SELECT state FROM certs_rebind WHERE id = ?", rebind)[0]["state"])


def move(portal: Portal, data: PortalData, addresses: list[str], port: int, *, keep: bool) -> None:
    """One change of the listener up to its end."""
    rebind = data.call("rebind", addresses, port)
    wait_until(lambda: state(portal, rebind) not in {"wished", "opening"}, timeout=30, what="the new address")
    assert state(portal, rebind) == "awaiting", portal.log[-2000:]
    data.call("confirm" if keep else "lapse", rebind)
    end = "settled" if keep else "returned"
    wait_until(lambda: state(portal, rebind) == end, timeout=60, what=f"the end of a change to be {end}")


@rounds("count", 1, 20)
def test_no_request_fails_while_the_listener_moves(portal: Portal, data: PortalData, count: int) -> None:
    dice = random.Random(count)
    moves: Counter[str] = Counter()
    old, total = portal.https_port, 0
    here = (LOOPBACK, old)
    with Load(here, kept=3, fresh=3, wait=0.02, path="/healthz") as load:
        for number in range(count):
            for addresses, label in ((ONE, "to one address"), (EVERY, "to all of them")):
                if number == 0 or dice.random() < 0.3:
                    move(portal, data, addresses, old, keep=False)
                    moves[f"{label}, not kept"] += 1
                move(portal, data, addresses, old, keep=True)
                moves[f"{label}, kept"] += 1
                assert load.failures == [], f"round {number}, {label}"
        # Another port: nobody at the old one notices while it is not kept.
        new = free_port()
        move(portal, data, EVERY, new, keep=False)
        wait_until(lambda: not is_listening(new), timeout=20, what="the end of the port that was not kept")
    assert load.failures == []
    total += load.total
    assert min(load.counts) > 20
    assert portal.rows("SELECT port FROM certs_listener WHERE protocol = 'https'") == [{"port": old}]

    # Kept: the old port is closed once the new one answers, and so it stays after a restart.
    rebind = data.call("rebind", EVERY, new)
    wait_until(lambda: state(portal, rebind) == "awaiting", timeout=30, what="the new port")
    with Load((LOOPBACK, new), kept=2, fresh=2, wait=0.02, path="/healthz") as load:
        data.call("confirm", rebind)
        wait_until(lambda: state(portal, rebind) == "settled", timeout=60, what="the new port to be kept")
        wait_until(lambda: not is_listening(old), timeout=20, what="the end of the old port")
    assert load.failures == []
    total += load.total
    portal.https_port = new
    portal.restart()
    assert not is_listening(old)
    assert len(portal.rows("SELECT id FROM certs_rebind WHERE finished_at IS NULL")) == 0
    print(f"{total} requests, 0 failed, during {sum(moves.values()) + 2} moves: {dict(moves)}, and to another port")
