"""Ports held by other programs, addresses that are not ours, and what answers in the portal's place."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from pytest_django import Settings

from certs.domain.diagnosis import Line, Look, Situation, State
from certs.domain.errors import Unavailable
from certs.domain.port80 import Mend
from certs.models import Listener
from certs.services.diagnosis import ports
from certs.services.node_diagnoses import node_is_here
from certs.services.nodes import node_name, supervisor_pid
from portal.server.lock import SupervisorLock
from tests.harness.ports import free_port

Told = Callable[[Look], dict[State, list[Line]]]
pytestmark = pytest.mark.django_db

_HOLDER = (
    "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler); "
    "print(s.server_port, flush=True); s.serve_forever()"
)


@pytest.fixture
def holder() -> Iterator[tuple[int, int]]:
    """A web server of somebody else's: its port and pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    yield int(process.stdout.readline()), process.pid
    process.kill()
    process.wait(5)
    process.stdout.close()


def listener(port: int, *addresses: str, protocol: str = "http") -> None:
    Listener.objects.create(node=node_name(), protocol=protocol, addresses=list(addresses), port=port)


def test_a_port_that_another_program_holds_is_red_and_names_it(told: Told, holder: tuple[int, int]) -> None:
    port, pid = holder
    listener(port, "127.0.0.1")
    lines = [line for line in told(ports.listeners)[State.BAD] if str(port) in line.sentence]
    assert len(lines) == 1
    assert f"process {pid}" in lines[0].sentence
    assert "Stop that program" in lines[0].mend


def test_a_holder_that_may_not_be_seen_is_told_by_its_answer(
    told: Told, holder: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "port_holder", lambda *_: "")
    listener(holder[0], "127.0.0.1")
    (line,) = [line for line in told(ports.listeners)[State.BAD] if str(holder[0]) in line.sentence]
    assert "Something else than this portal answers" in line.sentence


def test_without_the_secret_key_nobody_can_tell_what_answers(settings: Settings, situation: Situation) -> None:
    """A reason, not a fault of the check, whose traceback would stand between the lines."""
    settings.SECRET_KEY = ""
    listener(free_port(), "127.0.0.1")
    with pytest.raises(Unavailable, match="Without the secret key"):
        ports.listeners(situation)


def test_a_foreign_address_is_red(told: Told) -> None:
    listener(free_port(), "203.0.113.7")
    assert any("203.0.113.7" in line.sentence for line in told(ports.listeners)[State.BAD])


def test_a_free_port_is_red_only_while_the_portal_runs(situation: Situation, told: Told) -> None:
    port = free_port()
    listener(port, "127.0.0.1")
    assert any(f"127.0.0.1:{port}" in line.sentence for line in told(ports.listeners)[State.NOTE])
    lock = SupervisorLock(situation.home / "bindery.lock")
    lock.acquire()
    try:
        assert any(f"nobody listens on 127.0.0.1:{port}" in line.sentence for line in told(ports.listeners)[State.BAD])
    finally:
        lock.release()


def test_a_supervisor_is_seen_by_its_lock_and_never_disturbed(situation: Situation) -> None:
    assert supervisor_pid(situation.home) == 0
    lock = SupervisorLock(situation.home / "bindery.lock")
    lock.acquire()
    assert supervisor_pid(situation.home) == os.getpid()
    lock.release()
    assert supervisor_pid(situation.home) == 0
    lock.acquire()  # looking has not taken it
    lock.release()


def test_a_worker_node_listens_nowhere(told: Told) -> None:
    node_is_here("worker")
    found = told(ports.listeners)
    assert [line.sentence for line in found[State.OK]] == ["This node works on the queue and listens nowhere."]
    assert not found[State.NOTE]


def test_port_80_is_told_with_the_command_that_brings_it_here(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    mend = Mend("Port 80 is held by nginx.", "Put this into it:", "location / { }", "Then try again.")
    monkeypatch.setattr(ports, "port_80_mend_here", lambda: mend)
    (line,) = told(ports.port_80)[State.NOTE]
    assert (line.sentence, line.mend) == (mend.reason, "Put this into it:\nlocation / { }\nThen try again.")
    monkeypatch.setattr(ports, "port_80_mend_here", lambda: replace(mend, known=False))
    assert told(ports.port_80)[State.UNKNOWN]
    monkeypatch.setattr(ports, "port_80_mend_here", lambda: None)
    assert not any(told(ports.port_80).values())  # no listener of ours: nothing is known
    listener(8000, "0.0.0.0")
    assert told(ports.port_80)[State.OK]


def test_who_holds_port_443_is_named(told: Told, settings: Settings, holder: tuple[int, int]) -> None:
    settings.PROBE_TLS_PORT = holder[0]
    (line,) = told(ports.port_443)[State.NOTE]
    assert f"process {holder[1]}" in line.sentence
    settings.PROBE_TLS_PORT = free_port()
    assert not any(told(ports.port_443).values())
