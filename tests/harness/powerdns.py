"""PowerDNS (Debian's pdns-server) on free loopback ports: a DNS provider with an HTTP API, which it really serves."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import requests

from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, free_port

API_KEY = "pdns-api-key+with/odd=signs"
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


class PowerDns(Daemon):
    """Each zone has one name server: this one."""

    program = "powerdns"

    def __init__(self, zones: tuple[str, ...] = ("one.test", "two.test")) -> None:
        super().__init__()
        self.zones = zones
        self.port = free_port()
        self.api_port = free_port()

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

    def command(self, program: Path) -> Sequence[str | Path]:
        with closing(sqlite3.connect(self.home / "pdns.sqlite3")) as database:
            database.executescript(SCHEMA.read_text())
        (self.home / "pdns.conf").write_text(self._config())
        return [program, f"--config-dir={self.home}"]

    def answers(self) -> bool:
        try:
            dns.query.tcp(dns.message.make_query("one.test", "SOA"), LOOPBACK, port=self.port, timeout=3)
            return requests.get(f"{self.api}/api/v1/servers", headers=self._headers(), timeout=3).ok
        except (EOFError, dns.exception.DNSException):
            return False

    def ready(self) -> None:
        for zone in self.zones:
            self._zone(zone)

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
