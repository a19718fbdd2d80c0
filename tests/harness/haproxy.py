"""HAProxy (Debian's) with the frontends and backends of a test, in the foreground, in a directory of its own."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.harness import counterparts
from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, is_listening, wait_until

_LOADED = "Loading success"  # the master says so once a new worker has taken the sockets
_BEGIN = """global
    log stdout format raw local0
    maxconn 256
    # It verifies nothing of ours by chance: a test that wants TLS towards a server says so.
    ssl-server-verify none

defaults
    log global
    mode http
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s

"""


class Haproxy(Daemon):
    """`sections` are its frontends and backends as they stand in haproxy.cfg; `port` is one that a frontend binds.

    Files that they name (`crt`, maps) can be written below `home` before it is started. `reload` is what
    `systemctl reload haproxy` does.
    """

    program = "haproxy"

    def __init__(self, sections: str, *, port: int, address: str = LOOPBACK) -> None:
        super().__init__()
        self.sections = sections
        self._port, self._address = port, address

    @property
    def config_file(self) -> Path:
        return self.home / "haproxy.cfg"

    def command(self, program: Path) -> Sequence[str | Path]:
        self._write()
        return [program, "-W", "-db", "-f", self.config_file]

    def answers(self) -> bool:
        return is_listening(self._port, self._address)

    def check(self) -> str:
        """What `haproxy -c` says against the sections; empty where it accepts them."""
        self._write()
        done = subprocess.run(
            [counterparts.find(self.program), "-c", "-f", self.config_file],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr or done.stdout

    def reload(self, sections: str) -> None:
        """Serve other sections from now on. Raises ValueError, with its words, where HAProxy refuses them."""
        assert self._process is not None
        before, self.sections = self.sections, sections
        if refused := self.check():
            self.sections = before
            self._write()
            raise ValueError(refused)
        loaded = self.log.count(_LOADED)
        self._process.popen.send_signal(signal.SIGUSR2)
        wait_until(lambda: self.log.count(_LOADED) > loaded, timeout=10, what="a reload of haproxy")

    def _write(self) -> None:
        self.config_file.write_text(_BEGIN + self.sections)
