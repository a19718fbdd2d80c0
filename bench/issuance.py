"""Issuance against pebble through the real queue: certificates per second, and our CPU per certificate.

    .venv/bin/python -m bench.issuance [COUNT …]

A throw-away data directory, pebble without its sleeps, one qcluster with two workers that advance up to eight orders
each. CPU is user + system of the cluster's processes; what answers the challenges is counted apart. Rows: 1 and 100
certificates of one name each.
"""

# Django is set up only once the data directory is known.
# ruff: noqa: PLC0415

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
COUNTS = (1, 100)
ONE_REPEATED = 5  # a single certificate is measured so often; the median is shown
GIVE_UP_SECONDS = 180


def main(counts: tuple[int, ...]) -> int:
    with tempfile.TemporaryDirectory(prefix="bindery-bench-") as home:
        os.environ |= {
            "BINDERY_HOME": home,
            "BINDERY_QUEUE_WORKERS": "2",
            "BINDERY_LOG_LEVEL": "warning",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        return measure(counts)


def measure(counts: tuple[int, ...]) -> int:
    from tests.harness.issuing import account_at, order_for
    from tests.harness.pebble import Pebble
    from tests.harness.ports import free_port

    port = free_port()
    answers = start("-c", "from tests.e2e.answers import main; main()", str(port))
    cluster = start("manage.py", "qcluster", "--skip-checks")
    rows = []
    try:
        with Pebble(http_port=port) as ca:
            account = account_at(ca)
            warm(order_for(account))
            for count in counts:
                repeat = ONE_REPEATED if count == 1 else 1
                runs = [run(account, count, cluster, answers) for _ in range(repeat)]
                rows.append((count, *(statistics.median(column) for column in zip(*runs, strict=True))))
    finally:
        for process in (cluster, answers):
            process.terminate()
        for process in (cluster, answers):
            process.wait(timeout=30)
    print(f"{'certificates':>12} {'seconds':>8} {'per second':>10} {'CPU each, ms':>12} {'answering, ms':>13}")
    for count, seconds, cpu, answering in rows:
        print(
            f"{count:>12} {seconds:>8.2f} {count / seconds:>10.1f} {cpu / count * 1000:>12.1f} "
            f"{answering / count * 1000:>13.1f}"
        )
    return 0


def run(
    account: Any, count: int, cluster: subprocess.Popen[bytes], answers: subprocess.Popen[bytes]
) -> tuple[float, ...]:
    """Seconds from the wish to the last certificate, CPU seconds of the cluster and of the answers."""
    from tests.harness.issuing import order_for

    before = cpu(cluster.pid), cpu(answers.pid)
    began = time.perf_counter()
    orders = [order_for(account).pk for _ in range(count)]
    await_all(orders)
    seconds = time.perf_counter() - began
    return seconds, cpu(cluster.pid) - before[0], cpu(answers.pid) - before[1]


def warm(order: Any) -> None:
    """Both workers load their modules, and sessions are opened, before anything is measured."""
    await_all([order.pk])


def await_all(orders: list[Any]) -> None:
    from certs.models import Order

    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        left = Order.objects.filter(pk__in=orders, finished_at=None).count()
        if not left:
            failed = Order.objects.filter(pk__in=orders).exclude(state="done")
            if failed:
                raise SystemExit(f"{len(failed)} orders failed, for example: {failed[0].error_message}")
            return
        time.sleep(0.05)
    raise SystemExit(f"Not finished within {GIVE_UP_SECONDS} s; see the log above.")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=dict(os.environ))


def cpu(pid: int) -> float:
    """User and system time of a process and its living children."""
    process = psutil.Process(pid)
    return sum(
        times.user + times.system + times.children_user + times.children_system
        for times in (member.cpu_times() for member in [process, *process.children(recursive=True)])
    )


if __name__ == "__main__":
    sys.exit(main(tuple(int(argument) for argument in sys.argv[1:]) or COUNTS))
