"""One's own certificate, put as `server.crt` and `server.key` into the data directory.

Seen at start and at every scan, imported once per fingerprint. It is bound by itself only while nothing but the
placeholder is bound; later it is offered on the pages, for an operator's choice must not be undone by a file.
"""

import logging
import stat
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError, InputError
from certs.domain.keys import key_from_pem
from certs.domain.pem import certificates_read, chain_order
from certs.models import Certificate
from certs.services.bindings import binding_set, bindings_default_only_placeholder
from certs.services.certificates import certificate_import
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_update

log = logging.getLogger("bindery.import")

CERTIFICATE_FILE = "server.crt"
KEY_FILE = "server.key"
KEY_MODE = 0o400
ACTOR = "data directory"
_LARGEST = 1024 * 1024  # bytes of a file that is still looked at


@dataclass(frozen=True)
class ScanResult:
    """What a scan found: `certificate` when one was taken in just now, `error` for the person, or neither."""

    certificate: Certificate | None = None
    bound: bool = False
    error: str = ""


def own_certificate_is_there(home: Path) -> bool:
    return any((home / name).exists() for name in (CERTIFICATE_FILE, KEY_FILE))


def own_certificate_scan(home: Path) -> ScanResult:
    """Take in what is new. Never raises for what is wrong with the files: that is kept in PortalState.import_error,
    written and logged only when it changes, and tried again by the next scan (a file may be half written)."""
    if not own_certificate_is_there(home):
        _note_error("")
        return ScanResult()
    try:
        chain, key = _read(home / CERTIFICATE_FILE), _read(home / KEY_FILE)
        fingerprint = _fingerprint(chain, key)
        if fingerprint in state_get().imported_fingerprints:
            _note_error(_mode_warning(home / KEY_FILE))
            return ScanResult()
        certificate = certificate_import(chain=chain, key=key, actor=ACTOR)
        bound = _install(certificate, fingerprint)
    except BinderyError as error:
        _note_error(str(error))
        return ScanResult(error=str(error))
    _note_error(_mode_warning(home / KEY_FILE))
    return ScanResult(certificate, bound)


def offer_settle() -> None:
    """The offer on the pages was taken or declined."""
    state_update(import_offer=None)


def _read(file: Path) -> bytes:
    """Raises InputError."""
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(f"{file} is larger than 1 MiB, so it cannot be a certificate or a key.")
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: a certificate and its key are taken together.",
            advice=f"Put the PEM files {CERTIFICATE_FILE} (mode 0644) and {KEY_FILE} (mode 0400) into {file.parent}.",
        ) from None
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error.strerror}.",
            advice=f"Let the portal's user own it: chown it, then chmod {_mode(file)}.",
        ) from error
    if not content.strip():
        raise InputError(f"{file} is empty.")
    return content


def _fingerprint(chain: bytes, key: bytes) -> str:
    """Of the leaf, whatever the order in the file: root-first is accepted."""
    certificates = certificates_read(chain)
    return certificate_info(chain_order(certificates, key_from_pem(key).public_key()).leaf).fingerprint_sha256


def _install(certificate: Certificate, fingerprint: str) -> bool:
    """Bind it where nothing else is bound, else offer it; remember that it was taken. Whether it was bound."""
    with transaction.atomic():
        state_update(imported_fingerprints=[*state_get().imported_fingerprints, fingerprint])
        bound = bindings_default_only_placeholder()
        if bound:
            binding_set("", certificate, actor=ACTOR)
        else:
            state_update(import_offer=certificate)
        audit_record(ACTOR, "certificate.from-directory", certificate, after={"bound": bound})
    log.info("%s was taken from the data directory and %s", certificate.name, "bound" if bound else "is offered")
    return bound


def _mode_warning(key: Path) -> str:
    mode = stat.S_IMODE(key.stat().st_mode)
    if not mode & 0o077:
        return ""
    return f"The certificate was taken, but others on this machine may read its key: chmod {KEY_MODE:04o} {key}"


def _mode(file: Path) -> str:
    return "0400" if file.name == KEY_FILE else "0644"


def _note_error(text: str) -> None:
    if state_get().import_error == text:
        return
    state_update(import_error=text)
    if text:
        log.warning(text)
