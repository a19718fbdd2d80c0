"""Kills a worker at every step of an order and lets another go on; run as a program by test_kill.py.

Some orders are to take another way: the first challenge fails, the first CA refuses, a rehearsal goes before.

Prints one JSON line per kill point. Django is loaded once; each worker is a forked child, so a kill is a real SIGKILL
of a real process, with its connections, its session and its lease.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any


def main(directory_url: str, bundle_file: str, refusing_url: str, refusing_bundle_file: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    from django.conf import settings

    django.setup()
    settings.LEASE_SECONDS, settings.LEASE_RENEW_SECONDS = 0.6, 0.2
    from pathlib import Path

    from django.db import connections

    from certs.services.accounts import account_get_or_create

    def account(number: int, url: str = directory_url, bundle: str = bundle_file) -> Any:
        return account_get_or_create(
            directory_url=url,
            email=f"{number}@example.test",
            ca_bundle=Path(bundle).read_text(),
            allow_private=True,
            terms_url="data:text/plain,Do%20what%20thou%20wilt",
            actor="test",
        )

    for number, (when, what, kind) in enumerate(POINTS):
        if kind == "fallback":
            order = make_order(account(number, refusing_url, refusing_bundle_file), number, kind, account(number))
        else:
            order = make_order(account(number), number, kind)
        connections.close_all()
        died = run(lambda when=when, what=what: (arm(when, what), advance()))
        connections.close_all()
        runs = 0
        while not finished(order) and runs < 20:
            connections.close_all()
            run(advance)
            runs += 1
            time.sleep(0.1)
        print(json.dumps({"point": f"{when} {what} ({kind})", "died": died, **result(order)}), flush=True)


# Before and after the save that ends each step, after each request that changes something at the CA, and around what
# is stored and decided between them; with the kind of order.
POINTS = [
    *(
        (when, state, "order")
        for state in ("registered", "ordered", "challenged", "ready", "finalized", "issued", "done")
        for when in ("before", "after")
    ),
    ("after", "account_register", "order"),
    ("after", "order_new", "order"),
    ("after", "challenge_answer", "order"),
    ("after", "order_finalize", "order"),
    ("after", "certificate_read", "order"),
    *(("after", what, "order") for what in ("key_new", "challenges_store", "challenges_clean")),
    *((when, "_other_challenge", "challenge") for when in ("before", "after")),
    *((when, "_other_issuer", "fallback") for when in ("before", "after")),
    *((when, what, "rehearsal") for what in ("rehearsal_follow", "done") for when in ("before", "after")),
]
REHEARSALS = sum(kind == "rehearsal" for _, _, kind in POINTS)
# Where what is called between two saves is looked up.
FUNCTIONS = {
    "key_new": "order_start",
    "challenges_store": "order_answers",  # inside its transaction
    "challenges_clean": "order_advance",
    "_other_challenge": "order_turns",
    "_other_issuer": "order_turns",
    "rehearsal_follow": "order_download",  # inside its transaction
}


def make_order(account: Any, number: int, kind: str, fallback: Any = None) -> Any:
    from certs.models import AcmeDirectory, Order
    from certs.services.certificates import certificate_new
    from certs.services.issue_options import IssueOptions
    from certs.services.orders import order_create
    from certs.services.rehearsals import AFTER_FAILURE, rehearsal_account

    name = f"kill{number}.example.test"
    options = IssueOptions(fallbacks=(fallback,) if fallback else ())
    certificate = certificate_new(name=name, names=[name], account=account, actor="test", options=options)
    if kind == "rehearsal":  # the same CA under another address is another directory
        url = account.directory_url.replace("localhost", "127.0.0.1")
        AcmeDirectory.objects.update_or_create(directory_url=account.directory_url, defaults={"rehearsal_url": url})
        staging = rehearsal_account(account, actor="test")
        return order_create(certificate, reason=AFTER_FAILURE, actor="test", rehearsal=staging).pk
    order = order_create(certificate, reason="asked", actor="test")
    if kind == "challenge":  # nobody answers TLS
        Order.objects.filter(pk=order.pk).update(challenge_kind="tlsalpn01")
    return order.pk


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
    if what in FUNCTIONS:
        module = import_module(f"certs.services.{FUNCTIONS[what]}")
        called = getattr(module, what)

        def call(*args: Any, **options: Any) -> Any:
            if when == "after":
                called(*args, **options)
            die()

        setattr(module, what, call)
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

    return not Order.objects.filter(certificate__orders=pk, finished_at=None).exists()


def result(pk: Any) -> dict[str, Any]:
    """Of the order; where it was a rehearsal, of the one that followed."""
    from certs.models import Challenge, Order

    asked = Order.objects.get(pk=pk)
    real = asked.certificate.orders.filter(rehearsal=False)
    order = real.first() or asked
    return {
        "state": order.state,
        "error": order.error_message,
        "orders": real.count(),
        "versions": order.certificate.versions.count(),
        "restarts": order.restarts,
        "challenges": Challenge.objects.filter(order__certificate=order.certificate).count(),
        "serial": order.version.serial if order.version else "",
    }


if __name__ == "__main__":
    main(*sys.argv[1:5])
