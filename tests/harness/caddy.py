"""Caddy's ACME server: a second CA, with leaves of 12 hours. It always validates on port 80, by the system's resolver.

Works only inside `tests.harness.namespace`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import requests

from tests.harness.daemon import Daemon
from tests.harness.ports import free_ports

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


class Caddy(Daemon):
    program = "caddy"

    def __init__(self) -> None:
        super().__init__()
        self._http, self._https = free_ports(2)
        self.directory_url = f"https://localhost:{self._https}/acme/local/directory"

    @property
    def ca_bundle_file(self) -> Path:
        return self.home / "storage" / "pki" / "authorities" / "local" / "root.crt"

    @property
    def ca_bundle_pem(self) -> str:
        """The root of the directory's own HTTPS and of what it issues."""
        return self.ca_bundle_file.read_text()

    def asked(self, path: str) -> int:
        """How often the log names a path of the ACME server."""
        return len(re.findall(re.escape(path), self.log))

    def command(self, program: Path) -> Sequence[str | Path]:
        file = self.home / "Caddyfile"
        file.write_text(_CADDYFILE.format(home=self.home, http=self._http, https=self._https))
        return [program, "run", "--config", file, "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        return dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.home))

    def answers(self) -> bool:
        if not self.ca_bundle_file.exists():
            return False
        return requests.get(self.directory_url, verify=str(self.ca_bundle_file), timeout=2).ok
