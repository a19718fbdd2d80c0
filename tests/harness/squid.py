"""Squid, the forward proxy of many companies, with a log-in if wanted, and with TLS opened and sealed again if wanted.

Debian's package squid-openssl; the same program as squid, built with OpenSSL.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.harness import counterparts, pki
from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, free_port, is_listening

_HELPERS = Path("/usr/lib/squid")


class Squid(Daemon):
    """`login` and `password`: without them everybody is let through. `inspector` signs what the proxy shows instead of
    the certificates behind it, which it checks against `trusts` (PEM). `hosts` is what it resolves: name → address.
    `permits` are the ports that CONNECT may lead to; all where empty."""

    program = "squid"

    def __init__(
        self,
        *,
        address: str = LOOPBACK,
        port: int = 0,
        login: str = "",
        password: str = "",
        inspector: pki.Pair | None = None,
        trusts: str = "",
        hosts: dict[str, str] | None = None,
        permits: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.address = address
        self.port = port or free_port()
        self.login, self.password = login, password
        self._inspector, self._trusts = inspector, trusts
        self._hosts = hosts or {}
        self._permits = permits

    def url(self, password: str | None = None) -> str:
        given = self.password if password is None else password
        login = f"{self.login}:{given}@" if self.login else ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{login}{host}:{self.port}"

    @property
    def asked(self) -> list[str]:
        """What it was asked for, as its access log has it: "CONNECT ca.test:14000 200"."""
        file = self.home / "access.log"
        return file.read_text().splitlines() if file.exists() else []

    def command(self, program: Path) -> Sequence[str | Path]:
        (self.home / "hosts").write_text("".join(f"{place} {name}\n" for name, place in self._hosts.items()))
        (self.home / "squid.conf").write_text("\n".join(self._config()) + "\n")
        # Squid refuses to be root, which tests may be: here it takes itself for somebody else, with the same rights.
        nobody = [counterparts.find("unshare"), "--user", "--map-user=65534", "--map-group=65534"]
        return [*nobody, program, "-N", "-f", self.home / "squid.conf"]

    def answers(self) -> bool:
        return is_listening(self.port, self.address)

    def _config(self) -> list[str]:
        host = f"[{self.address}]" if ":" in self.address else self.address
        lines = [
            f"http_port {host}:{self.port}{self._bump()}",
            "logformat short %rm %ru %>Hs",
            f"access_log stdio:{self.home}/access.log short",
            f"cache_log {self.home}/cache.log",
            f"pid_filename {self.home}/squid.pid",
            f"coredump_dir {self.home}",
            f"hosts_file {self.home}/hosts",
            "visible_hostname proxy.test",
            "pinger_enable off",
            "cache deny all",
            "shutdown_lifetime 0 seconds",
        ]
        if self._inspector:
            (self.home / "trusts.pem").write_text(self._trusts)
            lines += [
                f"sslcrtd_program {_HELPERS}/security_file_certgen -s {self.home}/issued -M 4MB",
                "sslcrtd_children 2",
                "ssl_bump bump all",
                f"tls_outgoing_options cafile={self.home}/trusts.pem",
            ]
        if self._permits:
            lines += [f"acl permitted port {' '.join(map(str, self._permits))}", "http_access deny !permitted"]
        return [*lines, *self._access()]

    def _bump(self) -> str:
        if not self._inspector:
            return ""
        (self.home / "inspector.pem").write_text(self._inspector.pem + self._inspector.key_pem)
        subprocess.run(
            [_HELPERS / "security_file_certgen", "-c", "-s", self.home / "issued", "-M", "4MB"],
            check=True,
            capture_output=True,
        )
        return f" ssl-bump generate-host-certificates=on tls-cert={self.home}/inspector.pem"

    def _access(self) -> list[str]:
        if not self.login:
            return ["http_access allow all"]
        made = subprocess.run(
            ["openssl", "passwd", "-apr1", self.password], check=True, capture_output=True, text=True
        ).stdout.strip()
        (self.home / "users").write_text(f"{self.login}:{made}\n")
        return [
            f"auth_param basic program {_HELPERS}/basic_ncsa_auth {self.home}/users",
            "auth_param basic children 1",
            "acl known proxy_auth REQUIRED",
            "http_access allow known",
            "http_access deny all",
        ]
