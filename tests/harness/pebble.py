"""Pebble, Let's Encrypt's test CA, on free loopback ports. Its memory is its state: a restart forgets everything."""

import json
import os
import re
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.harness import counterparts, pki
from tests.harness.artifacts import keep
from tests.harness.dns import DnsServer
from tests.harness.ports import LOOPBACK, free_ports, wait_until
from tests.harness.process import Process

DEFAULT_PROFILE = {"default": timedelta(days=90)}


@dataclass
class Pebble:
    """`address` is where it listens, `host` how its directory is called; `http_port` is where the portal answers
    http-01. `profiles` maps a name to the life of its leaves; an order without a profile gets any of them, so name one
    only unless the test asks for profiles."""

    http_port: int
    tls_port: int = 0
    nonce_reject: int = 5  # per cent
    profiles: dict[str, timedelta] = field(default_factory=lambda: dict(DEFAULT_PROFILE))
    dns: DnsServer | None = None  # an own one where None
    blocked: tuple[str, ...] = ("blocked.test",)
    sleep: bool = False  # the VA waits up to 15 s before it asks, as a busy CA does
    authz_reuse: int = 0  # per cent
    chain_length: int = 1
    alternate_roots: int = 0
    retry_after: int = 1  # seconds, for polls of authorizations and orders
    eab: dict[str, str] = field(default_factory=dict)  # kid -> HMAC key in base64url: one of them is required then
    environment: dict[str, str] = field(default_factory=dict)
    address: str = LOOPBACK
    host: str = "localhost"

    def __post_init__(self) -> None:
        self._own_dns = self.dns is None
        self.dns = self.dns or DnsServer()
        self._directory = tempfile.TemporaryDirectory(prefix="bindery-pebble-")
        self._process: Process | None = None
        self._authority = pki.authority("Pebble test directory")
        acme, management = free_ports(2)
        place = f"[{self.address}]" if ":" in self.address else self.address
        self.directory_url = f"https://{self.host}:{acme}/dir"
        self.management_url = f"https://{place}:{management}"
        self._own_url = f"https://{place}:{acme}/dir"  # for whoever cannot resolve `host`
        self._place = place
        self._ports = acme, management

    @property
    def home(self) -> Path:
        return Path(self._directory.name)

    @property
    def ca_bundle_pem(self) -> str:
        """The root of the directory's own HTTPS, not of what it issues."""
        return self._authority.pem

    @property
    def ca_bundle_file(self) -> Path:
        return self.home / "directory-ca.pem"

    @property
    def version(self) -> str:
        return counterparts.version("pebble")

    @property
    def has_profiles(self) -> bool:
        """Profiles and renewal information came with 2.6."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2]) >= (2, 6)

    @property
    def log(self) -> str:
        return self._process.log if self._process else ""

    def issued(self) -> int:
        """Certificates issued since the start, counted in pebble's log."""
        return len(re.findall(r"Issued certificate serial", self.log))

    def root_pem(self, number: int = 0) -> str:
        return self.management("GET", f"/roots/{number}").text

    def intermediate_pem(self, number: int = 0) -> str:
        return self.management("GET", f"/intermediates/{number}").text

    def revocation(self, serial: str) -> tuple[str, int | None]:
        """("Valid" or "Revoked", the reason's number) of a certificate by its serial in hex."""
        said = self.management("GET", f"/cert-status-by-serial/{serial}").json()
        return said["Status"], said.get("Reason")

    def set_renewal_info(self, certificate_pem: str, start: str, end: str) -> None:
        """Force ARI's window, RFC 3339 moments; needs `has_profiles`."""
        answer = json.dumps({"suggestedWindow": {"start": start, "end": end}})
        body = {"certificate": certificate_pem, "ariResponse": answer}
        self.management("POST", "/set-renewal-info/", json=body)

    def management(self, method: str, path: str, **options: Any) -> requests.Response:
        response = requests.request(
            method, self.management_url + path, verify=str(self.ca_bundle_file), timeout=30, **options
        )
        response.raise_for_status()
        return response

    def start(self) -> Self:
        assert self.dns is not None
        program = counterparts.find("pebble")
        server = pki.leaf(self._authority, list(dict.fromkeys(["localhost", self.host.strip("[]"), self.address])))
        self.ca_bundle_file.write_text(self.ca_bundle_pem)
        (self.home / "server.pem").write_text(server.pem)
        (self.home / "server.key").write_text(server.key_pem)
        (self.home / "config.json").write_text(json.dumps({"pebble": self._config()}))
        environment = {
            **os.environ,
            "PEBBLE_WFE_NONCEREJECT": str(self.nonce_reject),
            "PEBBLE_AUTHZREUSE": str(self.authz_reuse),
            "PEBBLE_ALTERNATE_ROOTS": str(self.alternate_roots),
            "PEBBLE_CHAIN_LENGTH": str(self.chain_length),
            **({} if self.sleep else {"PEBBLE_VA_NOSLEEP": "1"}),
            **self.environment,
        }
        if self._own_dns:
            self.dns.__enter__()
        self._process = Process(
            [program, "-config", self.home / "config.json", "-dnsserver", self.dns.address],
            self.home / "pebble.log",
            env=environment,
        )
        wait_until(self._answers, timeout=20, what="pebble")
        return self

    def stop(self) -> None:
        if self._process:
            self._process.stop(timeout=3)
        if self._own_dns and self.dns is not None:
            self.dns.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            keep("pebble.log", self.home / "pebble.log")
        self._directory.cleanup()

    def _config(self) -> dict[str, Any]:
        acme, management = self._ports
        return {
            "listenAddress": f"{self._place}:{acme}",
            "managementListenAddress": f"{self._place}:{management}",
            "certificate": str(self.home / "server.pem"),
            "privateKey": str(self.home / "server.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port or self.http_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(self.eab),
            "externalAccountMACKeys": self.eab,
            "domainBlocklist": list(self.blocked),
            "retryAfter": {"authz": self.retry_after, "order": self.retry_after},
            "profiles": {
                name: {"description": f"profile {name}", "validityPeriod": int(life.total_seconds())}
                for name, life in self.profiles.items()
            },
        }

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"pebble ended: {self._process.log[-2000:]}")
        try:
            requests.get(self._own_url, verify=str(self.ca_bundle_file), timeout=2)
            self.management("GET", "/roots/0")
        except requests.RequestException:
            return False
        return True
