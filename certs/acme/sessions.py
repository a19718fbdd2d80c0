"""Network sessions kept in a long-lived process: connections, nonces and directories that need no second asking.

A session is lent to one flow at a time, since neither a nonce pool nor a connection may be shared by threads.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from certs.acme.client import AcmeClient
from certs.acme.directories import DirectoryDocument, directory_label, directory_read
from certs.acme.network import Network, jwk_of
from certs.domain.keys import Key
from portal import clock

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
_directories: dict[tuple[str, str], tuple[float, DirectoryDocument]] = {}


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


def directory_fetch(network: Network, url: str) -> DirectoryDocument:
    """Ask for the directory. Raises AcmeRefused when the answer is no directory of RFC 8555 §7.1.1."""
    response = network.get(url)
    return directory_read(response.json(), url, sent=response.headers.get("Date", ""), now=clock.real())


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
        jwk_of(account.key()) if account.key else None,
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


def _directory(network: Network, account: Account) -> DirectoryDocument:
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
