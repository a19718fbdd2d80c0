"""A certificate put on a real nginx over real SSH, by an account with nothing but the lines that were printed for it;
and what is served after each thing that can go wrong."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncssh
import pytest
from django.db.models import F

from certs.domain import states
from certs.domain.errors import InputError
from certs.domain.pem import Chain
from certs.domain.sudoers import sudoers_lines
from certs.installers.files import FileInstaller, commands_of
from certs.models import CertificateVersion, Endpoint, Installation, Node, Organization
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services import installation_advance
from certs.services.certificates import certificate_take
from certs.services.discoveries import endpoint_discover
from certs.services.endpoint_sessions import endpoint_open, installer_of
from certs.services.endpoints import endpoint_approve, endpoint_create, endpoint_look
from certs.services.installation_follow import installations_follow
from certs.services.installations import installation_create, installation_plan, installations_claim
from certs.services.keys import key_import
from certs.services.versions import version_add
from certs.transports.hosts import ssh
from certs.transports.hosts.base import LogInRefused
from portal import clock
from tests.harness import pki
from tests.harness.nginx import Nginx
from tests.harness.ports import free_port
from tests.harness.sshd import Account, Sshd
from tests.harness.tls import served_fingerprint

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
NAME = "www.example.org"
SITE = """
server {{
    listen 127.0.0.1:{port} ssl;
    server_name {name};
    ssl_certificate {tls}/site.pem;
    ssl_certificate_key {tls}/site.key;
    include {extra}*;
}}
"""


@dataclass
class Site:
    """nginx with one site, a machine to reach it by, and the endpoint that stands for both."""

    nginx: Nginx
    machine: Sshd
    port: int
    tls: Path
    old: pki.Pair
    endpoint: Endpoint

    @property
    def served(self) -> str:
        return served_fingerprint(self.port, NAME)

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.tls.iterdir())

    def discover(self) -> Node:
        endpoint_discover(self.endpoint, actor="test")
        return Node.objects.get(endpoint=self.endpoint)


@pytest.fixture(scope="module")
def machine() -> Iterator[Sshd]:
    with Sshd(Account("web", "pass word"), Account("boss", "", ["ALL=(root) NOPASSWD: ALL"], uid=4712)) as server:
        yield server


@pytest.fixture
def site(machine: Sshd) -> Iterator[Site]:
    port = free_port()
    old = pki.leaf(None, [NAME])
    nginx = Nginx("", [port])
    tls = nginx.home / "tls"
    tls.mkdir(mode=0o700)
    (tls / "site.pem").write_text(old.pem)
    (tls / "site.key").write_text(old.key_pem)
    (tls / "site.key").chmod(0o600)
    nginx.sites = SITE.format(port=port, name=NAME, tls=tls, extra=nginx.home / "extra")
    with nginx:
        yield Site(nginx, machine, port, tls, old, _endpoint(machine, nginx, "boss"))


def _endpoint(machine: Sshd, nginx: Nginx, account: str) -> Endpoint:
    told = f"nginx -p {nginx.home} -c {nginx.configuration} -e stderr -s"
    row = endpoint_create(
        name=f"site-{nginx.ports[0]}",
        kind="nginx",
        connection="ssh",
        given={
            "host": machine.address,
            "port": machine.port,
            "user": account,
            "ssh_key": machine.client_key(),
            "nginx_config_path": str(nginx.configuration),
            "reload_command": f"{told} reload",
            "restart_command": f"{told} reopen",
        },
        organization=Organization.objects.get(pk=DEFAULT_ORGANIZATION),
        actor="test",
    )
    endpoint_approve(row, endpoint_look(row, actor="test"), actor="test")
    return row


def version(*names: str, pair: pki.Pair | None = None) -> CertificateVersion:
    found = pair or pki.leaf(None, list(names or [NAME]))
    taken, _ = certificate_take(Chain(found.certificate), key_import(found.key), actor="test")  # type: ignore[arg-type]
    assert taken.current is not None
    return taken.current


def planned(site: Site, new: CertificateVersion) -> Installation:
    node = site.discover()
    plan = installation_plan(node, new, actor="test")
    return installation_create(node, new, plan=plan, reason=Installation.Reason.PERSON, actor="test")


def advance(row: Installation) -> Installation:
    owner = uuid4()
    assert installations_claim(1, owner) == [row.pk]
    installation_advance.installation_advance(row.pk, owner)
    row.refresh_from_db()
    return row


def test_what_is_discovered_is_what_nginx_serves(site: Site) -> None:
    node = site.discover()
    assert list(node.seen["names"]) == [NAME]
    assert node.seen["port"] == site.port
    assert node.found_pem == site.old.pem


def test_an_installation_ends_with_the_new_one_seen_and_the_old_one_kept(site: Site) -> None:
    new = version()
    row = planned(site, new)
    assert site.served == site.old.fingerprint
    assert site.left == ["site.key", "site.pem"]
    done = advance(row)
    assert (done.state, done.error_message) == (states.INSTALLED, "")
    assert site.served == new.fingerprint_sha256
    assert site.left == [".site.key.bindery-old", ".site.pem.bindery-old", "site.key", "site.pem"]
    assert (site.tls / "site.key").stat().st_mode & 0o777 == 0o600
    assert (site.tls / ".site.key.bindery-old").read_text() == site.old.key_pem
    done.node.refresh_from_db()
    assert done.node.installed == new
    said = "".join(f"{step.command}{step.output}{step.errors}" for step in done.steps.all())
    assert "PRIVATE KEY" not in said
    assert "sha256sum" in said


def test_the_printed_sudoers_lines_are_enough_and_nothing_beside_them_is(site: Site, machine: Sshd) -> None:
    new = version()
    node = site.discover()
    with endpoint_open(site.endpoint) as host:
        installer = installer_of(site.endpoint)
        assert isinstance(installer, FileInstaller)
        plan = installation_plan(node, new, actor="test")
        host.stage_directory = "/var/tmp/bindery-web"
        lines = sudoers_lines("web", [*installer.discovery_commands(host), *commands_of(host, plan)])
    machine.sudoers(f"Defaults !lecture\n{lines}")
    try:
        site.endpoint = _endpoint_of(site, "web")
        row = planned(site, new)
        assert advance(row).state == states.INSTALLED
        assert site.served == new.fingerprint_sha256
        with endpoint_open(site.endpoint) as host:
            for argv in (["cat", "/etc/shadow"], ["cat", "--", str(site.tls / "site.key"), "/etc/shadow"], ["id"]):
                with pytest.raises(LogInRefused):
                    host.run([host.tool(argv[0]), *argv[1:]], root=True)
    finally:
        machine.sudoers("boss ALL=(root) NOPASSWD: ALL\n")


def _endpoint_of(site: Site, account: str) -> Endpoint:
    site.endpoint.delete()
    return _endpoint(site.machine, site.nginx, account)


# What goes wrong: what is done to the site before or in the middle, and the state that it ends in.


def _reload_that_does_nothing(site: Site) -> None:
    site.endpoint.options |= {"reload_command": "true"}


def _reload_that_fails(site: Site) -> None:
    site.endpoint.options |= {"reload_command": "false", "restart_command": "true"}


def _file_gone(site: Site) -> None:
    (site.tls / "site.key").unlink()


def _file_changed(site: Site) -> None:
    (site.tls / "site.pem").write_text(site.old.pem + "\n")


def _configuration_broken(site: Site) -> None:
    (site.nginx.home / "extra.conf").write_text("nonsense;")


@pytest.mark.parametrize(
    ("break_it", "state", "word"),
    [
        (_reload_that_does_nothing, states.RESTORED, "serves another certificate"),
        (_reload_that_fails, states.RESTORED, "could not be told"),
        (_file_gone, states.FAILED, "was changed since"),
        (_file_changed, states.FAILED, "was changed since"),
        (_configuration_broken, states.FAILED, "broken already"),
    ],
)
def test_after_a_failure_the_old_one_is_served_and_nothing_half_written_is_left(
    site: Site, break_it: Callable[[Site], None], state: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation_advance, "PROVE_SECONDS", 1.0)
    row = planned(site, version())
    before = set(site.left)
    break_it(site)
    site.endpoint.save()
    if break_it in (_reload_that_does_nothing, _reload_that_fails):
        row = _planned_again(site, row)
    row = advance(row)
    assert row.state == state
    assert word in row.error_message
    assert site.served == site.old.fingerprint
    assert not [name for name in site.left if name.endswith("-new")]
    assert set(site.left) - before <= {".site.key.bindery-old", ".site.pem.bindery-old"}
    if state == states.RESTORED:
        assert (site.tls / "site.pem").read_text() == site.old.pem
        assert (site.tls / "site.key").read_text() == site.old.key_pem


def _planned_again(site: Site, row: Installation) -> Installation:
    """With the options as they are now."""
    node, new = row.node, row.version
    row.delete()
    node.endpoint.refresh_from_db()
    return installation_create(node, new, reason=Installation.Reason.PERSON, actor="test")


def test_another_host_key_stops_before_anything_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    row = planned(site, version())
    other = pki_host_key()
    Endpoint.objects.filter(pk=site.endpoint.pk).update(pin=other)
    row = advance(row)
    assert (row.state, row.error_code) == (states.FAILED, "host-identity-changed")
    assert row.steps.count() == 0
    assert Endpoint.objects.get(pk=site.endpoint.pk).shown_key == site.machine.pin
    assert site.served == site.old.fingerprint


def test_a_server_that_is_down_is_not_touched(site: Site) -> None:
    row = planned(site, version())
    left = {path.name: path.read_bytes() for path in site.tls.iterdir()}
    site.nginx.end()
    row = advance(row)
    assert (row.state, row.error_code) == (states.FAILED, "server-down")
    assert {path.name: path.read_bytes() for path in site.tls.iterdir()} == left


def test_a_certificate_without_the_names_of_the_node_is_refused_before_anything_is_sent(site: Site) -> None:
    with pytest.raises(InputError, match="does not hold"):
        planned(site, version("other.example.org"))


def test_a_disk_that_is_full_changes_nothing(site: Site) -> None:
    kept = site.nginx.home / "kept"
    site.tls.rename(kept)
    site.tls.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", site.tls], check=True)
    try:
        for path in kept.iterdir():
            shutil.copy2(path, site.tls)
        with Sshd(Account("boss", "", ["ALL=(root) NOPASSWD: ALL"])) as machine:  # it sees what is mounted by now
            site.endpoint.delete()
            site.endpoint = _endpoint(machine, site.nginx, "boss")
            row = planned(site, version())
            with suppress(OSError), (site.tls / "full").open("wb", buffering=0) as full:
                while full.write(b"x" * 512):
                    pass
            row = advance(row)
        assert (row.state, site.served) == (states.FAILED, site.old.fingerprint)
        assert "No space left" in row.error_message
        assert site.left == ["full", "site.key", "site.pem"]
    finally:
        subprocess.run(["umount", site.tls], check=True)


class Killed(BaseException):
    """The process is gone: nothing after it runs, not even what tidies up."""


KILLS = [pytest.param(n, marks=() if n in (5, 14, 22, 31) else pytest.mark.proof) for n in range(1, 45)]


@pytest.mark.parametrize("number", KILLS)
def test_a_worker_killed_at_any_command_leaves_nothing_between_the_two(
    site: Site, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the n-th command, before it is run or right after it; whoever comes next ends what was begun."""
    new = version()
    row = planned(site, new)
    run, count = ssh.SshHost._run, itertools.count(1)

    def dies(self: ssh.SshHost, *given: object) -> object:
        turn = next(count)
        if turn == number and number % 2:
            raise Killed
        ran = run(self, *given)  # type: ignore[arg-type]
        if turn == number:
            raise Killed
        return ran

    with monkeypatch.context() as patched:
        patched.setattr(ssh.SshHost, "_run", dies)
        patched.setattr(FileInstaller, "_tidy", lambda *_: None)
        with suppress(Killed):
            advance(row)
    Installation.objects.filter(pk=row.pk, finished_at=None).update(
        lease_until=clock.real(), next_attempt_at=clock.now()
    )
    row.refresh_from_db()
    if row.finished_at is None:
        row = advance(row)
    assert (row.state, row.error_message) == (states.INSTALLED, "")
    assert site.served == new.fingerprint_sha256
    assert site.left == [".site.key.bindery-old", ".site.pem.bindery-old", "site.key", "site.pem"]
    assert (site.tls / ".site.key.bindery-old").read_text() == site.old.key_pem


