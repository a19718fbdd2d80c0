"""What runs on another machine, and what does not: OpenSSH's own server, and the sudo of the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.domain.errors import InputError
from certs.transports.hosts.base import (
    CommandFailed,
    IdentityChanged,
    IdentityUnknown,
    LogInRefused,
    Unreachable,
)
from certs.transports.hosts.ssh import Options, Ssh, SshHost
from tests.harness.ports import free_port
from tests.harness.sshd import Account, Sshd

pytestmark = pytest.mark.e2e
PASSWORD = "c0rrect horse"


@pytest.fixture(scope="module")
def machine() -> Iterator[Sshd]:
    accounts = (
        Account("plain", PASSWORD),
        Account("free", PASSWORD, ["ALL=(root) NOPASSWD: ALL"], uid=4712),
        Account("asked", PASSWORD, ["ALL=(root) PASSWD: ALL"], uid=4713),
    )
    with Sshd(*accounts) as server:
        yield server


def ssh(machine: Sshd, user: str = "plain", **given: object) -> Ssh:
    known = {"host": machine.address, "port": machine.port, "user": user, "ssh_key": machine.client_key(), **given}
    return Ssh(Options(**known))  # type: ignore[arg-type]


@pytest.fixture
def plain(machine: Sshd) -> Iterator[SshHost]:
    with ssh(machine).open(machine.pin) as host:
        yield host


def test_a_word_reaches_the_program_as_it_is(plain: SshHost) -> None:
    words = ["a b", "$(id)", "`id`", "'", '"', "\\", "*", "", "ä\n€", ";reboot", "-n"]
    assert plain.run(["printf", "%s|", *words]).text == "".join(f"{word}|" for word in words)


def test_what_is_given_on_standard_input_arrives_and_codes_come_back(plain: SshHost) -> None:
    payload = bytes(range(256)) * 1000
    assert plain.run(["cat"], stdin=payload, keep=1 << 20).output == payload
    assert plain.run(["sh", "-c", "exit 3"]).code == 3
    assert plain.run(["no-such-program"]).code == 127


def test_output_is_kept_to_a_limit_and_read_to_its_end(plain: SshHost) -> None:
    ran = plain.run(["sh", "-c", "head -c 5000000 /dev/zero; echo done >&2"], keep=1000)
    assert (ran.code, len(ran.output), ran.errors) == (0, 1000, "done\n")


def test_a_program_has_an_end_to_its_time(plain: SshHost) -> None:
    ran = plain.run(["sleep", "60"], seconds=0.3)
    assert ran.code is None
    assert ran.seconds < 10
    assert plain.run(["echo", "still there"]).text == "still there\n"


def test_the_first_contact_shows_what_is_to_be_approved(machine: Sshd) -> None:
    with pytest.raises(IdentityUnknown) as refusal, ssh(machine).open(""):
        pass
    assert refusal.value.identity.key == machine.pin
    assert refusal.value.identity.fingerprint == machine.host_key.get_fingerprint()


def test_another_host_key_is_not_talked_to(machine: Sshd) -> None:
    with Sshd(Account("plain", PASSWORD)) as other:
        with pytest.raises(IdentityChanged) as refusal, ssh(other, password=PASSWORD, ssh_key="").open(machine.pin):
            pass
        assert refusal.value.identity.key == other.pin
        assert "Accepted" not in other.log


@pytest.mark.parametrize(
    ("given", "error", "word"),
    [
        ({"ssh_key": ""}, LogInRefused, "lets nobody in"),
        ({"ssh_key": "", "password": "wrong"}, LogInRefused, "lets nobody in"),
        ({"user": "nobody-here"}, LogInRefused, "lets nobody in"),
        ({"ssh_key": "not a key"}, InputError, "not a private key"),
        ({"ssh_key": "", "ssh_key_path": "/no/such/file"}, InputError, "No such file"),
    ],
)
def test_a_wrong_log_in_is_told_apart(machine: Sshd, given: dict[str, str], error: type[Exception], word: str) -> None:
    user = given.pop("user", "plain")
    with pytest.raises(error, match=word), ssh(machine, user, **given).open(machine.pin):
        pass


def test_a_key_with_a_passphrase_from_a_file(machine: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(machine.client_key("s3cret"))
    given = {"ssh_key": "", "ssh_key_path": str(path)}
    with ssh(machine, **given, ssh_key_password="s3cret").open(machine.pin) as host:
        assert host.account == "plain"
    for passphrase, word in (("", "is missing"), ("other", "does not open it")):
        with pytest.raises(InputError, match=word), ssh(machine, **given, ssh_key_password=passphrase).open("x"):
            pass


def test_nobody_there_and_somebody_else_there(machine: Sshd) -> None:
    with pytest.raises(Unreachable), ssh(machine, port=free_port()).open(machine.pin):
        pass


@pytest.mark.parametrize("user", ["free", "asked"])
def test_root_by_sudo_reads_nothing_that_was_not_meant_for_it(machine: Sshd, user: str) -> None:
    """What sudo does not read itself it hands on: the password must not end in a file."""
    with ssh(machine, user, password=PASSWORD).open(machine.pin) as host:
        for _ in range(2):
            assert host.run(["id", "-u"], root=True).text == "0\n"
            assert host.run(["cat"], root=True).output == b""
        with pytest.raises(ValueError, match="standard input"):
            host.run(["cat"], stdin=b"x", root=True)


def test_a_wrong_password_for_sudo_and_none_at_all(machine: Sshd) -> None:
    for password, word in (("wrong", "refuses the password"), ("", "asks for a password")):
        options = ssh(machine, "asked", password=password)
        with options.open(machine.pin) as host, pytest.raises(LogInRefused, match=word):
            host.run(["id", "-u"], root=True)


def test_who_may_not_is_told_so(machine: Sshd) -> None:
    with ssh(machine, "plain", password=PASSWORD).open(machine.pin) as host:
        ran = host.run(["id", "-u"], root=True)
        assert not ran.ok
        assert "sudoers" in ran.why
        with pytest.raises(CommandFailed, match="cannot be read"):
            host.read("/etc/shadow")


def test_a_directory_that_somebody_else_has_made_is_not_filled(machine: Sshd) -> None:
    with ssh(machine, "free").open(machine.pin) as host:
        host.check(["mkdir", "-m", "777", host.stage_directory], "made", root=True)
        try:
            with pytest.raises(CommandFailed, match="somebody else"):
                host.stage("key", b"secret")
        finally:
            host.check(["rmdir", host.stage_directory], "gone", root=True)
        staged = host.stage("key", b"secret")
        assert host.run(["stat", "-c", "%a", host.stage_directory]).text == "700\n"
        assert host.read(staged) == b"secret"
        host.unstage("key")
        assert host.digest(staged) == ""


def test_an_address_is_reached_as_the_machine_sees_it(machine: Sshd, plain: SshHost) -> None:
    with plain.reach(machine.address, machine.port, seconds=5) as raw:
        assert raw.recv(4) == b"SSH-"
