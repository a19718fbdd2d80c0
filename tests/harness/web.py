"""gunicorn with the portal's own configuration on free loopback ports, on a database of its own."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.harness.ports import PATIENCE_FACTOR, wait_until
from tests.harness.prepared import database_copy

ROOT = Path(__file__).resolve().parents[2]
CONF = "python:portal.server.gunicorn_conf"
START_SECONDS = 30
ECHO = "tests.harness.echo_wsgi:application"


def python_env(home: Path, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BINDERY_", "DATABASE_URL"))}
    return {
        **kept,
        "BINDERY_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(ROOT),
        **extra,
    }


def make_home(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    database_copy(folder / "bindery.sqlite3")
    return folder


def listen(address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, 0))
    sock.listen(512)
    return sock


@dataclass
class Web:
    """Owns the listening sockets, as the supervisor does; `start` may be called again for a second arbiter on them."""

    home: Path
    conf: str = CONF
    app: str = ECHO
    env: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    threads: int = 4
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plain_socket, self.secure_socket = listen(), listen()
        self.plain: tuple[str, int] = self.plain_socket.getsockname()
        self.secure: tuple[str, int] = self.secure_socket.getsockname()
        self.log_file = self.home / "web.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def start(self) -> "subprocess.Popen[bytes]":
        fds = self.plain_socket.fileno(), self.secure_socket.fileno()
        sockets = [{"fd": fds[0], "protocol": "http"}, {"fd": fds[1], "protocol": "https"}]
        env = python_env(
            self.home,
            BINDERY_SOCKETS=json.dumps(sockets),
            BINDERY_WEB_WORKERS=str(self.workers),
            BINDERY_WEB_THREADS=str(self.threads),
            BINDERY_HTTPS_PORT=str(self.secure[1]),
            **self.env,
        )
        ready = self.log.count("Serving generation") if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", self.conf, self.app],
                cwd=ROOT,
                env=env,
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        wait_until(
            lambda: process.poll() is not None or self.log.count("Serving generation") >= ready + self.workers,
            timeout=START_SECONDS,
            what="workers that serve",
        )
        if process.poll() is not None:
            raise RuntimeError(f"gunicorn ended: {self.log[-3000:]}")
        return process

    def workers_of(self, process: "subprocess.Popen[bytes]") -> list[int]:
        return [child.pid for child in psutil.Process(process.pid).children()]

    def close(self) -> None:
        for process in self.processes:
            family = []
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.wait(5)
        self.plain_socket.close()
        self.secure_socket.close()


@contextlib.contextmanager
def web_running(home: Path, **options: object) -> Iterator[Web]:
    web = Web(home, **options)  # type: ignore[arg-type]  # passed through to the dataclass
    try:
        web.start()
        yield web
    finally:
        web.close()


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tls_connect(address: tuple[str, int], name: str | None = None, timeout: float = 15) -> ssl.SSLSocket:
    raw = socket.create_connection(address, timeout=timeout)
    try:
        return client_context().wrap_socket(raw, server_hostname=name)
    except BaseException:
        raw.close()
        raise


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


def read_reply(sock: socket.socket, buffer: bytearray | None = None) -> Reply:
    """One response, by length or in chunks; what follows it stays in `buffer`. Raises EOFError when it is cut."""
    data = bytearray() if buffer is None else buffer
    while b"\r\n\r\n" not in data:
        _more(sock, data)
    head, _, _ = bytes(data).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split()[1])
    start = len(head) + 4
    if headers.get("transfer-encoding") == "chunked":
        del data[:start]
        return Reply(status, headers, _chunks(sock, data))
    end = start + (0 if 100 <= status < 200 else int(headers.get("content-length", "0")))
    while len(data) < end:
        _more(sock, data)
    body = bytes(data[start:end])
    del data[:end]
    return Reply(status, headers, body)


def _chunks(sock: socket.socket, data: bytearray) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in data:
            _more(sock, data)
        line, _, _ = bytes(data).partition(b"\r\n")
        size = int(line, 16)
        end = len(line) + 2 + size + 2
        while len(data) < end:
            _more(sock, data)
        body += bytes(data[len(line) + 2 : end - 2])
        del data[:end]
        if size == 0:
            return body


def _more(sock: socket.socket, data: bytearray) -> None:
    piece = sock.recv(65536)
    if not piece:
        raise EOFError(f"cut after {len(data)} bytes")
    data += piece


def get(path: str = "/", *, close: bool = False, host: str = "portal.test", more: Mapping[str, str] = {}) -> bytes:
    lines = [*(f"{name}: {value}\r\n" for name, value in more.items()), "Connection: close\r\n" if close else ""]
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{''.join(lines)}\r\n".encode()


def ask(address: tuple[str, int], request: bytes, *, tls: bool = False, name: str | None = None) -> Reply:
    sock = tls_connect(address, name) if tls else socket.create_connection(address, timeout=15)
    with sock:
        sock.sendall(request)
        return read_reply(sock)


def eventually(condition: object, timeout: float = 5) -> None:
    """`condition` is called until it is true."""
    deadline = time.monotonic() + timeout * PATIENCE_FACTOR
    while not condition():  # type: ignore[operator]  # a callable
        if time.monotonic() > deadline:
            raise AssertionError("did not come true in time")
        time.sleep(0.05)
