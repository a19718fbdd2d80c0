"""gunicorn's configuration: python -m gunicorn -c python:portal.server.gunicorn_conf portal.wsgi:application

The sockets come from the supervisor (inherited.py). gunicorn's certfile stays unset: it would make every listener
speak TLS. Never send SIGHUP to change sockets: a gunicorn 27 master dies of it.
"""

import gc
import logging
import os
import resource
from typing import Any

import django
from django.conf import settings
from django.db import DatabaseError, connections

from certs.domain.errors import BinderyError
from portal.server import inherited

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()  # gunicorn imports the worker class, and with it the models, before it loads the application

from certs.services.serving import placeholder_ensure, process_gone  # noqa: E402 - needs the set-up above

log = logging.getLogger("bindery.web")

_CONNECTIONS = 2000  # per process; each waits in the poller
_OTHER_FILES = 128  # databases, templates, static files


def _connections_possible() -> int:
    """As many as wanted, within the number of open files that the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _CONNECTIONS + _OTHER_FILES:
        soft = min(hard, _CONNECTIONS + _OTHER_FILES) if hard != resource.RLIM_INFINITY else _CONNECTIONS + _OTHER_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _CONNECTIONS if soft == resource.RLIM_INFINITY else min(_CONNECTIONS, max(soft - _OTHER_FILES, 64))


_sockets = inherited.read_once()
if _sockets:
    bind = [f"fd://{entry.fd}" for entry in _sockets]

worker_class = "portal.server.worker.ThreadWorker"
logger_class = "portal.server.glog.Logger"
proc_name = "bindery"
workers = settings.WEB_WORKERS
threads = settings.WEB_THREADS
worker_connections = _connections_possible()
preload_app = True  # the code is shared by the workers, and a broken one is seen before anything listens
keepalive = 100  # longer than the proxies in front keep theirs (nginx 60 s, Traefik 90 s), so that none finds it closed
timeout = 60
graceful_timeout = 25
reuse_port = False
sendfile = False  # answers go through the outbox of a Channel
control_socket_disable = True
http_protocols = "h1"
proxy_protocol = "off"
# Which proxy may speak for a client is judged in the application, by its own list.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}


def on_starting(_server: Any) -> None:
    try:
        placeholder_ensure()
    except (BinderyError, DatabaseError) as error:
        log.error("The placeholder certificate could not be made: %s", error)


def when_ready(_server: Any) -> None:
    log.info("Listening at %s", ", ".join(str(entry) for entry in _sockets) or "gunicorn's own sockets")
    # What is loaded by now stays shared between the workers: the collector no longer writes to it.
    gc.collect()
    gc.freeze()


def pre_fork(_server: Any, _worker: Any) -> None:
    """A database connection must never be used on both sides of a fork."""
    connections.close_all()


def child_exit(_server: Any, worker: Any) -> None:
    """In the arbiter: a worker that was killed could not take its row with it."""
    try:
        process_gone(worker.pid)
    except DatabaseError as error:
        log.debug("The row of process %s stays until it is pruned: %s", worker.pid, error)
    finally:
        connections.close_all()
