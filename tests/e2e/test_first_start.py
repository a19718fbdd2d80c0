"""The first start on an empty directory with the real settings, and the two ways to a certificate besides ACME."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from certs.domain.envelope import KeyRing
from tests.harness import person as people
from tests.harness import pki
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.tls import all_serve, served, served_fingerprint

pytestmark = pytest.mark.e2e

NAME = "portal.test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with chromium() as running:
        yield running


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def refused(portal: Portal) -> str:
    """What a start says that must end by itself; its log afterwards."""
    before = portal.log
    portal.start(wait=False)
    wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of a start that cannot succeed")
    said = portal.log[len(before) :]
    assert portal.process.returncode not in {0, None}
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, said
    return said


def test_the_first_start_makes_its_secrets_and_prints_both_links() -> None:
    with Portal(settings="portal.settings", own_secrets=True, lock_port=True) as portal:
        assert mode(portal.home) == 0o700
        assert {mode(portal.home / name) for name in ("secret_key", "keyring.json")} == {0o600}
        wait_until(lambda: "Ctrl-C ends it" in portal.log, timeout=15, what="the announcement")
        plain, secure = re.findall(r"^\s+(https?://\S+/setup/\S+/)$", portal.log, re.MULTILINE)[:2]
        assert plain.startswith("http://localhost:")
        assert secure.startswith("https://localhost:")
        # The fingerprint printed beside it is the one a browser is shown.
        printed = re.search(r"^\s+((?:[0-9A-F]{2}:){31}[0-9A-F]{2})$", portal.log, re.MULTILINE)
        assert printed
        assert printed.group(1).replace(":", "").lower() == served_fingerprint(portal.https_port, "localhost")

        again = portal.manage("setup_link")
        assert "/setup/" in again.stdout
        for path in ("/", "/certificates/", "/configuration/"):
            assert portal.get(path).status_code == 503
            assert "setup_link" in portal.get(path).text

        # A second start on the same directory says so and harms nothing.
        second = Portal(settings="portal.settings", own_secrets=True, home=portal.home)
        said = refused(second)
        assert "already" in said or "another" in said.lower()
        assert portal.get("/healthz").status_code == 200

        ring = (portal.home / "keyring.json").read_text()
        portal.stop()
        (portal.home / "keyring.json").write_text(KeyRing.generate().to_json())
        assert "key ring" in refused(portal)
        (portal.home / "keyring.json").unlink()
        assert str(portal.home / "keyring.json") in refused(portal)
        assert not (portal.home / "keyring.json").exists(), "a new ring would make every secret unreadable"
        (portal.home / "keyring.json").write_text(ring)
        portal.start()
        assert portal.get("/readyz").status_code == 200


def test_a_port_that_is_taken_is_named_before_anything_starts() -> None:
    with Portal() as portal:
        other = Portal(http_port=portal.http_port)
        try:
            assert str(portal.http_port) in refused(other)
        finally:
            other.stop()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    portal = Portal(environment={"BINDERY_HOME": str(file / "below")})
    try:
        assert str(file) in refused(portal)
    finally:
        portal.stop()


def test_the_link_works_once_and_over_https_too(browser: Browser) -> None:
    with Portal() as portal, visitor(browser) as alice, visitor(browser, "stranger-") as mallory:
        link = portal.setup_link()
        alice.go(link.replace(portal.http_url, portal.https_url))
        expect(alice.page.locator("h1")).to_have_text("Set up Bindery")
        people.first_administrator(alice, portal)
        body = alice.page.locator("body")
        expect(body).to_contain_text("does not use TLS")
        for way in ("Let's Encrypt", "Your own certificate", "Self-signed"):
            expect(alice.page.get_by_role("heading", name=way)).to_be_visible()
        answer = mallory.go(link)
        assert answer is not None
        assert answer.status == 410
        mallory.shot("used-link")
        assert portal.manage("setup_link", check=False).returncode != 0


def test_an_own_certificate_is_uploaded_root_first_and_bound(browser: Browser, tmp_path: Path) -> None:
    root = pki.authority("Own Root")
    middle = pki.authority("Own Intermediate", root)
    leaf = pki.leaf(middle, [NAME])
    chain, key, wrong = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "wrong.pem"
    chain.write_text(root.pem + middle.pem + leaf.pem)
    key.write_text(leaf.key_pem)
    wrong.write_text(pki.leaf(middle, [NAME]).key_pem)
    with Portal() as portal, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        page = alice.page
        alice.go(f"{portal.http_url}/certificates/add/")
        before = portal.count("certs_certificate")
        page.set_input_files("[name=uploads]", [chain, wrong])
        page.get_by_role("button", name="Look at it").click()
        expect(page.locator("body")).to_contain_text("None of the keys given belongs to it.")
        alice.shot("wrong-key")
        page.get_by_role("button", name="Drop it").click()
        assert portal.count("certs_certificate") == before

        alice.go(f"{portal.http_url}/certificates/add/")
        page.set_input_files("[name=uploads]", [chain, key])
        page.get_by_role("button", name="Look at it").click()
        alice.shot("recognised")
        page.get_by_role("button", name="Save what is chosen").click()
        page.get_by_role("button", name="Bind", exact=True).click()
        expect(page.locator("body")).to_contain_text("is bound")
        alice.shot("bound")
        wait_until(
            lambda: all_serve(portal.https_port, NAME, leaf.fingerprint), timeout=10, what="the swap in all processes"
        )
        # Leaf and intermediate are sent in order: a client that knows only the root is content.
        assert served(portal.https_port, NAME, roots_pem=root.pem)


def test_files_put_into_the_directory_are_found_and_bound_while_nothing_else_is() -> None:
    root = pki.authority("Own Root")
    first, later = pki.leaf(root, [NAME]), pki.leaf(root, [NAME])
    with Portal() as portal:
        put(portal.home, first)
        wait_until(lambda: all_serve(portal.https_port, NAME, first.fingerprint), timeout=20, what="the import")
        # Another one is offered, since now a certificate of somebody's own answers.
        put(portal.home, later)
        wait_until(lambda: portal.count("certs_certificateversion") >= 3, timeout=20, what="the second import")
        assert served_fingerprint(portal.https_port, NAME) == first.fingerprint
        portal.restart()
        assert served_fingerprint(portal.https_port, NAME) == first.fingerprint


def put(home: Path, pair: pki.Pair) -> None:
    """As the pages say: the certificate 0644, the key 0400; the key first, so that they are never seen apart."""
    for name, text, rights in (("server.key", pair.key_pem, 0o400), ("server.crt", pair.pem, 0o644)):
        partial = home / f".{name}"
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT, rights)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        partial.rename(home / name)


def test_create_certificates_makes_one_for_a_year_and_never_a_second() -> None:
    with Portal(arguments=["--create-certificates"]) as portal:
        leaf = served(portal.https_port, "localhost")
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days in {364, 365, 366}
        assert leaf.public_key().key_size == 2048  # type: ignore[union-attr]
        first = served_fingerprint(portal.https_port, "localhost")
        portal.restart()
        assert served_fingerprint(portal.https_port, "localhost") == first
