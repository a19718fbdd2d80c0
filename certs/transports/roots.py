"""The roots that whatever goes out of here trusts: the system's, and the operator's own besides (BINDERY_CA_BUNDLE)."""

import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import certifi

from certs.domain.errors import InputError

BUNDLES = ("ca-certificates.crt", "ca-bundle.crt")  # Debian, Alpine, Arch; Fedora and its kin
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_own: list[str] = []  # PEM, at most one
_followed: list[Callable[[], str]] = []  # at most one


def roots_add(pem: str) -> None:
    """From now on trusted by the whole process, besides the system's; the ones added before go. Called at the start."""
    _own[:] = [pem] if pem else []


def roots_follow(source: Callable[[], str] | None) -> None:
    """PEM from `source` is trusted besides, asked for at each use; None ends that. It must be quick and never raise."""
    _followed[:] = [source] if source else []


def system_file() -> Path:
    """The system's bundle (SSL_CERT_FILE where that is set), else Mozilla's roots as certifi ships them."""
    # OpenSSL knows a directory rather than a file on some systems; the bundle made of it lies inside.
    known = ssl.get_default_verify_paths()
    candidates = (known.cafile, *(f"{known.capath}/{name}" for name in BUNDLES if known.capath))
    return Path(next((file for file in candidates if file and Path(file).is_file()), certifi.where()))


def roots_pem() -> str:
    """All that is trusted as one PEM text, for programs that read a file.

    What else speaks HTTPS by itself takes REQUESTS_CA_BUNDLE for the whole of its roots, so those are in it too.
    """
    files = [system_file(), *(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))]
    texts = []
    for file in dict.fromkeys(str(each) for each in files if each):
        with suppress(OSError):
            texts.append(Path(file).read_text(encoding="utf-8", errors="replace"))
    return "\n".join([*texts, own_pem()])


def own_pem() -> str:
    """What is trusted besides the system's roots: of `roots_add` and `roots_follow`."""
    return "\n".join(filter(None, (*_own, *(source() for source in _followed))))


def roots_load(context: ssl.SSLContext, bundle: str) -> None:
    """Trust the certificates of a PEM text besides. Raises InputError.

    Only the certificates of it: OpenSSL refuses letters that are not ASCII, even in what stands between them.
    """
    blocks = [part.partition(_END)[0] for part in bundle.split(_BEGIN)[1:]]
    try:
        context.load_verify_locations(cadata="".join(f"{_BEGIN}{block}{_END}\n" for block in blocks))
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise InputError(
            "The CA bundle is not readable.", advice="Give the PEM text of the CA's root certificate.", code="ca-bundle"
        ) from error


def browser_context(roots: Path) -> ssl.SSLContext:
    """Judges a server as a browser with these roots does: without the flaws that Python 3.13 alone minds. Raises
    OSError where the file cannot be read."""
    context = ssl.create_default_context(cafile=str(roots))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def roots_read(data: bytes) -> str:
    """PEM of a file with one or many certificates in PEM form, or with one in DER. Raises InputError."""
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    if _BEGIN not in text and data[:1] == b"\x30":  # a SEQUENCE: how Windows exports a certificate
        text = ssl.DER_cert_to_PEM_cert(data)
    roots_load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), text)
    return text
