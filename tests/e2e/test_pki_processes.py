"""Lists signed by several processes at once, some killed between signing and storing: no number ever stands for two
lists, and nothing that was revoked is missing. On SQLite and PostgreSQL; tests/services/test_crls.py has threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

_RACE = """
import os, signal
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate
from certs.services import crls
from certs.services.authorities import authority_create
from certs.services.issued import authority_issue
from certs.services.pki import pki_base_url_confirm
from certs.services.revocations import version_revoke
from cryptography import x509
from django.db import connections

pki_base_url_confirm("http://pki.example.com", actor="test")
root = authority_create(Wish(profile="root", subject="CN=Race Root", days=3650), actor="test")
rows = [
    authority_issue(root, Wish(hosts=(f"host{n}.example.com",), days=90), actor="test", auto_renew=False).pk
    for n in range(PROCESSES * EACH)
]
real = crls._crl_store

def work(number):
    turn = 0
    def store(row, made):
        nonlocal turn
        turn += 1
        if number == 0 and turn == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # signed, and never stored
        stored = real(row, made)
        if stored:
            with open("FILE", "a") as file:
                file.write(f"{made.number} {hash(made.der)}\\n")
        return stored
    crls._crl_store = store
    for pk in rows[number * EACH : (number + 1) * EACH]:
        version_revoke(Certificate.objects.get(pk=pk).current, "superseded", actor="test")

connections.close_all()
children = []
for number in range(PROCESSES):
    child = os.fork()
    if child == 0:
        try:
            work(number)
        finally:
            os._exit(0)
    children.append(child)
ends = [os.waitpid(child, 0)[1] for child in children]
crls.crl_sweep()
root.refresh_from_db()
found = x509.load_der_x509_crl(bytes(root.crl_der))
revoked = root.issued.exclude(revoked_at=None)
result = {
    "killed": sum(os.WIFSIGNALED(end) for end in ends),
    "revoked": revoked.count(),
    "listed": sum(found.get_revoked_certificate_by_serial_number(int(row.serial, 16)) is not None for row in revoked),
    "entries": len(found),
    "numbers": [line.split()[0] for line in open("FILE")],
}
"""


def race(portal: Portal, file: Path, processes: int, each: int) -> None:
    code = _RACE.replace("PROCESSES", str(processes)).replace("EACH", str(each)).replace("FILE", str(file))
    seen = portal.run(code)
    assert seen["killed"] == 1
    assert seen["revoked"] >= (processes - 1) * each + 1  # the killed one had written into the register before
    assert seen["listed"] == seen["entries"] == seen["revoked"]
    assert len(seen["numbers"]) >= (processes - 1) * each / 2
    assert len(set(seen["numbers"])) == len(seen["numbers"])


def test_on_sqlite(tmp_path: Path) -> None:
    portal = Portal()
    try:
        race(portal, tmp_path / "lists.txt", 4, 4)
    finally:
        portal._end(failed=False)


@pytest.fixture
def server() -> Iterator[Postgres]:
    need("postgresql")
    with Postgres() as running:
        yield running


def test_on_postgresql(server: Postgres, tmp_path: Path) -> None:
    home = tmp_path / "node"
    home.mkdir()
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    portal = Portal(home=home, environment={"DATABASE_URL": server.url, **secrets})
    portal.manage("migrate", "--verbosity", "0")
    try:
        race(portal, tmp_path / "lists.txt", 6, 12)
    finally:
        portal._end(failed=False)
