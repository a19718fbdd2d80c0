"""Upgrades rehearsed from the first released schema on: a real start on it, what must be found again, the way back."""

import contextlib
import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.artifacts import ROOT
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.tls import served_fingerprint
from tests.upgrade.release import PASSWORD, PLACE, SECRET

pytestmark = pytest.mark.e2e

RELEASES = sorted(file.name.removesuffix(".sql.gz") for file in PLACE.glob("*.sql.gz"))
UNFIT = 6
RING = KeyRing("test", {"test": b"0" * 32}).to_json()  # of tests/settings.py
_FOUND = f"""
from hashlib import sha256
from certs.domain.keys import key_to_der
from certs.models import Certificate, Channel, JobEvent, Order, PrivateKey, User
from certs.services.channels import channel_make
from certs.services.keys import key_open
from django.contrib.auth import authenticate
held = PrivateKey.objects.exclude(sealed="")
result = {{
    "keys": {{str(row.pk): sha256(key_to_der(key_open(row))).hexdigest() for row in held}},
    "certificates": sorted(Certificate.objects.values_list("name", flat=True)),
    "orders": {{str(row.pk): JobEvent.objects.filter(job=row.pk).count() for row in Order.objects.all()}},
    "person": User.objects.get(email="admin@example.com").check_password({PASSWORD!r}),
    "hook": channel_make(Channel.objects.get()).options.url == {SECRET!r},
}}
"""


def load(release: str, home: Path) -> dict[str, Any]:
    """The data directory as that release left it; returns what has to be found again."""
    dump = gzip.decompress((PLACE / f"{release}.sql.gz").read_bytes()).decode()
    with contextlib.closing(sqlite3.connect(home / "bindery.sqlite3")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(dump)
    for name, text in (("bindery.sqlite3", None), ("keyring.json", RING), ("secret_key", "test-only-secret-key")):
        (home / name).touch(0o600)
        if text:
            (home / name).write_text(text)
    found: dict[str, Any] = json.loads((PLACE / f"{release}.json").read_text())
    return found


def tables(file: Path) -> str:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return "\n".join(line for line in database.iterdump() if "sqlite_sequence" not in line)


def migrations(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return {name for (name,) in database.execute("SELECT name FROM django_migrations WHERE app = 'certs'")}


def way_back(text: str) -> str:
    """The line as it was printed."""
    (line,) = [line.strip() for line in text.splitlines() if line.startswith("  rm -f ")]
    return line


def test_a_release_is_never_forgotten() -> None:
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_start_on_the_database_of_a_release(release: str, tmp_path: Path) -> None:
    expected = load(release, tmp_path)
    before = tables(tmp_path / "bindery.sqlite3")
    with Portal(home=tmp_path) as portal:
        found = portal.run(_FOUND)
        assert found["keys"].items() >= expected["keys"].items()
        assert found["certificates"] == expected["certificates"]
        assert found["orders"][expected["order"]] >= expected["lines"]
        assert found["person"]
        assert found["hook"]
        for name, fingerprint in expected["served"].items():
            wait_until(
                lambda: served_fingerprint(portal.https_port, name) == fingerprint,  # noqa: B023
                timeout=15,
                what=f"{name} served",
            )
        assert portal.get("/readyz").status_code == 200
        assert portal.manage("take_over", "--look").stdout.startswith("Nothing is held")
        (snapshot,) = (tmp_path / "snapshots").iterdir()
        assert snapshot.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "snapshots").stat().st_mode & 0o777 == 0o700
        assert tables(snapshot) == before
        assert b64encode(b"0" * 30) not in snapshot.read_bytes()  # the ring
        assert str(snapshot) in portal.log
        told = portal.log
        portal.restart()
        assert [snapshot] == list((tmp_path / "snapshots").iterdir())  # nothing was pending
        portal.stop()
    subprocess.run(way_back(told), shell=True, check=True)
    assert tables(tmp_path / "bindery.sqlite3") == before
    assert not (tmp_path / "bindery.sqlite3-wal").exists()


def refused(portal: Portal, code: int = UNFIT) -> str:
    already = len(portal.log)
    portal.start(wait=False)
    wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of a start that cannot succeed")
    said = portal.log[already:]
    assert portal.process.returncode == code, said
    assert "Traceback" not in said
    return said


def test_a_newer_database_is_refused_by_every_command_naming_the_way_back(tmp_path: Path) -> None:
    load("0.1.0", tmp_path)
    portal = Portal(home=tmp_path)
    portal.manage("migrate")
    (snapshot,) = (tmp_path / "snapshots").iterdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "bindery.sqlite3")) as database, database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('certs', '9999_later', '2030-01-01')"
        )
    before = tables(tmp_path / "bindery.sqlite3")
    for command in (("break_glass",), ("migrate",)):
        done = portal.manage(*command, check=False)
        assert done.returncode == UNFIT, done
        assert "9999_later" in done.stderr
        assert str(snapshot) in done.stderr
        assert done.stderr.count("\n") == 1
    assert "9999_later" in refused(portal)
    assert portal.manage("backup", str(tmp_path / "saved")).returncode == 0  # a way out must stay
    assert tables(tmp_path / "bindery.sqlite3") == before


