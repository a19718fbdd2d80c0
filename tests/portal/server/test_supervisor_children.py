"""Children of the supervisor: they come back with a growing delay, end with all they forked, and never outlive it.

Each scene runs in a process of its own, since forking belongs to a process with one thread.
"""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.harness.artifacts import ROOT
from tests.harness.ports import wait_until

PRELUDE = """
import django, json, os, signal, sys, time
django.setup()
from portal.server import children
from portal.server.children import Child, children_stop, reap_orphans
def say(**facts): print(json.dumps(facts), flush=True)
def tend(child, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        child.tend(); time.sleep(0.01)
"""

MODULES = {
    "sleeper": "import time\ntime.sleep(60)\n",
    "failing": "import sys\nsys.exit(3)\n",
    "raising": "raise RuntimeError('broken')\n",
    "stubborn": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n",
    "family": (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(2):\n    os.fork()\nos.write(1, f'forked {os.getpid()}\\n'.encode())\ntime.sleep(60)\n"
    ),
    "owner": (
        "import os, sys\nmine = open(os.environ['MINE'], 'w')\nsys.stale.close()\nmine.write('written')\nmine.close()\n"
    ),
    "reporter": (
        "import json, os, sys\n"
        "files = [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "print(json.dumps({'argv': sys.argv, 'env': os.environ.get('GIVEN'), 'files': files}), flush=True)\n"
    ),
}


@pytest.fixture
def scene(tmp_path):
    for name, code in MODULES.items():
        (tmp_path / f"scene_{name}.py").write_text(code)
    started = []

    def start(code):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def lives(pid):
    """A zombie is dead: burying what was orphaned is up to the first process of the machine."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(scene, code):
    out, err = scene(code).communicate(timeout=30)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


def test_it_runs_as_a_program_with_its_own_files_only(scene, tmp_path):
    facts, _err = run(
        scene,
        f"""
kept, other = (os.open("{tmp_path}/" + name, os.O_RDWR | os.O_CREAT) for name in ("kept", "other"))
child = Child("test", "scene_reporter", ["one", "two"], env={{"GIVEN": "value"}}, fds=[kept])
child.start(); child.wait(5)
say(code=child.process.returncode)
""",
    )
    inside, outside = facts
    assert inside["argv"][1:] == ["one", "two"]
    assert inside["env"] == "value"
    assert str(tmp_path / "kept") in inside["files"]
    assert str(tmp_path / "other") not in inside["files"]
    assert outside["code"] == 0


def test_what_the_supervisor_left_in_memory_closes_no_file_of_the_child(scene, tmp_path):
    """A stale memory map once closed the database's number: its lock was gone, and rows were lost."""
    facts, err = run(
        scene,
        f"""
sys.stale = open("/dev/null")
child = Child("test", "scene_owner", env={{"MINE": "{tmp_path}/mine"}})
child.start(); child.wait(5)
say(code=child.process.returncode)
""",
    )
    assert facts == [{"code": 0}], err
    assert (tmp_path / "mine").read_text() == "written"


@pytest.mark.parametrize(("module", "code"), [("failing", 3), ("raising", 1)])
def test_it_comes_back_each_time_a_little_later(scene, module, code):
    facts, err = run(
        scene,
        f"""
children.FIRST_DELAY = 0.1
child = Child("test", "scene_{module}", delay=0.1)
starts = []
start = child.start
def noted(): starts.append(time.monotonic()); start()
child.start = noted
child.start()
tend(child, 2.0)
child.stop(); child.kill()
say(gaps=[round(b - a, 2) for a, b in zip(starts, starts[1:])])
""",
    )
    gaps = facts[0]["gaps"]
    assert 3 <= len(gaps) <= 5
    # A busy machine adds to each.
    assert all(gap >= 0.1 * 2**number for number, gap in enumerate(gaps)), gaps
    assert f"exit code {code}" in err


def test_the_delay_grows_to_a_minute_and_starts_over_after_a_quiet_minute(scene):
    facts, _err = run(
        scene,
        """
child = Child("test", "scene_sleeper")
delays = []
for lived in (0, 0, 0, 0, 0, 0, 0, 0, 61):
    child.start()
    child.started_at -= lived
    os.kill(child.pid, signal.SIGKILL)
    while child.running: time.sleep(0.01)
    before = time.monotonic()
    child.tend()
    delays.append(round(child.restart_at - before))
say(delays=delays)
""",
    )
    assert facts[0]["delays"] == [1, 2, 4, 8, 16, 32, 60, 60, 1]


def test_one_that_does_not_hear_term_is_killed_with_all_it_forked(scene):
    process = scene(
        """
import psutil
child = Child("test", "scene_family", grace=0.5)
child.start()
while len(psutil.Process(child.pid).children(recursive=True)) < 3: time.sleep(0.05)
time.sleep(1)
began = time.monotonic()
children_stop([child])
say(took=time.monotonic() - began)
time.sleep(0.2)
"""
    )
    out, _err = process.communicate(timeout=20)
    forked = [int(line.split()[1]) for line in out.splitlines() if line.startswith("forked")]
    assert len(forked) == 4
    took = json.loads(out.splitlines()[-1])["took"]
    assert 0.4 < took < 6
    assert not any(map(lives, forked))


def test_a_killed_supervisor_leaves_no_orphan(scene):
    process = scene(
        """
child = Child("test", "scene_family")
child.start()
time.sleep(60)
"""
    )
    assert process.stdout
    forked = [int(process.stdout.readline().split()[1]) for _ in range(4)]
    assert all(map(lives, forked))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(lives, forked)), timeout=3, what="the end of all descendants")


def test_a_restart_takes_the_old_one_s_place_even_when_it_hangs(scene):
    facts, _err = run(
        scene,
        """
child = Child("test", "scene_stubborn")
child.start()
time.sleep(0.7)
old = child.pid
child.restart(0.3)
child.tend()
say(old=old, new=child.pid, running=child.running)
child.kill()
""",
    )
    assert facts[0]["running"]
    assert facts[0]["old"] != facts[0]["new"]
    assert not psutil.pid_exists(facts[0]["old"])


def test_orphans_are_buried_and_children_are_left_to_their_owner(scene):
    facts, _err = run(
        scene,
        """
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0: os._exit(0)
    os._exit(0)
child = Child("test", "scene_failing")
child.start()
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has buried it
for _ in range(5): reap_orphans([child]); child.running; time.sleep(0.05)
reap_orphans([child])
try:
    left = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    left = None
say(code=child.process.returncode, left=left)
""",
    )
    assert facts[0] == {"code": 3, "left": None}


def test_a_signal_of_the_terminal_reaches_the_supervisor_only(scene):
    process = scene(
        """
child = Child("test", "scene_sleeper")
child.start()
say(group=os.getpgid(child.pid), own=os.getpgid(0), pid=child.pid)
child.kill()
"""
    )
    out, _err = process.communicate(timeout=10)
    facts = json.loads(out)
    assert facts["group"] == facts["pid"] != facts["own"]
