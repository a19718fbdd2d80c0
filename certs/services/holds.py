"""A CA that has asked to be left alone is left alone by whatever we want of it, in every process, until that time.

Orders, accounts, revocations and directories all ask here first. What a CA says of one order alone is that order's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus

from django.db.models import Q, QuerySet

from certs.acme.directories import directory_label
from certs.domain.errors import AcmeRetry
from certs.models import AcmeDirectory
from portal import clock

HELD = "acme-held"  # the code of what was not asked
_told: dict[str, datetime] = {}


@contextmanager
def directory_asked(url: str) -> Iterator[None]:
    """Around a request: not made while the CA wants to be left alone, and what it says of that now is kept to by all.

    Raises AcmeRetry (code HELD). Not in a thread without a database.
    """
    directory_free(url)
    try:
        yield
    except AcmeRetry as error:
        directory_obey(url, error)
        raise


def directory_free(url: str) -> None:
    """Raises AcmeRetry (code HELD) with the time while the CA wants to be left alone."""
    _refuse(url, directory_held(url))


def directory_still_free(url: str) -> None:
    """The same as far as this process was told itself: asked before each request, so it costs nothing."""
    until = _told.get(url)
    _refuse(url, until - clock.now() if until is not None and until > clock.now() else None)


def directory_obey(url: str, error: AcmeRetry, *, limits: bool = False) -> None:
    """Keep to a Retry-After that is about the CA itself (503, RFC 9110 §15.6.4), or with `limits` to that of a rate
    limit too: where it is about the address that we ask from, as that of new accounts is."""
    status = error.problem.get("status")
    about_all = status == HTTPStatus.SERVICE_UNAVAILABLE or (limits and status == HTTPStatus.TOO_MANY_REQUESTS)
    if about_all and error.retry_at is not None:
        directory_hold(url, error.retry_at - clock.real())


def directory_hold(url: str, wait: timedelta) -> None:
    """Told several things, we keep to the longest."""
    until = clock.now() + wait
    _told[url] = max(until, _told.get(url, until))
    row, _ = AcmeDirectory.objects.get_or_create(directory_url=url)
    shorter = Q(retry_after_at=None) | Q(retry_after_at__lt=until)
    AcmeDirectory.objects.filter(shorter, pk=row.pk).update(retry_after_at=until)


def directory_held(url: str) -> timedelta | None:
    """For how long the CA wants to be left alone; None where it may be asked."""
    rows = directories_held().filter(directory_url=url)
    until: datetime | None = rows.values_list("retry_after_at", flat=True).first()
    if until is None:
        _told.pop(url, None)
        return None
    return until - clock.now()


def directories_held() -> QuerySet[AcmeDirectory]:
    return AcmeDirectory.objects.filter(retry_after_at__gt=clock.now())


def _refuse(url: str, wait: timedelta | None) -> None:
    if wait is None:
        return
    # The clock of decisions may be moved; whoever waits does so in real time.
    until = clock.real() + wait
    said = f"{directory_label(url)} has asked to be left alone until {until:%Y-%m-%d %H:%M} UTC."
    raise AcmeRetry(said, code=HELD, retry_at=until)
