"""gunicorn's lines through the one log of the portal."""

import logging
from datetime import timedelta
from typing import Any

from gunicorn import glogging

_NOISE = ("Listening at: ", "Booting worker with pid", "Worker exiting (pid")


def _is_telling(record: logging.LogRecord) -> bool:
    """gunicorn cannot know which of its sockets speak TLS (gunicorn_conf says it), and tells each birth of a worker."""
    return not str(record.msg).startswith(_NOISE)


class Logger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no type information
    def setup(self, cfg: Any) -> None:
        """Leaves format and level to portal.logs; gunicorn's own handlers are never made."""
        self.cfg = cfg
        self._access_log_enabled = True
        for log in (self.error_log, self.access_log):
            log.propagate = True
            log.setLevel(logging.NOTSET)
        self.error_log.filters[:] = [_is_telling]

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """At debug level: the requests that matter to a person are told by the views that answer them."""
        if not self.access_log.isEnabledFor(logging.DEBUG):
            return
        self.access_log.debug(
            "%s %s",
            environ.get("REQUEST_METHOD", "-"),
            environ.get("PATH_INFO", ""),
            extra={
                "status": str(resp.status).split(maxsplit=1)[0],
                "source": environ.get("REMOTE_ADDR", "-"),
                "host": environ.get("HTTP_HOST", "-"),
                "scheme": environ.get("wsgi.url_scheme", "-"),
                "ms": round(request_time.total_seconds() * 1000, 1),
            },
        )
