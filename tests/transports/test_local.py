"""Programs that misbehave: too long, too loud, with children left behind."""

import os
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from certs.transports import local
from certs.transports.local import OUTPUT, run

ENV = {"PATH": "/usr/bin:/bin"}


def test_what_it_reads_says_and_ends_with() -> None:
    ran = run(["/bin/sh", "-c", "cat; echo oh >&2; exit 3"], env=ENV, seconds=10, stdin=b"hello")
    assert (ran.code, ran.stdout, ran.stderr) == (3, "hello", "oh\n")


def test_its_environment_is_what_it_is_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDERY_SECRET_KEY", "ours")
    ran = run(["/usr/bin/env"], env={"ONLY": "this"}, seconds=10)
    assert ran.stdout == "ONLY=this\n"


def test_its_time_has_an_end_and_its_children_go_with_it() -> None:
    begun = time.monotonic()
    ran = run(["/bin/sh", "-c", "sleep 60 & echo $!; sleep 60"], env=ENV, seconds=0.3)
    assert ran.code is None
    assert time.monotonic() - begun < 5
    _gone(int(ran.stdout))


def test_what_it_leaves_running_is_ended_and_not_waited_for() -> None:
    begun = time.monotonic()
    ran = run(["/bin/sh", "-c", "sleep 60 & echo $!"], env=ENV, seconds=30)
    assert ran.code == 0
    assert time.monotonic() - begun < 5
    _gone(int(ran.stdout))


def test_a_flood_of_words_is_cut_and_does_not_block() -> None:
    ran = run(["/bin/sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2"], env=ENV, seconds=20)
    assert ran.code == 0
    assert ran.stdout == "x" * OUTPUT
    assert ran.stderr == "end\n"


def test_input_that_nobody_reads_is_no_error() -> None:
    assert run(["/bin/true"], env=ENV, seconds=10, stdin=b"x" * 1_000_000).code == 0


def test_a_signal_is_told_from_a_code() -> None:
    assert run(["/bin/sh", "-c", "kill -TERM $$"], env=ENV, seconds=10).code == -15


def test_no_descriptor_of_ours_is_open_in_it(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        ran = run(["/bin/ls", "/proc/self/fd"], env=ENV, seconds=10)
    assert set(ran.stdout.split()) <= {"0", "1", "2", "3"}  # the fourth is the directory that ls reads


def test_what_cannot_be_started_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        run([tmp_path / "none"], env=ENV, seconds=1)


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    pytest.fail("it still runs")


def test_a_resolver_that_hangs_does_not_hold_up_the_machine_s_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.machine_name() == socket.getfqdn()
    over = threading.Event()
    monkeypatch.setattr(socket, "getfqdn", lambda: "late" if over.wait(10) else "")
    started = time.monotonic()
    assert local.machine_name(0.2) == socket.gethostname()
    assert time.monotonic() - started < 5
    over.set()
