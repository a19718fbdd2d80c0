"""Debian's Apache, in the foreground, with nothing but the test's own sites."""

import signal
from collections.abc import Sequence
from pathlib import Path

from tests.harness.front import Front

MODULES = Path("/usr/lib/apache2/modules")
# What Debian's package enables of itself, as far as a site here needs it.
BASE = ("mpm_event", "authz_core", "alias", "dir", "mime", "reqtimeout", "setenvif")

_FRAME = """
ServerRoot {home}
ServerName front.test
PidFile {home}/apache2.pid
DefaultRuntimeDir {home}
Mutex file:{home} default
User www-data
Group www-data
ErrorLog /dev/stderr
CustomLog {home}/access.log "%h %>s %r"
TypesConfig /etc/mime.types
StartServers 1
{modules}
{listen}
{sites}
"""


class Apache(Front):
    """`sites` are `VirtualHost`s, as in /etc/apache2/sites-available; `modules` those a2enmod would be told."""

    program = "apache2"
    reload_signal = signal.SIGUSR1

    def __init__(
        self,
        sites: str,
        ports: Sequence[int] = (80, 443),
        *,
        address: str = "127.0.0.1",
        modules: Sequence[str] = ("proxy", "proxy_http", "ssl", "headers", "rewrite"),
    ) -> None:
        super().__init__(sites, ports, address=address)
        self.modules = modules

    def frame(self) -> str:
        loaded = [*BASE, *(["socache_shmcb"] if "ssl" in self.modules else []), *self.modules]
        return _FRAME.format(
            home=self.home,
            modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in loaded),
            listen="\n".join(f"Listen {port}" for port in self.ports),
            sites=self.sites,
        )

    def start(self, program: Path) -> Sequence[str | Path]:
        return [program, "-f", self.configuration, "-DFOREGROUND"]
