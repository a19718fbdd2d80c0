"""OpenSSH's server in a mount namespace of its own, where the accounts and sudoers are the test's and the machine's
own files are not touched. Needs root, as sshd does to become somebody else."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, free_port

_CONFIG = """
Port {port}
ListenAddress {address}
HostKey {home}/host_key
PidFile none
AuthorizedKeysFile {home}/keys/%u
StrictModes no
UsePAM no
PasswordAuthentication yes
AllowTcpForwarding yes
MaxStartups 200
LogLevel ERROR
"""
# What the namespace shows instead of the machine's own.
_PRIVATE = ("passwd", "shadow", "group", "sudoers")


@dataclass(frozen=True)
class Account:
    """`sudoers` are the lines behind its name; "" for somebody without sudo."""

    name: str
    password: str = ""
    sudoers: Sequence[str] = ()
    uid: int = 4711
    shell: str = "/bin/sh"


class Sshd(Daemon):
    program = "sshd"

    def __init__(self, *accounts: Account, address: str = LOOPBACK) -> None:
        super().__init__()
        self.accounts = accounts or (Account("deploy"),)
        self.address = address
        self.port = free_port(address)
        self.home.chmod(0o755)
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.change_host_key()

    def change_host_key(self) -> None:
        """Another one from the next start on."""
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        path = self.home / "host_key"
        path.write_bytes(self.host_key.export_private_key())
        path.chmod(0o600)

    @property
    def pin(self) -> str:
        return " ".join(self.host_key.export_public_key().decode().split()[:2])

    def client_key(self, passphrase: str = "") -> str:
        """With a passphrase as ssh-keygen encrypts it."""
        path = self.home / "client_key"
        path.write_bytes(self.key.export_private_key("openssh"))
        path.chmod(0o600)
        if passphrase:
            subprocess.run(["ssh-keygen", "-q", "-p", "-f", path, "-N", passphrase], check=True, capture_output=True)
        return path.read_text()

    def folder(self, account: str) -> Path:
        return self.home / "homes" / account

    def sudoers(self, text: str) -> None:
        """What sudo reads from now on."""
        (self.home / "etc" / "sudoers").write_text(text)

    def command(self, program: Path) -> Sequence[str | Path]:
        self._accounts_write()
        configuration = self.home / "sshd_config"
        configuration.write_text(_CONFIG.format(port=self.port, address=self.address, home=self.home))
        staging = self.home / "staging"
        staging.mkdir(exist_ok=True)
        staging.chmod(0o1777)
        places = {f"/etc/{name}": self.home / "etc" / name for name in _PRIVATE} | {"/var/tmp": staging}
        mounts = [f"mount --bind {shlex.quote(str(own))} {place}" for place, own in places.items()]
        script = " && ".join(
            ["mkdir -p /run/sshd", *mounts, f"exec {program} -D -e -f {shlex.quote(str(configuration))}"]
        )
        return ["unshare", "-m", "sh", "-c", script]

    def answers(self) -> bool:
        from socket import create_connection

        with create_connection((self.address, self.port), timeout=1) as raw:
            return raw.recv(4) == b"SSH-"

    def _accounts_write(self) -> None:
        own = self.home / "etc"
        own.mkdir(exist_ok=True)
        (self.home / "keys").mkdir(exist_ok=True)
        passwd, shadow, group, sudoers = [], [], [], ["Defaults !fqdn, !lecture"]
        for account in self.accounts:
            folder = self.folder(account.name)
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, account.uid, account.uid)
            passwd.append(f"{account.name}:x:{account.uid}:{account.uid}::{folder}:{account.shell}")
            group.append(f"{account.name}:x:{account.uid}:")
            secret = _crypted(account.password) if account.password else "*"
            shadow.append(f"{account.name}:{secret}:19000:0:99999:7:::")
            sudoers += [f"{account.name} {line}" for line in account.sudoers]
            (self.home / "keys" / account.name).write_bytes(self.key.export_public_key())
        for name, lines in zip(_PRIVATE, (passwd, shadow, group, sudoers), strict=True):
            kept = Path("/etc", name).read_text() if name != "sudoers" else ""
            (own / name).write_text(kept + "\n".join(lines) + "\n")
            (own / name).chmod({"shadow": 0o640, "sudoers": 0o440}.get(name, 0o644))


def _crypted(password: str) -> str:
    """As crypt(3) and /etc/shadow know it."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
