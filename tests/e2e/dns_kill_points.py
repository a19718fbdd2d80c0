"""Kills a worker around every change of the zone and lets another go on; run as a program by test_dns_kill.py.

Prints one JSON line per kill point. Each worker is a forked child that dies by a real SIGKILL, as in kill_points.py.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.e2e.kill_points import advance, arm, finished, result, run
from tests.harness.bind import KEY, SECRET
from tests.harness.ports import LOOPBACK

POINTS = [
    ("before", "record_add"),
    ("after", "record_add"),
    ("before", "challenged"),
    ("after", "challenged"),
    ("after", "challenge_answer"),
    ("before", "done"),
    ("after", "done"),
    ("before", "record_remove"),
    ("after", "record_remove"),
]


def main(directory_url: str, bundle_file: str, dns_port: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["BINDERY_DNS_RESOLVERS"] = os.environ["BINDERY_DNS_AUTHORITIES"] = f"{LOOPBACK}:{dns_port}"
    import django
    from django.conf import settings

    django.setup()
    settings.LEASE_SECONDS, settings.LEASE_RENEW_SECONDS = 0.6, 0.2
    from django.db import connections

    from certs.models import Challenge
    from certs.services.accounts import account_get_or_create
    from certs.services.challenges import challenges_clean
    from portal import clock

    by = _method(int(dns_port))
    for number, (when, what) in enumerate(POINTS):
        account = account_get_or_create(
            directory_url=directory_url,
            email=f"{number}@example.test",
            ca_bundle=Path(bundle_file).read_text(),
            allow_private=True,
            terms_url="data:text/plain,Do%20what%20thou%20wilt",
            actor="test",
        )
        order = _order(account, by, f"kill{number}.one.test")
        connections.close_all()
        died = run(lambda when=when, what=what: (_arm(when, what), advance()))
        for _ in range(20):
            if finished(order):
                break
            connections.close_all()
            run(advance)
            time.sleep(0.1)
        # What waits for its turn to be cleaned is due by now: a minute has passed, say.
        Challenge.objects.exclude(clean_at=None).update(clean_at=clock.now())
        challenges_clean()
        print(json.dumps({"point": f"{when} {what}", "died": died, **result(order)}), flush=True)


def _arm(when: str, what: str) -> None:
    import signal

    from certs.solvers.dns01_rfc2136 import Dns01Rfc2136

    if not hasattr(Dns01Rfc2136, what):
        arm(when, what)
        return
    change = getattr(Dns01Rfc2136, what)

    def changed(*args: Any) -> Any:
        if when == "after":
            change(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Dns01Rfc2136, what, changed)


def _method(dns_port: int) -> Any:
    from uuid import uuid4

    from certs.models import ChallengeMethod
    from certs.services.options import options_store
    from certs.solvers.dns01_rfc2136 import Dns01Rfc2136

    options = Dns01Rfc2136.Options(server=LOOPBACK, port=dns_port, key=KEY, secret=SECRET, timeout=3)
    uid = uuid4()
    shown, sealed = options_store(options, purpose=ChallengeMethod.PURPOSE, uid=uid)
    return ChallengeMethod.objects.create(id=uid, name="BIND", kind="dns01_rfc2136", options=shown, sealed=sealed)


def _order(account: Any, by: Any, name: str) -> Any:
    from certs.services.certificates import certificate_new
    from certs.services.issue_options import IssueOptions
    from certs.services.orders import order_create

    options = IssueOptions(challenge_method=by)
    names = [name, f"*.{name}"]
    certificate = certificate_new(name=name, names=names, account=account, actor="test", options=options)
    return order_create(certificate, reason="asked", actor="test").pk


if __name__ == "__main__":
    main(*sys.argv[1:4])
