"""Noticing visited names in handshakes: cheap, bounded, and never more than once a minute."""

import threading
import time

import pytest

from certs.domain.on_demand import HostList
from certs.services.on_demand import Asked
from portal.server import demand
from portal.server.demand import Demand


class Service:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def ask(self, name: str) -> Asked:
        self.go.wait(5)
        self.asked.append(name)
        if name == "fault.example.com":
            raise ValueError("a fault")
        return Asked("ordered", "")

    def wait_for(self, count: int) -> list[str]:
        deadline = time.monotonic() + 5
        while len(self.asked) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.asked


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(demand, "on_demand_ask", made.ask)
    monkeypatch.setattr(demand, "close_old_connections", lambda: None)
    monkeypatch.setattr(demand.connection, "close", lambda: None)
    return made


def following(*hosts: str) -> Demand:
    made = Demand()
    made.follow(HostList.of(hosts))
    return made


def test_only_allowed_names_are_asked_for(service: Service) -> None:
    noticing = following("a.example.com", "*.shops.example.com")
    for name in ("x.example.com", "A.example.com.", "b.shops.example.com", "192.0.2.7", "", "c.b.shops.example.com"):
        noticing.notice(name)
    assert service.wait_for(2) == ["a.example.com", "b.shops.example.com"]


def test_without_a_list_there_is_not_even_a_thread(service: Service) -> None:
    noticing = Demand()
    noticing.follow(HostList())
    noticing.notice("a.example.com")
    assert noticing._thread is None
    assert noticing._queue.empty()


def test_each_name_once_a_minute(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    noticing = following("a.example.com")
    for _ in range(50):
        noticing.notice("a.example.com")
    assert service.wait_for(1) == ["a.example.com"]
    later = time.monotonic() + 61
    with monkeypatch.context() as clock:
        clock.setattr(demand.time, "monotonic", lambda: later)
        noticing.notice("a.example.com")
    assert len(service.wait_for(2)) == 2


def test_a_flood_waits_in_a_short_queue_and_holds_nobody(service: Service) -> None:
    service.go.clear()
    noticing = following("*.shops.example.com")
    started = time.monotonic()
    for number in range(20_000):
        noticing.notice(f"n{number}.shops.example.com")
    assert time.monotonic() - started < 2
    assert noticing._queue.qsize() <= demand.WAITING
    assert len(noticing._asked) <= demand.KEPT
    service.go.set()
    assert len(service.wait_for(demand.WAITING)) <= demand.WAITING + 1
    # What was dropped was not marked as asked for: its next visitor asks.
    noticing.notice("n19999.shops.example.com")
    assert "n19999.shops.example.com" in service.wait_for(demand.WAITING + 2)


def test_a_fault_with_one_name_ends_nothing(service: Service) -> None:
    noticing = following("fault.example.com", "a.example.com")
    noticing.notice("fault.example.com")
    noticing.notice("a.example.com")
    assert service.wait_for(2) == ["fault.example.com", "a.example.com"]


def test_another_list_may_be_asked_for_at_once(service: Service) -> None:
    noticing = following("a.example.com")
    noticing.notice("a.example.com")
    service.wait_for(1)
    noticing.follow(HostList.of(["a.example.com", "b.example.com"]))
    noticing.notice("a.example.com")
    assert len(service.wait_for(2)) == 2
    noticing.follow(HostList())
    noticing.notice("b.example.com")
    assert len(service.asked) == 2
