"""Network sessions kept in a long-lived process: connections, nonces and directories that need no second asking.

A session is lent to one flow at a time, since neither a nonce pool nor a connection may be shared by threads.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.errors import DeserializationError
from josepy.jwk import JWK, JWKEC, JWKRSA

from certs.acme.client import DIRECTORY_FIELDS, AcmeClient
from certs.acme.directories import directory_label
from certs.acme.network import Network
from certs.domain.errors import AcmeRefused, KeyRefused
from certs.domain.keys import Key

DIRECTORY_SECONDS = 3600.0
IDLE_SECONDS = 300.0  # a CA closes idle connections and forgets nonces
KEPT = 16  # per account


@dataclass(frozen=True)
class Account:
    """What a session needs of an account. `uid` tells account and key apart; `url` is empty until it is registered."""

    uid: str
    directory_url: str
    url: str = field(compare=False)
    version: str  # of Bindery, for the User-Agent
    ca_bundle: str = ""
    allow_private: bool = False
    key: Callable[[], Key] | None = field(default=None, repr=False, compare=False)  # opened only for a new session


@dataclass
class _Kept:
    client: AcmeClient
    until: float


_lock = threading.Lock()
_idle: dict[Account, list[_Kept]] = {}
_directories: dict[tuple[str, str], tuple[float, messages.Directory]] = {}


@contextmanager
def session(account: Account) -> Iterator[AcmeClient]:
    """A client signed in as the account. It goes back to the pool unless the flow ended with an error."""
    client = _take(account) or _open(account)
    client.account_use(account.url)
    try:
        yield client
    except BaseException:
        client.net.close()
        raise
    with _lock:
        kept = _idle.setdefault(account, [])
        if len(kept) < KEPT:
            kept.append(_Kept(client, time.monotonic() + IDLE_SECONDS))
            return
    client.net.close()


def directory_fetch(network: Network, url: str) -> messages.Directory:
    """Ask for the directory. Raises AcmeRefused when the answer is no directory of RFC 8555 §7.1.1."""
    document = network.get(url).json()
    if not _is_directory(document):
        raise AcmeRefused(
            f"{url} answers, but not with an ACME directory.",
            advice="Give the directory's whole address, as the CA documents it.",
            code="acme-directory",
            problem=document if isinstance(document, dict) else {},
        )
    try:
        return messages.Directory.from_json({**document, "meta": document.get("meta") or {}})
    except DeserializationError as error:
        raise AcmeRefused(f"{url} answers with an ACME directory whose meta data cannot be read.") from error


def _is_directory(document: object) -> bool:
    if not isinstance(document, dict) or not isinstance(document.get("meta") or {}, dict):
        return False
    return all(isinstance(document.get(name), str) for name in DIRECTORY_FIELDS)


def sessions_forget() -> None:
    """Close what is kept; used by tests, and in a forked child, which must not share its parent's connections."""
    with _lock:
        kept = [item for items in _idle.values() for item in items]
        _idle.clear()
        _directories.clear()
    for item in kept:
        item.client.net.close()


def _take(account: Account) -> AcmeClient | None:
    now = time.monotonic()
    with _lock:
        kept = _idle.get(account, [])
        while kept:
            item = kept.pop()
            if item.until > now:
                return item.client
            item.client.net.close()
    return None


def _open(account: Account) -> AcmeClient:
    network = Network(
        _jwk(account.key()) if account.key else None,
        label=directory_label(account.directory_url),
        version=account.version,
        ca_bundle=account.ca_bundle,
        allow_private=account.allow_private,
    )
    try:
        return AcmeClient(_directory(network, account), network)
    except BaseException:
        network.close()
        raise


def _jwk(key: Key) -> JWK:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return JWKEC(key=key)
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key)
    raise KeyRefused("An Ed25519 key cannot be an account key.", advice="Use an EC P-256 key.")


def _directory(network: Network, account: Account) -> messages.Directory:
    key = (account.directory_url, account.ca_bundle)
    found = _directories.get(key)
    if found is not None and found[0] > time.monotonic():
        return found[1]
    directory = directory_fetch(network, account.directory_url)
    _directories[key] = (time.monotonic() + DIRECTORY_SECONDS, directory)
    return directory


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it at the fork
    _lock = threading.Lock()
    _idle.clear()  # not closed: the connections are the parent's, closing would say goodbye in its name


os.register_at_fork(after_in_child=_after_fork)
