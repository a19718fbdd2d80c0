"""Orders against a real CA without a portal around them: a small HTTP server that answers the challenges."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from tests.harness.ports import LOOPBACK, free_port


class Responder:
    """Answers http-01 as the portal does. `override` maps a token to what is said instead; `asked` counts requests."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.asked: list[str] = []
        self.override: dict[str, tuple[int, str]] = {}
        self.everything: tuple[int, str] | None = None

    def __enter__(self) -> Self:
        from django.db import connection

        from certs.services.challenges import challenge_answer

        responder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.path.rsplit("/", 1)[-1]
                responder.asked.append(token)
                if responder.everything:
                    status, text = responder.everything
                else:
                    answer = challenge_answer(token)
                    status, text = responder.override.get(token) or ((200, answer) if answer else (404, "not here"))
                connection.close()
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = _Server((LOOPBACK, self.port), Handler)
        self._server.daemon_threads = False  # joined at the end, so that no connection outlives the test's database
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def account_at(pebble: Any, email: str = "") -> Any:
    from certs.services.accounts import account_get_or_create

    return account_get_or_create(
        directory_url=pebble.directory_url,
        email=email,
        ca_bundle=pebble.ca_bundle_pem,
        allow_private=True,
        terms_url="data:text/plain,Do%20what%20thou%20wilt",
        actor="test",
    )


def order_for(account: Any, *names: str, **options: Any) -> Any:
    from certs.services.certificates import certificate_new
    from certs.services.orders import order_create

    wanted = list(names) or [f"{uuid4().hex[:10]}.example.test"]
    certificate = certificate_new(name=wanted[0], names=wanted, account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test", **options)


def advance(order: Any) -> Any:
    """Claim and advance this one order as a runner would; returns it as it is then."""
    from uuid import uuid4

    from certs.models import Order
    from certs.services.order_advance import order_advance
    from certs.services.orders import orders_claim

    owner = uuid4()
    Order.objects.filter(pk=order.pk).update(next_attempt_at=order.created_at)
    for claimed in orders_claim(50, owner):
        order_advance(claimed, owner)
    order.refresh_from_db()
    return order
