"""How long `manage.py up` takes on a prepared data directory, and how much memory the idle portal holds.

    python -m bench.start

Seconds run from starting the command until /healthz answers over plain HTTP and over TLS. Memory is the sum of PSS
(shared pages counted once, in shares) over all processes of the portal, after it was idle for a while. The settings are
the real ones, on a throw-away data directory and free ports.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.harness.portal import Portal

ROUNDS = 5
IDLE_SECONDS = 15.0
AIM_SECONDS = 5.0
AIM_MEGABYTES = 300.0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bindery-bench-") as home:
        return measure(Portal(home=Path(home), settings="portal.settings", own_secrets=True, lock_port=True))


def measure(portal: Portal) -> int:
    portal.start()  # prepares the directory, and is not measured
    portal.stop()
    seconds = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        portal.start()
        seconds.append(time.perf_counter() - began)
        if number < ROUNDS - 1:
            portal.stop()
    time.sleep(IDLE_SECONDS)
    rows = sorted(memory(portal), reverse=True)
    portal.stop()
    total = sum(megabytes for megabytes, _ in rows)
    print(f"start: {statistics.median(seconds):.2f} s median of {ROUNDS} (aim {AIM_SECONDS:g} s at most)")
    print(f"idle:  {total:.0f} MB PSS in {len(rows)} processes (aim {AIM_MEGABYTES:g} MB at most)")
    for megabytes, name in rows:
        print(f"{megabytes:>9.1f} MB  {name}")
    return int(statistics.median(seconds) > AIM_SECONDS or total > AIM_MEGABYTES)


def memory(portal: Portal) -> list[tuple[float, str]]:
    root = psutil.Process(portal.process.pid)
    family = [root, *root.children(recursive=True)]
    return [(each.memory_full_info().pss / 1e6, " ".join(each.cmdline())[-60:] or each.name()) for each in family]


if __name__ == "__main__":
    sys.exit(main())