def test_commands_wait_for_tables_that_are_still_the_old_ones(tmp_path: Path) -> None:
    load("0.1.0", tmp_path)
    done = Portal(home=tmp_path).manage("renew", "--due", check=False)
    assert done.returncode == UNFIT
    assert "manage.py migrate" in done.stderr


def test_a_migration_that_fails_says_where_it_left_the_database(tmp_path: Path) -> None:
    load("0.1.0", tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "bindery.sqlite3")) as database, database:
        database.execute("CREATE TABLE certs_portalidentity (x)")  # in the way of 0004
    before = tables(tmp_path / "bindery.sqlite3")
    portal = Portal(home=tmp_path)
    for _ in range(2):  # whoever starts it again and again
        said = refused(portal)
        assert "0004_places failed" in said
        assert "The database is as it was" in said
    assert tables(tmp_path / "bindery.sqlite3") == before
    assert len(list((tmp_path / "snapshots").iterdir())) == 1


def test_without_room_for_a_snapshot_nothing_is_changed(tmp_path: Path) -> None:
    load("0.1.0", tmp_path)
    (tmp_path / "snapshots").touch()  # no directory can be made there
    before = migrations(tmp_path / "bindery.sqlite3")
    portal = Portal(home=tmp_path)
    assert "no snapshot could be made" in refused(portal)
    assert migrations(tmp_path / "bindery.sqlite3") == before
    done = portal.manage("migrate", environment={"BINDERY_MIGRATE_WITHOUT_SNAPSHOT": "1"})
    assert "no way back" in done.stdout
    assert "0004_places" in migrations(tmp_path / "bindery.sqlite3")


