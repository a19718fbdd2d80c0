"""PowerDNS (Debian's pdns-server) on free loopback ports: a DNS provider with an HTTP API, which it really serves."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import requests

from tests.harness import counterparts
from tests.harness.artifacts import keep
from tests.harness.ports import LOOPBACK, free_port, wait_until
from tests.harness.process import Process

API_KEY = "pdns-api-key+with/odd=signs"
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


class PowerDns:
    """Use as a context manager. Each zone has one name server: this one."""

    def __init__(self, zones: tuple[str, ...] = ("one.test", "two.test")) -> None:
        self.zones = zones
        self.port = free_port()
        self.api_port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="bindery-powerdns-")
        self._process: Process | None = None

    @property
    def home(self) -> Path:
        return Path(self._directory.name)

    @property
    def address(self) -> str:
        """host:port of DNS."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def api(self) -> str:
        return f"http://{LOOPBACK}:{self.api_port}"

    def values(self, name: str) -> set[str]:
        """The TXT values that it answers with."""
        response = dns.query.tcp(dns.message.make_query(name, "TXT"), LOOPBACK, port=self.port, timeout=3)
        return {b"".join(each.strings).decode() for rrset in response.answer for each in rrset if rrset.rdtype == 16}

    def __enter__(self) -> Self:
        program = counterparts.find("powerdns")
        with closing(sqlite3.connect(self.home / "pdns.sqlite3")) as database:
            database.executescript(SCHEMA.read_text())
        (self.home / "pdns.conf").write_text(self._config())
        self._process = Process(
            [program, f"--config-dir={self.home}"], self.home / "pdns.log", env={**os.environ, "LC_ALL": "C"}
        )
        wait_until(self._answers, timeout=20, what="pdns_server")
        for zone in self.zones:
            self._zone(zone)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.stop(timeout=3)
        if error is not None:
            keep("pdns.log", self.home / "pdns.log")
        self._directory.cleanup()

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"pdns_server ended: {self._process.log[-2000:]}")
        try:
            dns.query.tcp(dns.message.make_query("one.test", "SOA"), LOOPBACK, port=self.port, timeout=3)
            return requests.get(f"{self.api}/api/v1/servers", headers=self._headers(), timeout=3).ok
        except (OSError, EOFError, dns.exception.DNSException):
            return False

    def _zone(self, zone: str) -> None:
        wanted = {"name": f"{zone}.", "kind": "Native", "nameservers": [f"ns1.{zone}."]}
        answer = requests.post(
            f"{self.api}/api/v1/servers/localhost/zones", json=wanted, headers=self._headers(), timeout=5
        )
        answer.raise_for_status()

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": API_KEY}

    def _config(self) -> str:
        return "\n".join(
            [
                "launch=gsqlite3",
                f"gsqlite3-database={self.home}/pdns.sqlite3",
                f"local-address={LOOPBACK}",
                f"local-port={self.port}",
                f"socket-dir={self.home}",
                "webserver=yes",
                f"webserver-address={LOOPBACK}",
                f"webserver-port={self.api_port}",
                "api=yes",
                f"api-key={API_KEY}",
                "guardian=no",
                "daemon=no",
                "cache-ttl=0",
                "query-cache-ttl=0",
                "negquery-cache-ttl=0",
                "zone-cache-refresh-interval=0",
                "disable-syslog=yes",
            ]
        )
