"""The export of a running portal: a node that only serves writes too, and readers never see halves."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.ports import wait_until

pytestmark = pytest.mark.e2e

NAME = "shop.example.test"


@pytest.fixture
def portal() -> Iterator[Portal]:
    """A node without a worker, under an umask that would let everybody read."""
    environment = {"BINDERY_EXPORT": "1", "BINDERY_EXPORT_MODE": "0640"}
    before = os.umask(0)
    try:
        with Portal(environment=environment, arguments=["--role", "web"]) as running:
            yield running
    finally:
        os.umask(before)


@pytest.fixture
def data(portal: Portal) -> Iterator[PortalData]:
    with PortalData(portal.home) as data:
        yield data


def read(folder: Path) -> tuple[str, bool]:
    """Fingerprint of the leaf, and whether the key beside it is its own; the directory is opened once."""
    directory = os.open(folder / "current", os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = {}
        for name in ("cert.pem", "privkey.pem"):
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=directory), "rb") as stream:
                found[name] = stream.read()
    finally:
        os.close(directory)
    leaf = x509.load_pem_x509_certificate(found["cert.pem"])
    key = load_pem_private_key(found["privkey.pem"], None)
    fits = key.public_key() == leaf.public_key()
    return hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(), fits


def test_files_follow_the_database_and_nobody_reads_a_mixed_pair(portal: Portal, data: PortalData) -> None:
    folder = portal.home / "acme" / NAME
    wanted = data.call("bind", NAME)
    wait_until((folder / "current").exists, timeout=20, what="the first files")
    assert read(folder) == (wanted, True)
    wrong: list[str] = []
    readings = 0
    stop = threading.Event()

    def reader() -> None:
        nonlocal readings
        while not stop.is_set():
            fingerprint, fits = read(folder)
            readings += 1
            if not fits:
                wrong.append(fingerprint)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for _ in range(3):
            wanted = data.call("renew", NAME)
            wait_until(lambda wanted=wanted: read(folder)[0] == wanted, timeout=20, what="the renewed files")
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert readings > 50
    for path in folder.glob("*/*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    row = portal.rows("SELECT count, trouble FROM certs_nodeexport")
    assert row == [{"count": 1, "trouble": ""}]
    assert "PRIVATE KEY" not in portal.log


def test_what_cannot_be_written_is_seen_in_the_status_and_mended_by_itself(portal: Portal, data: PortalData) -> None:
    (portal.home / "acme").mkdir(exist_ok=True)
    (portal.home / "acme" / NAME).write_text("in the way")
    wanted = data.call("bind", NAME)
    wait_until(
        lambda: "Not everything could be exported" in portal.get("/statusz").text, timeout=20, what="the trouble"
    )
    (portal.home / "acme" / NAME).unlink()
    portal.manage("export_certificates")  # the portal, which looks again by itself, may be quicker
    assert read(portal.home / "acme" / NAME) == (wanted, True)
    assert "Not everything could be exported" not in portal.get("/statusz").text
