"""Certificates change under load: nothing fails, nobody serves the old one, and a process that cannot is found out."""

import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.harness.load import Load, one_kept, seen
from tests.harness.portal_data import PortalData
from tests.harness.rounds import rounds
from tests.harness.web import Web, ask, eventually, get, make_home, read_reply, tls_connect, web_running

pytestmark = pytest.mark.e2e

SHORT = {"DJANGO_SETTINGS_MODULE": "tests.harness.short_deadlines"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


@pytest.fixture
def data(home: Path) -> Iterator[PortalData]:
    with PortalData(home) as data:
        yield data


def await_served(web: Web, data: PortalData, generation: int) -> None:
    eventually(
        lambda: (
            len(data.call("rows")) == web.workers and all(row["generation"] >= generation for row in data.call("rows"))
        ),
        timeout=5,
    )


@rounds("length", (5_000, 20), (50_000, 200))
def test_no_request_fails_while_certificates_change(home: Path, data: PortalData, length: tuple[int, int]) -> None:
    requests, swaps = length
    data.call("bind", "")
    stale: list[str] = []
    slowest = 0.0
    with web_running(home, workers=2, threads=8, env=SHORT) as web, Load(web.secure, kept=4, fresh=4) as load:
        for swap in itertools.count(1):
            wanted = data.call("renew", "")
            started = time.monotonic()
            await_served(web, data, data.call("generation"))
            slowest = max(slowest, time.monotonic() - started)
            stale += [found for found in (seen(web.secure) for _ in range(4)) if found != wanted]
            if swap >= swaps and load.total >= requests:
                break
    assert load.failures == []
    assert stale == []
    assert load.total >= requests
    assert min(load.counts) > 50
    assert slowest < 3
    print(f"{load.total} requests during {swap} swaps, 0 failed; the slowest swap took {slowest:.2f} s")


def test_a_process_that_cannot_load_is_not_green(home: Path, data: PortalData) -> None:
    data.call("bind", "")
    flag = home / "fail"
    options = {"conf": "python:tests.harness.failing_conf", "env": {"BINDERY_TEST_FAIL": str(flag)}, "workers": 3}
    with web_running(home, **options) as web:
        data.call("listen", web.secure[1])
        old = seen(web.secure)
        flag.touch()
        wanted = data.call("renew", "")
        generation = data.call("generation")
        eventually(lambda: sorted(row["generation"] >= generation for row in data.call("rows")) == [False, True, True])
        result = data.call("wait", "", 1)
        assert result["ok"] is False
        assert "1 of 3" in result["detail"]
        assert "made this process fail" in result["detail"]
        # Nobody is without service, and all three answer: two with the new one, one with the last good one.
        found = {seen(web.secure) for _ in range(60)}
        assert found <= {old, wanted}
        assert wanted in found
        assert "ALARM" in web.log
        flag.unlink()
        assert data.call("wait", "", 10) == {"ok": True, "fingerprint": wanted, "detail": result_of(web)}
        assert {seen(web.secure) for _ in range(30)} == {wanted}


def result_of(web: Web) -> str:
    return f"127.0.0.1:{web.secure[1]} serves it."


def test_names_are_answered_by_their_own_certificate(home: Path, data: PortalData) -> None:
    with web_running(home) as web:
        assert seen(web.secure) == data.call("placeholder")
        default, exact, wild = data.call("bind", ""), data.call("bind", "a.test"), data.call("bind", "*.b.test")
        await_served(web, data, data.call("generation"))
        expected = {None: default, "unknown.test": default, "a.test": exact, "x.b.test": wild, "x.y.b.test": default}
        assert {name: seen(web.secure, name) for name in expected} == expected


def test_a_broken_pair_keeps_the_last_good_one(home: Path, data: PortalData) -> None:
    wanted = data.call("bind", "")
    with web_running(home, workers=2) as web:
        data.call("spoil", "")
        eventually(lambda: all("does not belong" in row["error"] for row in data.call("rows")))
        assert {seen(web.secure) for _ in range(20)} == {wanted}
        data.call("mend", "")
        eventually(lambda: all(row["error"] == "" for row in data.call("rows")), timeout=10)


def test_the_portal_starts_with_a_broken_binding(home: Path, data: PortalData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.harness.web.START_SECONDS", 1.5)
    data.call("bind", "")
    good = data.call("bind", "a.test")
    data.call("spoil", "")
    web = Web(home)
    with closing(web):
        with pytest.raises(TimeoutError):
            web.start()  # it waits for a generation that is served whole, which cannot be
        assert seen(web.secure, "a.test") == good
        assert seen(web.secure) == data.call("placeholder")
        assert ask(web.plain, get()).status == 200


def test_a_killed_worker_leaves_no_row_and_comes_back(home: Path, data: PortalData) -> None:
    with web_running(home, workers=2) as web:
        eventually(lambda: len(data.call("rows")) == 2)
        victim = web.workers_of(web.processes[0])[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in {row["pid"] for row in data.call("rows")})
        eventually(lambda: len(data.call("rows")) == 2, timeout=10)
        assert ask(web.secure, get(), tls=True).status == 200


def test_rows_go_with_their_processes(home: Path, data: PortalData) -> None:
    with web_running(home, workers=2) as web:
        eventually(lambda: len(data.call("rows")) == 2)
        web.processes[0].terminate()
        assert web.processes[0].wait(60) == 0
        assert data.call("rows") == []


# Stopping.


def test_a_recycled_worker_drops_nothing(home: Path, data: PortalData) -> None:
    with web_running(home, workers=2, threads=8) as web, Load(web.secure, kept=6, fresh=2) as load:
        for _ in range(4):
            victim = web.workers_of(web.processes[0])[0]
            os.kill(victim, signal.SIGTERM)
            eventually(lambda victim=victim: not psutil.pid_exists(victim), timeout=15)
            time.sleep(0.3)
    assert load.failures == []
    assert load.total > 500


def test_one_arbiter_takes_over_from_another(home: Path, data: PortalData) -> None:
    """As after a rebind: the sockets stay open, the old arbiter is ended."""
    with web_running(home, workers=1, threads=8) as web, Load(web.secure, kept=6, fresh=2, wait=0.02) as load:
        for _ in range(3):
            old = web.processes[-1]
            web.start()
            old.terminate()
            assert old.wait(60) == 0
    assert load.failures == []
    assert load.total > 300


def test_what_has_begun_is_answered_before_the_end(home: Path) -> None:
    with web_running(home) as web, ExitStack() as stack:
        slow, idle = tls_connect(web.secure), tls_connect(web.secure)
        fresh = socket.create_connection(web.plain, timeout=15)
        half = socket.create_connection(web.plain, timeout=15)
        for sock in (slow, idle, fresh, half):
            stack.enter_context(sock)
        one_kept(idle)
        slow.sendall(get("/?sleep=1.5"))
        half.sendall(get()[:20])
        time.sleep(0.2)
        web.processes[0].terminate()
        time.sleep(0.8)
        half.sendall(get()[20:])
        fresh.sendall(get())
        idle.sendall(get())
        for sock in (idle, fresh, half):
            reply = read_reply(sock)
            assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert read_reply(slow).status == 200
        assert web.processes[0].wait(60) == 0
