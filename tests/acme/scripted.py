"""An HTTPS server that answers what a test tells it, and remembers what it was asked."""

import json
import ssl
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from josepy.b64 import b64decode

from tests.harness import pki
from tests.harness.ports import LOOPBACK

Answer = tuple[int, dict[str, str], bytes]


class Scripted:
    """`answers` are given in turn, the last one for ever; an answer of None cuts the connection.

    HEAD (newNonce) is answered by itself and hands out nonces n001, n002, …; `nonces` are those seen in POSTs.
    """

    def __init__(self, *answers: Answer | Callable[[], Answer] | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.nonces: list[str] = []
        self.signed: list[dict[str, str]] = []  # the bodies of POSTs as they came
        self.handed_out = 0
        self.authority = pki.authority("Scripted root")

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def posts(self) -> list[str]:
        return [path for method, path, _ in self.requests if method == "POST"]

    def __enter__(self) -> Self:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are written apart: 40 ms each otherwise

            def do_HEAD(self) -> None:
                scripted.requests.append(("HEAD", self.path, dict(self.headers)))
                scripted.handed_out += 1
                self.send_response(200)
                self.send_header("Replay-Nonce", f"n{scripted.handed_out:03}")
                self.end_headers()

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                signed = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.signed.append(signed)
                scripted.nonces.append(part(signed, "protected")["nonce"])
                self._answer()

            def _answer(self) -> None:
                scripted.requests.append((self.command, self.path, dict(self.headers)))
                answer = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
                if answer is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, content = answer() if callable(answer) else answer
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that went away, and a connection that we cut ourselves."""

        server = pki.leaf(self.authority, ["localhost"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(server.pem + server.key_pem)
            file.flush()
            context.load_cert_chain(Path(file.name))
        self._server = Server((LOOPBACK, 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def part(signed: dict[str, str], name: str) -> Any:
    """The "protected" header or the "payload" of a flattened JWS; None for the empty payload of POST-as-GET."""
    octets = b64decode(signed[name])
    return json.loads(octets) if octets else None


def problem(code: str, status: int = 400, **headers: str) -> Answer:
    document = {"type": f"urn:ietf:params:acme:error:{code}", "detail": f"this is {code}"}
    return status, {"Content-Type": "application/problem+json", **headers}, json.dumps(document).encode()


def document(content: Any, **headers: str) -> Answer:
    return 200, headers, json.dumps(content).encode()