def test_tables_are_not_changed_under_a_running_portal_and_a_backup_is_whole(portal: Portal, tmp_path: Path) -> None:
    done = portal.manage("migrate", "certs", "0003", check=False)
    assert done.returncode == 4
    assert "already running" in done.stderr
    with written_to(portal.home / "bindery.sqlite3"):
        for number in range(3):
            file = tmp_path / f"saved-{number}"
            portal.run(f"from certs.services.snapshots import *\ndatabase_backup(Path({str(file)!r}))\nresult = 1")
            with contextlib.closing(sqlite3.connect(file)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert len(database.execute("SELECT DISTINCT moment FROM load").fetchall()) == 1
            assert file.stat().st_mode & 0o777 == 0o600
            assert b64encode(b"0" * 30) not in file.read_bytes()
    assert portal.manage("backup", str(tmp_path / "saved"), check=False).returncode == 0
    done = portal.manage("backup", str(tmp_path / "saved"), check=False)
    assert done.returncode == 4
    assert "there already" in done.stderr


@contextlib.contextmanager
def written_to(file: Path) -> Iterator[None]:
    """All rows of a table are given the next moment again and again, in one transaction each."""
    over = threading.Event()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as database:
            database.execute("CREATE TABLE load (moment INTEGER, text TEXT)")
            database.executemany("INSERT INTO load VALUES (0, ?)", [("x" * 500,)] * 500)
            database.commit()
            begun.set()
            while not over.is_set():
                database.execute("UPDATE load SET moment = moment + 1")
                database.commit()

    begun = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(20)
        yield
    finally:
        over.set()
        writer.join()


def printed(heading: str) -> list[str]:
    """The commands of docs/upgrade.md under a heading, as they stand there."""
    text = (ROOT / "docs" / "upgrade.md").read_text().partition(f"\n## {heading}\n")[2]
    return text.partition("```\n")[2].partition("```")[0].splitlines()


@pytest.mark.proof
def test_the_commands_of_the_manual_save_and_restore_a_portal(tmp_path: Path) -> None:
    """On another machine, as far as a directory can be one: all that is said to be saved, and nothing else."""
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there, tmp_path / "backup", tmp_path / "elsewhere"):
        place.mkdir()
    for place in (here, there):
        (place / ".venv").symlink_to(sys.prefix)
        (place / "manage.py").symlink_to(ROOT / "manage.py")

    def shell(line: str, place: Path, portal: Portal) -> None:
        for saved in ("/backup", "/elsewhere"):
            line = line.replace(f" {saved}/", f" {tmp_path}{saved}/")
        environment = {**portal._environ(), "BINDERY_HOME": str(place / "data")}
        subprocess.run(line, shell=True, check=True, cwd=place, env=environment)

    (here / "data").mkdir(mode=0o700)
    with Portal(home=here / "data", own_secrets=True) as first:
        first.run(
            "from certs.services.certificates import *\n"
            "from certs.services.bindings import binding_set\n"
            "binding_set('a.test', certificate_self_sign(name='a', names=['a.test'], actor='t'), actor='t')"
        )
        wait_until(lambda: served_fingerprint(first.https_port, "a.test") != served_fingerprint(first.https_port, "b"),
                   timeout=15, what="it served")  # fmt: skip
        fingerprint = served_fingerprint(first.https_port, "a.test")
        for line in printed("What to save"):
            shell(line, here, first)
    shutil.rmtree(here / "data")
    second = Portal(home=there / "data", own_secrets=True)
    before, after = printed("Restore")[:-2], printed("Restore")[-1]
    assert printed("Restore")[-2] == "make run"
    for line in before:
        shell(line, there, second)
    with second:
        wait_until(lambda: served_fingerprint(second.https_port, "a.test") == fingerprint, timeout=15, what="it served")
        assert "saved database" in second.log
        shell(after, there, second)
        assert second.manage("take_over", "--look").stdout.startswith("Nothing is held")


def test_a_running_node_says_that_its_code_is_older(portal: Portal) -> None:
    """As in a rolling upgrade: TLS goes on, the load balancer sends no pages, no order begins."""
    fingerprint = served_fingerprint(portal.https_port, "any.test")
    with contextlib.closing(sqlite3.connect(portal.home / "bindery.sqlite3", timeout=20)) as database, database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('certs', '9999_later', '2030-01-01')"
        )
    answer = portal.get("/readyz")
    assert answer.status_code == 503
    assert "9999_later" in answer.text
    assert portal.get("/healthz").status_code == 200
    assert served_fingerprint(portal.https_port, "any.test") == fingerprint


_STORE = """
from certs.models import Certificate, CertificateName, CertificateVersion, RoleGrant, User
from certs.services.filters import Filters
from certs.services.search import certificates_search
versions = CertificateVersion.objects.all()
result = {
    "unread": [row.subject for row in versions if not row.key_type],
    "issuers": sorted(set(versions.values_list("issuer_name", flat=True))),
    "late": [row.name for row in Certificate.objects.exclude(current=None) if row.expires_at != row.current.not_after],
    "labels": sorted(CertificateName.objects.filter(kind="label").values_list("name", flat=True)),
    "found": sorted({row.name for row in certificates_search("test", Filters(text="own")).rows}),
    "viewers": RoleGrant.objects.filter(role="viewer").count(),
    "people": User.objects.filter(is_superuser=False).count(),
}
"""


def test_what_a_release_stored_can_be_searched_and_taken_back(tmp_path: Path) -> None:
    expected = load("0.1.0", tmp_path)
    portal = Portal(home=tmp_path)
    for target in ([], ["certs", "0004"], []):  # the second time on what the way back left
        portal.manage("migrate", *target, "--verbosity", "0")
    try:
        found = portal.run(_STORE)
    finally:
        portal._close_shell()
    assert (found["unread"], found["late"]) == ([], [])
    assert "" not in found["issuers"]
    assert found["labels"] == sorted(name.lower() for name in expected["certificates"])
    assert found["found"] == [name for name in expected["certificates"] if "own" in name.lower()] != []
    assert found["viewers"] == found["people"]
