"""Kills a worker at every step of an order and lets another go on; run as a program by test_kill.py.

Prints one JSON line per kill point. Django is loaded once; each worker is a forked child, so a kill is a real SIGKILL
of a real process, with its connections, its session and its lease.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


def main(directory_url: str, bundle_file: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    from django.conf import settings

    django.setup()
    settings.LEASE_SECONDS, settings.LEASE_RENEW_SECONDS = 0.6, 0.2
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    from pathlib import Path

    from certs.services.accounts import account_get_or_create

    def account(number: int) -> Any:
        return account_get_or_create(
            directory_url=directory_url,
            email=f"{number}@example.test",
            ca_bundle=Path(bundle_file).read_text(),
            allow_private=True,
            terms_url="accepted",
            actor="test",
        )

    for number, (when, what) in enumerate(POINTS):
        order = make_order(account(number), number)
        connections.close_all()
        died = run(lambda when=when, what=what: (arm(when, what), advance()))
        connections.close_all()
        runs = 0
        while not finished(order) and runs < 20:
            connections.close_all()
            run(advance)
            runs += 1
            time.sleep(0.1)
        print(json.dumps({"point": f"{when} {what}", "died": died, **result(order)}), flush=True)


# Before and after the save that ends each step, and after each request that changes something at the CA.
POINTS = [
    *(
        (when, state)
        for state in ("registered", "ordered", "challenged", "ready", "finalized", "issued", "done")
        for when in ("before", "after")
    ),
    ("after", "account_register"),
    ("after", "order_new"),
    ("after", "challenge_answer"),
    ("after", "order_finalize"),
    ("after", "certificate_read"),
]


def make_order(account: Any, number: int) -> Any:
    from certs.services.certificates import certificate_new
    from certs.services.orders import order_create

    name = f"kill{number}.example.test"
    certificate = certificate_new(name=name, names=[name], account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test").pk


def run(work: Callable[[], Any]) -> bool:
    """In a forked child; True when it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def advance() -> None:
    from certs.services.order_runner import orders_run

    orders_run(lanes=2, claim_seconds=2)


def arm(when: str, what: str) -> None:
    from certs.acme.client import AcmeClient
    from certs.services.order_flow import Flow

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if hasattr(AcmeClient, what):
        asked = getattr(AcmeClient, what)

        def ask(self: Any, *args: Any, **options: Any) -> Any:
            asked(self, *args, **options)
            die()

        setattr(AcmeClient, what, ask)
        return
    move = Flow.move

    def moved(self: Flow, after: str, *args: Any, **options: Any) -> None:
        if after == what and when == "before":
            die()
        move(self, after, *args, **options)
        if after == what:
            die()

    Flow.move = moved  # type: ignore[method-assign]


def finished(pk: Any) -> bool:
    from certs.models import Order

    return Order.objects.get(pk=pk).finished_at is not None


def result(pk: Any) -> dict[str, Any]:
    from certs.models import Challenge, Order

    order = Order.objects.get(pk=pk)
    return {
        "state": order.state,
        "error": order.error_message,
        "orders": order.certificate.orders.count(),
        "versions": order.certificate.versions.count(),
        "restarts": order.restarts,
        "challenges": Challenge.objects.filter(order=order).count(),
        "serial": order.version.serial if order.version else "",
    }


if __name__ == "__main__":
    main(*sys.argv[1:3])