def pki_host_key() -> str:
    return " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2])


def test_after_a_renewal_the_new_one_is_installed_by_itself_and_not_after_going_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = version()
    row = advance(planned(site, first))
    assert installations_follow() == 0
    later = pki.leaf(None, [NAME], days=200)
    second = version_add(
        first.certificate,
        leaf=later.certificate,
        chain=(),
        key=key_import(later.key),  # type: ignore[arg-type]
    )
    assert installations_follow() == 1
    assert installations_follow() == 0  # one is under way
    (following,) = Installation.objects.filter(finished_at=None)
    assert following.reason == Installation.Reason.RENEWAL
    assert advance(following).state == states.INSTALLED
    assert site.served == later.fingerprint

    back = installation_create(row.node, first, reason=Installation.Reason.BACK, actor="test")
    assert advance(back).state == states.INSTALLED
    assert site.served == first.fingerprint_sha256
    assert (installations_follow(), second.certificate.current == second) == (0, True)


def test_an_installation_that_failed_is_tried_again_by_its_own_waits(site: Site) -> None:
    site.discover()
    Node.objects.filter(endpoint=site.endpoint).update(certificate=version().certificate)
    site.nginx.end()
    assert installations_follow() == 1
    for minutes in (5, 30, 120):
        assert advance(Installation.objects.get(finished_at=None)).state == states.FAILED
        for minute, asked in ((minutes - 1, 0), (1, 1)):
            Installation.objects.update(finished_at=F("finished_at") - timedelta(minutes=minute))
            assert installations_follow() == asked


def test_an_endpoint_of_a_kind_that_is_not_known_ends_with_the_reason(site: Site) -> None:
    row = planned(site, version())
    Endpoint.objects.filter(pk=site.endpoint.pk).update(kind="gone")
    row = advance(row)
    assert (row.state, row.error_code) == (states.FAILED, "kind")
    assert site.served == site.old.fingerprint
