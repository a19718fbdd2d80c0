"""Debian's certbot as an operator uses it, with directories of its own and pebble as its CA."""

import os
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness import counterparts
from tests.harness.pebble import Pebble
from tests.harness.ports import LOOPBACK


class Certbot:
    """`home` is what /etc/letsencrypt is elsewhere. Give pebble `nonce_reject=0`: Debian's certbot tries but once."""

    def __init__(self, folder: Path, ca: Pebble) -> None:
        self.home = folder / "letsencrypt"
        self._folder, self._ca = folder, ca

    def order(self, *words: str | Path) -> None:
        self.run("certonly", *words)

    def renew(self, name: str) -> None:
        """Though it is not due; without the pause of up to eight minutes that certbot makes where nobody watches."""
        self.run("renew", "--no-random-sleep-on-renew", "--force-renewal", "--cert-name", name)

    def run(self, *words: str | Path) -> str:
        places = [
            ("--config-dir", self.home),
            ("--work-dir", self._folder / "lib"),
            ("--logs-dir", self._folder / "log"),
        ]
        command: list[str | Path] = [counterparts.find("certbot"), *words]
        command += [word for pair in places for word in pair]
        command += ["--server", self._ca.directory_url, "--http-01-port", str(self._ca.http_port)]
        command += ["--non-interactive", "--agree-tos", "-m", "ops@example.com", "--no-eff-email"]
        done = subprocess.run(
            command,
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(self._ca.ca_bundle_file)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


class FileServer:
    """A web server of a directory, on the port where the CA looks."""

    def __init__(self, root: Path, port: int) -> None:
        self._root, self._port = root, port

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer((LOOPBACK, self._port), partial(_Handler, directory=str(self._root)))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass
