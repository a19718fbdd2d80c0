"""What the queue calls. Each takes ids at most, calls services, and may run twice."""

import logging
from collections.abc import Callable, Iterable

from certs.services.account_changes import accounts_settle
from certs.services.alarm_delivery import alarms_deliver
from certs.services.alarm_watch import alarms_sweep
from certs.services.bulk import bulk_run
from certs.services.challenges import challenges_clean
from certs.services.client_auth import client_auth_tidy
from certs.services.crls import crl_sweep
from certs.services.directories import directories_check
from certs.services.export import export_run
from certs.services.front import front_tidy
from certs.services.front_check import front_watch
from certs.services.https import hsts_advance
from certs.services.installation_follow import installations_follow
from certs.services.installation_runner import installations_run
from certs.services.lets_encrypt import lets_encrypt_settle
from certs.services.method_tests import method_test_run, method_tests_sweep
from certs.services.on_demand import on_demand_forget
from certs.services.order_leftovers import leftovers_give_up
from certs.services.order_proofs import orders_prove_again
from certs.services.order_runner import orders_run
from certs.services.orders import LEFTOVERS
from certs.services.pki_watch import pki_watch
from certs.services.prune import prune_run
from certs.services.queue import queue_begun
from certs.services.renewal_info import renewal_info_refresh
from certs.services.revocations import revocation_check_run
from certs.services.sweeps import sweep_run

log = logging.getLogger("bindery.tasks")

TELL: tuple[Callable[[], object], ...] = (alarms_sweep, alarms_deliver)
# In this order: the lists of our own CAs need nobody else. Other CAs are heard before it is decided, each within a
# minute, and people are told what came out before anybody else's network is waited for. What was bound late is bound,
# and the front looked at, before HSTS is weighed.
TICK: tuple[Callable[[], object], ...] = (
    crl_sweep,
    renewal_info_refresh,
    revocation_check_run,
    sweep_run,
    installations_follow,
    *TELL,
    lets_encrypt_settle,
    client_auth_tidy,
    front_tidy,
    front_watch,
    pki_watch,
    hsts_advance,
    challenges_clean,
    on_demand_forget,
    export_run,
    method_tests_sweep,
    leftovers_give_up,
    directories_check,
    orders_prove_again,
    accounts_settle,
    *TELL,
)
# What was just issued is installed, exported and learns its next check, what just failed is told: now, not later.
AFTER_ORDERS: tuple[Callable[[], object], ...] = (sweep_run, installations_follow, *TELL, export_run)


def run_orders() -> int:
    advanced = orders_run()
    if advanced:
        _each(AFTER_ORDERS)
    return advanced


def run_installations() -> int:
    done = installations_run()
    if done:
        _each(TELL)
    return done


def tick() -> None:
    """Every few minutes. One step's trouble must not keep the others from their turn, least of all the sweep."""
    _each(TICK)


def _each(steps: Iterable[Callable[[], object]]) -> None:
    for step in steps:
        try:
            step()
        except Exception:  # whatever it was: /statusz tells when no sweep comes to its end
            log.exception("%s failed", step.__name__)


def give_up_leftovers() -> int:
    queue_begun(LEFTOVERS)
    return leftovers_give_up()


def run_method_test(method_id: str) -> None:
    method_test_run(method_id)


def run_bulk(job_id: str) -> None:
    bulk_run(job_id)


def prune() -> str:
    return str(prune_run())
