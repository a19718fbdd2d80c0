"""One at a time: across threads and processes, with an end to the patience, and no turn left behind by the dead."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from certs.domain.errors import Unavailable
from certs.services import alone as module
from certs.services.alone import alone

pytestmark = pytest.mark.django_db

HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module.home, "path", lambda: tmp_path)
    return tmp_path


def test_threads_take_turns(home: Path) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with alone("one zone"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.005)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_other_names_do_not_wait(home: Path) -> None:
    with alone("one"), alone("two"):
        assert len(list((home / "turns").iterdir())) == 2


def test_patience_has_an_end_and_the_dead_hold_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    with alone("one"):
        pass
    (file,) = (home / "turns").iterdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Unavailable), alone("one"):
            pytest.fail("somebody else holds it")
        holder.kill()
    with alone("one"):
        pass


def test_an_error_inside_gives_the_turn_back(home: Path) -> None:
    with pytest.raises(RuntimeError), alone("one"):
        raise RuntimeError
    with alone("one"):
        pass
