import os
import signal
import subprocess
import sys

import pytest

from certs.domain.errors import ConflictError
from portal.server.lock import SupervisorLock
from tests.harness.artifacts import ROOT


def hold(file):
    """Another process that holds the lock until it is killed."""
    code = (
        "import sys; from pathlib import Path; from portal.server.lock import SupervisorLock; "
        "lock = SupervisorLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_second_one_is_told_who_holds_it(tmp_path):
    holder = hold(tmp_path / "lock")
    try:
        with pytest.raises(ConflictError) as refused:
            SupervisorLock(tmp_path / "lock").acquire()
    finally:
        end(holder)
    assert f"process {holder.pid}" in refused.value.message
    assert str(tmp_path) in refused.value.message


def test_a_killed_holder_leaves_it_free(tmp_path):
    end(hold(tmp_path / "lock"))
    lock = SupervisorLock(tmp_path / "lock")
    lock.acquire()
    assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    lock.release()


def test_released_it_can_be_taken_again(tmp_path):
    for _ in range(2):
        lock = SupervisorLock(tmp_path / "lock")
        lock.acquire()
        lock.release()
        lock.release()
