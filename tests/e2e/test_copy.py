"""Two portals with one data directory, and what looks like it: only one orders, until a person says which."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_up_certificates import NAME, is_proven, wish
from tests.harness import namespace
from tests.harness.artifacts import ROOT
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_port, wait_until
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ca() -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def directory(ca: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a portal that has a certificate, of which ten days are left."""
    home = tmp_path_factory.mktemp("original")
    with Portal(home=home, http_port=ca.http_port, arguments=wish(ca, "--accept-le-sa")) as portal:
        wait_until(lambda: is_proven(portal, ca), timeout=60, what="the certificate served")
        portal.stop()
        portal.move_clock(timedelta(days=80))
    return home


def orders(portal: Portal) -> int:
    return portal.count("certs_order")


def codes(portal: Portal) -> dict[str, Any]:
    return {check["code"]: check["ok"] for check in portal.get("/statusz").json()["checks"]}


def tick(portal: Portal) -> None:
    """What the schedule does every few minutes, and all that a person may try."""
    portal.manage("check_certificates", "--inline", check=False)
    done = portal.manage("renew", NAME, "--force", "--inline", check=False)
    assert done.returncode == 4
    assert "take_over" in done.stdout + done.stderr


def test_a_copy_beside_the_original_orders_nothing_until_it_is_the_portal(ca: Pebble, directory: Path) -> None:
    copy = Path(shutil.copytree(directory, directory.with_name("copy"), copy_function=shutil.copy2))
    issued = ca.issued()
    with Portal(home=copy) as second:
        before = served_fingerprint(second.https_port, NAME)
        assert "take_over" in second.log  # it stands alone now: its turn would be first
        with Portal(home=directory, http_port=ca.http_port) as first:
            wait_until(lambda: ca.issued() == issued + 1, timeout=60, what="the renewal by the original")
            wait_until(lambda: served_fingerprint(first.https_port, NAME) != before, timeout=20, what="it served")
            assert "held" not in {code for code, ok in codes(first).items() if not ok}
            tick(second)
        assert ca.issued() == issued + 1
        assert orders(second) == 1
        assert served_fingerprint(second.https_port, NAME) == before
        assert not codes(second)["held"]
        assert second.rows("SELECT key FROM certs_alarm WHERE cleared_at IS NULL AND key = 'identity'")
        second.stop()
    with Portal(home=copy, http_port=ca.http_port) as second:  # it moves to where the original was
        assert "from now on" in second.manage("take_over").stdout
        wait_until(lambda: ca.issued() == issued + 2, timeout=60, what="the renewal by the copy")
        wait_until(lambda: served_fingerprint(second.https_port, NAME) != before, timeout=20, what="it served")
        assert codes(second)["held"]


@pytest.mark.proof
def test_an_older_database_put_back_is_held(ca: Pebble, directory: Path) -> None:
    portal = Portal(home=directory, http_port=ca.http_port)
    saved = directory.with_name("saved.sqlite3")
    portal.manage("backup", str(saved))
    with portal:
        pass
    shutil.copyfile(saved, directory / "bindery.sqlite3")
    issued, count = ca.issued(), orders(portal)
    with portal:
        assert "older database" in portal.log
        tick(portal)
        assert (ca.issued(), orders(portal)) == (issued, count)
        assert portal.manage("take_over").returncode == 0
        assert codes(portal)["held"]


def test_a_container_made_anew_on_its_volume_is_the_same_portal(directory: Path, tmp_path: Path) -> None:
    """Another host name, machine id, path and mount, as a new image gives them."""
    if reason := namespace.refusal():
        pytest.skip(f"left out: private namespaces: {reason}")
    portal = Portal(home=directory)
    assert portal.manage("take_over", "--look").stdout.startswith("Nothing is held")
    machine, elsewhere = tmp_path / "machine-id", tmp_path / "volume"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    elsewhere.mkdir()
    steps = (
        f"hostname other-container && mount --bind {directory} {elsewhere} && "
        f"if [ -e /etc/machine-id ]; then mount --bind {machine} /etc/machine-id; fi && "
        f"{sys.executable} manage.py take_over --look"
    )
    flags = [*namespace._unshare(), "--uts"]
    environment = {**portal._environ(), "BINDERY_HOME": str(elsewhere), "BINDERY_NODE": "another"}
    done = subprocess.run(
        [*flags, "sh", "-c", steps], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("Nothing is held"), done
