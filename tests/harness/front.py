"""A web server in front of something else, configured by what a person would paste into its configuration."""

import os
import signal
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.ports import is_listening


class Front(Daemon):
    """`sites` is the text that an operator adds to Debian's configuration; `ports` are those it listens on.

    Nothing of the machine's own configuration is read. `home` may be read by the server's own user.
    """

    def __init__(self, sites: str, ports: Sequence[int] = (80, 443), *, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.sites, self.ports, self.address = sites, tuple(ports), address
        self.home.chmod(0o755)

    @property
    def configuration(self) -> Path:
        return self.home / f"{self.program}.conf"

    @property
    def requests(self) -> list[str]:
        """One line per request, as the server's own log has them."""
        file = self.home / "access.log"
        return file.read_text().splitlines() if file.exists() else []

    @abstractmethod
    def frame(self) -> str:
        """The whole configuration, with `sites` in it."""

    def command(self, program: Path) -> Sequence[str | Path]:
        self.configuration.write_text(self.frame())
        return self.start(program)

    @abstractmethod
    def start(self, program: Path) -> Sequence[str | Path]:
        """The command line, in the foreground."""

    def answers(self) -> bool:
        return all(is_listening(port, self.address) for port in self.ports)

    def use(self, sites: str) -> None:
        """Other text from now on: as an operator saves the file and reloads."""
        self.sites = sites
        self.configuration.write_text(self.frame())
        self.reload()

    def reload(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, self.reload_signal)

    reload_signal = signal.SIGHUP
