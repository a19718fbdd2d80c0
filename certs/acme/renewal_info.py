"""The CA's suggestion when to renew a certificate (ARI, RFC 9773): asked by GET, without an account.

Nothing here raises for what a CA says or does not say: renewal goes on by its date.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import requests

from certs.acme.directories import directory_label
from certs.acme.network import UNTRUSTED, Network
from certs.acme.problems import retry_at
from certs.acme.sessions import directory_fetch
from certs.domain.ari import moment_read, url_read
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, InputError
from portal import clock

READ_SECONDS = 5.0  # and as long to connect
RETRY_LOW, RETRY_HIGH = timedelta(hours=1), timedelta(hours=24)
RETRY_DEFAULT = timedelta(hours=6)  # RFC 9773 §4.3.3


@dataclass(frozen=True)
class RenewalInfo:
    """The window is aware UTC, its end after its start."""

    start: datetime
    end: datetime
    explanation_url: str
    retry_at: datetime


@dataclass(frozen=True)
class NoRenewalInfo:
    """No answer to go by. `directory_wide`: it is no use to ask for other certificates. `unknown`: so the CA says."""

    reason: str
    retry_at: datetime
    directory_wide: bool = False
    unknown: bool = False


class RenewalInfoReader:
    """Asks one directory over one connection; used by one thread. `now` is the clock of `retry_at`."""

    def __init__(self, directory_url: str, *, version: str, ca_bundle: str = "", allow_private: bool = False) -> None:
        self._directory_url = directory_url
        self._version = version
        self._ca_bundle = ca_bundle
        self._allow_private = allow_private
        self._network: Network | None = None
        self._resource = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._network is not None:
            self._network.close()

    def read(self, ari_id: str, now: datetime) -> RenewalInfo | NoRenewalInfo:
        """Network, at most about 10 s, twice that where the directory has to be asked first."""
        try:
            network, resource = self._open()
        except (AcmeFailure, InputError) as error:
            return NoRenewalInfo(error.message, now + _wait(error), directory_wide=True)
        if not resource:
            label = directory_label(self._directory_url)
            reason = f"{label} gives no renewal information."
            return NoRenewalInfo(reason, now + RETRY_HIGH, directory_wide=True, unknown=True)
        try:
            response = network.get(f"{resource.rstrip('/')}/{ari_id}")
        except AcmeRefused as error:
            gone = error.problem.get("status") in {404, 410}
            wait = RETRY_HIGH if gone else RETRY_DEFAULT
            untrusted = error.code == UNTRUSTED
            return NoRenewalInfo(error.message, now + wait, directory_wide=untrusted, unknown=gone)
        except (AcmeRetry, InputError) as error:
            return NoRenewalInfo(error.message, now + _wait(error), directory_wide=True)
        return _renewal_info(response, now)

    def _open(self) -> tuple[Network, str]:
        if self._network is None:
            network = Network(
                label=directory_label(self._directory_url),
                version=self._version,
                ca_bundle=self._ca_bundle,
                allow_private=self._allow_private,
                read_seconds=READ_SECONDS,
                retries=0,
            )
            try:
                directory = directory_fetch(network, self._directory_url).to_partial_json()
            except BaseException:
                network.close()
                raise
            found = directory.get("renewalInfo")
            self._network, self._resource = network, found if isinstance(found, str) else ""
        return self._network, self._resource


def _renewal_info(response: requests.Response, now: datetime) -> RenewalInfo | NoRenewalInfo:
    wait = retry_wait(retry_at(response.headers, clock.real()), RETRY_DEFAULT)
    document = response.json()  # the network has refused what is not JSON
    window = document.get("suggestedWindow") if isinstance(document, dict) else None
    start, end = (_moment(window.get(name)) for name in ("start", "end")) if isinstance(window, dict) else (None, None)
    if start is None or end is None:
        return NoRenewalInfo("The CA's answer names no window.", now + wait)
    if end <= start:  # RFC 9773 §4.2: as if nothing had been answered
        return NoRenewalInfo("The CA's window ends before it begins.", now + wait)
    return RenewalInfo(start, end, url_read(document.get("explanationURL")), now + wait)


def _moment(text: object) -> datetime | None:
    """RFC 3339: a date with a time and a zone."""
    return moment_read(text) if isinstance(text, str) and _has_zone(text) else None


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _wait(error: AcmeFailure | InputError) -> timedelta:
    return retry_wait(error.retry_at if isinstance(error, AcmeRetry) else None, RETRY_LOW)


def retry_wait(retry_at: datetime | None, default: timedelta) -> timedelta:
    """From the CA's Retry-After (real time) to a wait between an hour and a day."""
    wait = default if retry_at is None else retry_at - clock.real()
    return max(RETRY_LOW, min(RETRY_HIGH, wait))
