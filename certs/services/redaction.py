"""Which secrets this process was given by its environment, so that they can be taken out of what leaves it."""

import os
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from certs.acme.directories import KNOWN
from certs.domain.errors import SecretError
from certs.domain.redaction import Redaction, secrets_of_url
from portal import home
from portal.env import EnvError

_SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|KEY_RING|API_KEY|CREDENTIAL", re.IGNORECASE)
_LARGEST = 64 * 1024  # bytes of a file that holds a secret


def redaction_read(*, urls: frozenset[str] = frozenset()) -> Redaction:
    """`urls` may stand as they are, besides the directories of the known CAs."""
    known = frozenset(directory.url for directory in KNOWN.values())
    return Redaction(frozenset(filter(None, _secrets())), urls | known)


def _secrets() -> Iterator[str]:
    with suppress(ImproperlyConfigured):  # none yet
        yield settings.SECRET_KEY
    yield str(settings.DATABASES["default"].get("PASSWORD") or "")
    yield from _ring()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            yield _content(value) if name.endswith("_FILE") else value
        elif "://" in value:
            yield from secrets_of_url(value)


def _ring() -> Iterator[str]:
    try:
        keys = home.key_ring().keys.values()
    except (SecretError, EnvError):
        return
    for key in keys:
        yield from (b64encode(key).decode(), key.hex())


def _content(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_LARGEST).decode("utf-8", "replace").strip()
    except OSError:
        return ""
