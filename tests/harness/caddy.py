"""Caddy's ACME server: a second CA, with leaves of 12 hours. It always validates on port 80, by the system's resolver.

Works only inside `tests.harness.namespace`.
"""

import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.harness import counterparts
from tests.harness.artifacts import keep
from tests.harness.ports import free_ports, wait_until
from tests.harness.process import Process

_CADDYFILE = """
{{
    admin off
    storage file_system {home}/storage
    skip_install_trust
    auto_https disable_redirects
    http_port {http}
    https_port {https}
    default_sni localhost
}}
https://localhost:{https} {{
    bind 127.0.0.1
    tls internal
    acme_server
}}
"""


class Caddy:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bindery-caddy-")
        self._process: Process | None = None
        self._http, self._https = free_ports(2)
        self.directory_url = f"https://localhost:{self._https}/acme/local/directory"

    @property
    def home(self) -> Path:
        return Path(self._directory.name)

    @property
    def ca_bundle_file(self) -> Path:
        return self.home / "storage" / "pki" / "authorities" / "local" / "root.crt"

    @property
    def ca_bundle_pem(self) -> str:
        """The root of the directory's own HTTPS and of what it issues."""
        return self.ca_bundle_file.read_text()

    @property
    def log(self) -> str:
        return self._process.log if self._process else ""

    def asked(self, path: str) -> int:
        """How often the log names a path of the ACME server."""
        return len(re.findall(re.escape(path), self.log))

    def __enter__(self) -> Self:
        program = counterparts.find("caddy")
        file = self.home / "Caddyfile"
        file.write_text(_CADDYFILE.format(home=self.home, http=self._http, https=self._https))
        self._process = Process(
            [program, "run", "--config", file, "--adapter", "caddyfile"],
            self.home / "caddy.log",
            env={
                **os.environ,
                "HOME": str(self.home),
                "XDG_DATA_HOME": str(self.home),
                "XDG_CONFIG_HOME": str(self.home),
            },
        )
        wait_until(self._answers, timeout=20, what="caddy")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.stop(timeout=3)
        if error is not None:
            keep("caddy.log", self.home / "caddy.log")
        self._directory.cleanup()

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"caddy ended: {self._process.log[-2000:]}")
        if not self.ca_bundle_file.exists():
            return False
        try:
            return requests.get(self.directory_url, verify=str(self.ca_bundle_file), timeout=2).ok
        except requests.RequestException:
            return False
