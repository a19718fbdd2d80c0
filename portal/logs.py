"""One structured log on stderr for gunicorn, queue and supervisor; the job's id on each line, secrets masked."""

import logging
import logging.config
import re
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SECRET_PAIR = re.compile(
    r"""(?ix) \b (password|passwd|passphrase|secret|token|authorization|hmac|api[_-]?key)
        (["']?\s*[=:]\s*["']?) [^\s"',;&]+"""
)
_USER_OF_URL = re.compile(r"(?<=://)[^/\s@\"']*:[^/\s@]*@")  # http://user:password@proxy
_ONE_TIME_LINK = re.compile(r"(/(?:setup|session)/)[A-Za-z0-9_-]{20,}")
_SECRET_FIELDS = frozenset({"password", "passphrase", "secret", "token", "key", "hmac", "private_key"})
MASK = "•••"


def mask(text: str) -> str:
    text = _PRIVATE_KEY.sub(f"-----PRIVATE KEY {MASK}-----", text)
    text = _USER_OF_URL.sub(f"{MASK}@", text)
    text = _ONE_TIME_LINK.sub(rf"\1{MASK}", text)
    return _SECRET_PAIR.sub(rf"\1\2{MASK}", text)


def _mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = MASK
        elif isinstance(value, str):
            event[name] = mask(value)
    return event


def _drop_record_internals(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["pid"] = event["_record"].process
    return event


@contextmanager
def job(job_id: object) -> Iterator[None]:
    """Every line logged inside carries `job`."""
    tokens = bind_contextvars(job=str(job_id))
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def configure(level: str, style: str) -> None:
    """`level` is a name of logging in lower case, `style` is text or json."""
    shared: list[Any] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_record_internals,
        structlog.processors.format_exc_info,
        _mask_event,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {"()": structlog.stdlib.ProcessorFormatter, "processors": [*shared, renderer]},
            },
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
            },
            "root": {"level": level.upper(), "handlers": ["stderr"]},
            "loggers": {
                "asyncio": {"level": "WARNING"},
                "urllib3": {"level": "WARNING"},
                # Prints JWS payloads and whole answers at debug level.
                "acme": {"level": "INFO"},
                "django.db.backends": {"level": "INFO"},
                "django.request": {"level": "ERROR"},
            },
        }
    )
