"""The internals of gunicorn that portal/server builds on. A failure here means: read gunicorn's changes first."""

import inspect
from importlib.metadata import version
from typing import Any

import pytest
from gunicorn import arbiter, config, glogging, http, sock
from gunicorn.http import message, parser, unreader, wsgi
from gunicorn.workers import base, gthread

from portal.server.worker import ThreadWorker


def test_version_is_the_pinned_one() -> None:
    assert version("gunicorn") == "27.0.1"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (gthread.ThreadWorker.run, "self"),
        (gthread.ThreadWorker.accept, "self listener"),
        (gthread.ThreadWorker.enqueue_req, "self conn"),
        (gthread.ThreadWorker.finish_request, "self conn fs"),
        (gthread.ThreadWorker.handle, "self conn"),
        (gthread.ThreadWorker.handle_request, "self req conn"),
        (gthread.ThreadWorker.set_accept_enabled, "self enabled"),
        (gthread.ThreadWorker.wait_for_and_dispatch_events, "self timeout"),
        (gthread.ThreadWorker.is_parent_alive, "self"),
        (gthread.ThreadWorker.handle_exit, "self sig frame"),
        (gthread.PollableMethodQueue.run_callbacks, "self _fileobj max_callbacks"),
        (base.Worker.handle_error, "self req client addr exc"),
        (base.Worker.__init__, "self age ppid sockets app timeout cfg log"),
        (http.get_parser, "cfg source source_addr http2_connection"),
        (parser.Parser.finish_body, "self deadline max_bytes"),
        (unreader.Unreader.unread, "self data"),
        (unreader.Unreader.take_buffered, "self"),
        (wsgi.create, "req sock client server cfg response_class response_args"),
        (glogging.Logger.setup, "self cfg"),
        (glogging.Logger.access, "self resp req environ request_time"),
        (sock.create_sockets, "conf log fds"),
    ],
)
def test_signatures(function: Any, parameters: str) -> None:
    assert list(inspect.signature(function).parameters) == parameters.split()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        # A pool thread's result comes back to the main thread through the method queue.
        (gthread.ThreadWorker.enqueue_req, ["self.tpool.submit(self.handle, conn)", "self.finish_request, conn, fut"]),
        (gthread.ThreadWorker.init_process, ["self.tpool", "self.poller", "self.method_queue.init()"]),
        (gthread.ThreadWorker.handle_request, ["conn.sock, conn.client", "conn.server", "if not self.alive"]),
        (gthread.ThreadWorker.wait_for_and_dispatch_events, ["callback = key.data", "callback(key.fileobj)"]),
        # The scheme comes from the configuration that the parser is given.
        (message.Message.__init__, ['self.scheme = "https" if cfg.is_ssl else "http"']),
        # What `_is_read` has drained it finds at its end.
        (parser.Parser.__next__, ["if not self.finish_body():"]),
        (wsgi.create, ["req._expected_100_continue", "sock.send(b", "environ['wsgi.url_scheme'] = req.scheme"]),
        # Descriptors are duplicated and closed.
        (sock.BaseSocket.__init__, ["socket.fromfd(fd", "os.close(fd)"]),
        # The worker class is imported before the application: gunicorn_conf sets Django up itself.
        (arbiter.Arbiter.setup, ["self.worker_class = self.cfg.worker_class", "self.app.wsgi()"]),
        (arbiter.Arbiter.spawn_worker, ["self.cfg.pre_fork(self, worker)", "os.fork()"]),
        (arbiter.Arbiter.reap_workers, ["self.cfg.child_exit(self, worker)"]),
        (glogging.Logger.__init__, ["self.error_log", "self.access_log", "self.setup(cfg)"]),
    ],
)
def test_bodies_still_hold_what_we_rely_on(function: Any, words: list[str]) -> None:
    source = inspect.getsource(function)
    assert [word for word in words if word not in source] == []


def test_settings_of_our_configuration_exist() -> None:
    ours = "bind worker_class logger_class proc_name workers threads worker_connections preload_app keepalive timeout"
    more = "graceful_timeout reuse_port sendfile control_socket_disable http_protocols proxy_protocol"
    last = "forwarded_allow_ips secure_scheme_headers on_starting when_ready pre_fork child_exit"
    known = config.make_settings()
    assert [name for name in f"{ours} {more} {last}".split() if name not in known] == []
    assert isinstance(config.Config.is_ssl, property)


def test_nothing_else_of_the_base_class_is_replaced() -> None:
    replaced = {
        name for name in vars(ThreadWorker) if hasattr(gthread.ThreadWorker, name) and not name.startswith("__")
    }
    assert replaced == {"run", "accept", "finish_request", "handle"}
