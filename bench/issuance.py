"""Issuance against pebble through the real queue: certificates per second, and our CPU per certificate.

    .venv/bin/python -m bench.issuance [COUNT …]

A throw-away data directory, pebble that neither sleeps nor asks anybody to wait between polls (Retry-After 0; with 1,
as the tests have it, each order takes the second that we obey), the queue with two workers that advance up to eight
orders each. CPU is user + system of the cluster's processes; what answers the challenges is counted apart. Rows: 1 and
100 certificates of one name each. Beside them, in the same run and under the same conditions, lego as Debian has it: a
process for each certificate, with an account that is registered before. (It first looks after 5 s where the CA
names no time.)
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
AIM_ONE_SECONDS, AIM_MANY, AIM_PER_SECOND, AIM_CPU_MS = 0.6, 50, 20.0, 30.0
GIVE_UP_SECONDS = 180
QUEUE = "import django; django.setup(); from portal.server.cluster import main; main()"  # as the supervisor's child


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
    cluster = start("-c", QUEUE)
    rows = []
    try:
        with Pebble(http_port=port, retry_after=0) as ca:
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
    peer = lego()
    print(f"{'certificates':>16} {'seconds':>8} {'per second':>10} {'CPU each, ms':>12} {'answering, ms':>13}")
    for count, seconds, cpu, answering in rows:
        print(
            f"{count:>16} {seconds:>8.2f} {count / seconds:>10.1f} {cpu / count * 1000:>12.1f} "
            f"{answering / count * 1000:>13.1f}"
        )
    if peer:
        print(f"{'1 by lego':>16} {peer[0]:>8.2f} {1 / peer[0]:>10.1f} {peer[1] * 1000:>12.1f} {'within':>13}")
    return int(any(missed(*row[:3]) for row in rows))


def missed(count: int, seconds: float, cpu: float) -> bool:
    if count == 1:
        return seconds > AIM_ONE_SECONDS
    return count >= AIM_MANY and (count / seconds < AIM_PER_SECOND or cpu / count * 1000 > AIM_CPU_MS)


def lego() -> tuple[float, float] | None:
    """Seconds and CPU seconds of one certificate, the medians; None where lego is not here."""
    from tests.harness import counterparts
    from tests.harness.pebble import Pebble
    from tests.harness.ports import LOOPBACK, free_port

    try:
        program = counterparts.find("lego")
    except counterparts.Missing as error:
        print(error)
        return None
    port = free_port()
    with Pebble(http_port=port, retry_after=0) as ca, tempfile.TemporaryDirectory(prefix="bindery-lego-") as home:
        bundle = Path(home, "ca.pem")
        bundle.write_text(ca.ca_bundle_pem)
        common = [str(program), "--path", home, "--server", ca.directory_url, "--email", "a@example.test"]
        common += ["--accept-tos", "--key-type", "ec256", "--http", "--http.port", f"{LOOPBACK}:{port}"]
        runs = [once([*common, "--domains", f"h{number}.example.test", "run"], bundle) for number in range(6)]
    return statistics.median(wall for wall, _ in runs[1:]), statistics.median(used for _, used in runs[1:])


def once(command: list[str], bundle: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of a command that must succeed."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LEGO_CA_CERTIFICATES": str(bundle)})
    seconds, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


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
