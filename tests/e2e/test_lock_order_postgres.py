"""On PostgreSQL rows are locked in one order: certificates first, then the settings. What two want at once both get."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.harness.artifacts import ROOT
from tests.harness.need import need
from tests.harness.postgres import Postgres

pytestmark = pytest.mark.e2e

SETUP = """
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.portal_state import state_update
ca = {"directory_url": "https://ca.example/dir", "terms_url": "https://ca.example/t"}
account = account_get_or_create(**ca, email="", actor="test")
portal = certificate_new(name="portal.example", names=["portal.example"], account=account, actor="test")
visited = certificate_new(name="a.example", names=["a.example"], account=account, actor="test", on_demand=True)
state_update(portal_certificate=portal)
"""
# A renewal has written its certificate and not yet the generation, when a person presses a button.
CASE = """
import sys, threading, time
import django
django.setup()
from django.db import connection, transaction
from certs.models import Certificate, Order
from certs.services.lets_encrypt import Wish, lets_encrypt_register
from certs.services.on_demand import on_demand_change
from certs.services.portal_state import generation_bump, generation_wanted, state_get

account = Certificate.objects.get(name="portal.example").account

def register():
    lets_encrypt_register(Wish("https://ca.example/dir", ["portal.example"], "", "https://ca.example/t"), actor="test")

def listed():
    hosts = [] if state_get().on_demand_hosts else ["a.example"]
    on_demand_change(on=bool(hosts), hosts=hosts, account=account, actor="test")

name, press = {"register": ("portal.example", register), "on demand": ("a.example", listed)}[sys.argv[1]]
faults, wrote = [], threading.Event()

def person():
    wrote.wait(10)
    try:
        press()
    except Exception as fault:
        faults.append(repr(fault))
    finally:
        connection.close()

def waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]

thread = threading.Thread(target=person)
thread.start()
with transaction.atomic():
    Certificate.objects.filter(name=name).update(failures=0)
    wrote.set()
    until = time.monotonic() + 15
    while not waits() and time.monotonic() < until:
        time.sleep(0.02)
    met = bool(waits())
    generation_bump()
thread.join(20)
print("met" if met else "never met", faults, flush=True)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    need("postgresql")
    home = tmp_path_factory.mktemp("home")
    with Postgres() as server:
        secrets = {"BINDERY_TEST_OWN_SECRETS": "0", "DJANGO_SETTINGS_MODULE": "tests.settings"}
        given = {**os.environ, **secrets, "DATABASE_URL": server.url, "BINDERY_HOME": str(home)}
        _run(given, "-m", "django", "migrate", "--verbosity", "0")
        _run(given, "-c", f"import django\ndjango.setup()\n{SETUP}")
        yield given


def _run(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("button", ["register", "on demand"])
def test_a_button_pressed_while_a_renewal_is_saved_waits_and_is_done(environment: dict[str, str], button: str) -> None:
    assert _run(environment, "-c", CASE, button) == "met []\n"


def test_two_who_register_at_once_make_one_order(environment: dict[str, str]) -> None:
    """What the lock is for."""
    both = """
import threading
import django
django.setup()
from django.db import connection
from certs.models import Certificate, Order
from certs.services.lets_encrypt import Wish, lets_encrypt_register
gate = threading.Barrier(6)
def press():
    gate.wait(20)
    lets_encrypt_register(Wish("https://ca.example/dir", ["new.example"], "", "https://ca.example/t"), actor="test")
    connection.close()
threads = [threading.Thread(target=press) for _ in range(6)]
[each.start() for each in threads]
[each.join(30) for each in threads]
print(Certificate.objects.filter(name="new.example").count(), Order.objects.filter(names=["new.example"]).count())
"""
    assert _run(environment, "-c", both) == "1 1\n"
