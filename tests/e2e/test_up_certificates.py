"""Certificates without a browser: `up --hostnames`, `up --create-certificates`, files put into the data directory."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.harness import container_marks, pki
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_port, is_listening, wait_until
from tests.harness.tls import all_serve, served, served_fingerprint

pytestmark = pytest.mark.e2e

NAME, OTHER = "portal.test", "www.portal.test"


def wish(ca: Pebble, *more: str) -> Sequence[str]:
    return ["--hostnames", f"{NAME},{OTHER}", "--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file),
            "--allow-private-ca", "--email", "alice@example.com", *more]  # fmt: skip


def refused(portal: Portal) -> str:
    portal.start(wait=False)
    wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of a start that cannot succeed")
    assert portal.process.returncode == 4
    assert "Traceback" not in portal.log
    return portal.log


def test_names_on_the_command_line_bring_one_certificate_once() -> None:
    need("pebble")
    port = free_port()
    with Pebble(http_port=port) as ca, Portal(http_port=port, arguments=wish(ca, "--accept-le-sa")) as portal:
        wait_until(lambda: is_proven(portal, ca), timeout=60, what="the certificate served")
        assert "was requested from" in portal.log
        first = served_fingerprint(portal.https_port, NAME)
        portal.restart()
        wait_until(lambda: "nothing was requested" in portal.log, timeout=10, what="what the second start says")
        assert served_fingerprint(portal.https_port, NAME) == first
        portal.move_clock(timedelta(days=1))
        portal.restart()
        assert served_fingerprint(portal.https_port, OTHER) == first
        assert ca.issued() == 1
        assert (portal.count("certs_order"), portal.count("certs_acmeaccount")) == (1, 1)


def is_proven(portal: Portal, ca: Pebble) -> bool:
    try:
        served(portal.https_port, NAME, roots_pem=ca.root_pem())
        served(portal.https_port, OTHER, roots_pem=ca.root_pem())
    except OSError:  # ssl.SSLError is one: the placeholder still answers
        return False
    return portal.rows("SELECT state FROM certs_order") == [{"state": "done"}]


def test_terms_that_were_not_accepted_end_the_start_naming_them(tmp_path: Path) -> None:
    need("pebble")
    with Pebble(http_port=free_port()) as ca:
        portal = Portal(home=tmp_path, arguments=wish(ca))
        said = refused(portal)
        assert "data:text/plain" in said  # pebble's terms
        assert "--accept-le-sa" in said
        assert not is_listening(portal.http_port)
        assert (portal.count("certs_order"), portal.count("certs_acmeaccount")) == (0, 0)

        # A CA that is away keeps nobody from what is there.
        ca.stop()
        away = Portal(home=tmp_path, arguments=wish(ca, "--accept-le-sa"))
        try:
            away.start()
            assert away.get("/readyz").status_code == 200
            assert "the next start asks again" in away.log
        finally:
            away.stop()


def test_a_self_signed_certificate_is_made_once(tmp_path: Path) -> None:
    with Portal(arguments=["--create-certificates"]) as portal:
        made = served(portal.https_port, "localhost")
        assert made.not_valid_after_utc - made.not_valid_before_utc in {
            timedelta(days=365), timedelta(days=365, hours=1)
        }  # fmt: skip
        key = made.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        assert "A self-signed certificate was made" in portal.log
        certificates = portal.count("certs_certificate")
        portal.restart()
        assert "none was made" in portal.log
        assert served(portal.https_port, "localhost") == made
        assert portal.count("certs_certificate") == certificates


def put(portal: Portal, chain: str, key: str) -> None:
    for name, text, mode in (("server.crt", chain, 0o644), ("server.key", key, 0o400)):
        file = portal.home / name
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)


def import_trouble(portal: Portal) -> str:
    checks = {check["code"]: check for check in portal.get("/statusz").json()["checks"]}
    return "" if checks["import"]["ok"] else checks["import"]["text"]


def test_files_put_into_a_running_portal_are_bound_once_and_later_offered() -> None:
    root = pki.authority("Own Root")
    middle = pki.authority("Own Intermediate", root)
    first, second = pki.leaf(middle, [NAME]), pki.leaf(middle, [NAME])
    with Portal() as portal:
        before = portal.count("certs_certificate")
        (portal.home / "server.crt").write_text(root.pem + middle.pem + first.pem)
        wait_until(lambda: "server.key is missing" in import_trouble(portal), timeout=15, what="the trouble told")
        put(portal, root.pem + middle.pem + first.pem, second.key_pem)
        wait_until(lambda: "missing" not in import_trouble(portal), timeout=15, what="another trouble")
        assert import_trouble(portal)
        assert portal.count("certs_certificate") == before

        put(portal, root.pem + middle.pem + first.pem, first.key_pem)
        wait_until(lambda: all_serve(portal.https_port, NAME, first.fingerprint), timeout=20, what="the own one")
        served(portal.https_port, NAME, roots_pem=root.pem)  # the chain is in order, and the root needs no sending
        assert import_trouble(portal) == ""

        # From now on a file undoes nobody's choice.
        put(portal, second.pem + middle.pem, second.key_pem)
        wait_until(lambda: portal.count("certs_certificate") == before + 2, timeout=20, what="the second one taken in")
        assert served_fingerprint(portal.https_port, NAME) == first.fingerprint
        portal.restart()
        assert served_fingerprint(portal.https_port, NAME) == first.fingerprint
        assert portal.count("certs_certificate") == before + 2


def test_files_that_are_there_at_the_start_win_over_making_one(tmp_path: Path) -> None:
    own = pki.leaf(pki.authority(), [NAME])
    portal = Portal(home=tmp_path, arguments=["--create-certificates"])
    put(portal, own.pem, own.key_pem)
    try:
        portal.start()
        assert served_fingerprint(portal.https_port, NAME) == own.fingerprint
        assert "none was made" in portal.log
    finally:
        portal.stop()


def test_in_a_container_without_a_volume_it_serves_and_requests_nothing(tmp_path: Path) -> None:
    root = tmp_path / "container"
    portal = Portal(
        environment={"BINDERY_TEST_CONTAINER_ROOT": str(root)},
        arguments=["--hostnames", "portal.test", "--accept-terms", "--directory", "https://127.0.0.1:1/nobody"],
    )
    container_marks.mark(root, home=portal.home)
    with portal:
        assert portal.get("/healthz").status_code == 200
        assert "is part of this container, and goes with it" in portal.log
        assert "add --without-volume. No certificate was requested." in portal.log
        assert portal.count("certs_order") == 0
        failing = {each["code"] for each in portal.get("/statusz").json()["checks"] if not each["ok"]}
        assert "volume" in failing
