"""What the directories of the CAs in use say of themselves, asked once a day, so that nobody finds out by a failure."""

import logging
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from certs.domain.errors import BinderyError
from certs.models import AcmeAccount, AcmeDirectory
from certs.services.accounts import directory_read
from portal import clock

log = logging.getLogger("bindery.directories")
EVERY = timedelta(hours=24)
EVERY_SILENT = timedelta(hours=1)  # one that did not answer
_told: dict[str, datetime] = {}
_AT_ONCE = 8  # each may take ten seconds


def directories_used() -> QuerySet[AcmeAccount, str]:
    """The addresses of those at which we have an account."""
    return (
        AcmeAccount.objects.filter(deactivated_at=None).exclude(account_url="").values_list("directory_url", flat=True)
    )


def directories_check() -> int:
    """Ask the directories whose turn it is, and store what they say; returns how many were asked. Network."""
    _ensure_rows()
    now = clock.now()
    silent = ~Q(trouble="") & Q(checked_at__lte=now - EVERY_SILENT)
    due = AcmeDirectory.objects.filter(Q(checked_at=None) | Q(checked_at__lte=now - EVERY) | silent)
    due = due.exclude(pk__in=directories_held().values("pk"))
    rows = list(due.filter(directory_url__in=directories_used()).order_by("checked_at")[:_AT_ONCE])
    return sum(_check(row) for row in rows)


def _ensure_rows() -> None:
    known = AcmeDirectory.objects.values("directory_url")
    urls = set(directories_used().exclude(directory_url__in=known))
    if urls:
        AcmeDirectory.objects.bulk_create([AcmeDirectory(directory_url=url) for url in urls], ignore_conflicts=True)


def _check(row: AcmeDirectory) -> bool:
    now = clock.now()
    # Written first: another node, or this one after a kill, must not ask again.
    if not AcmeDirectory.objects.filter(pk=row.pk, checked_at=row.checked_at).update(checked_at=now):
        return False
    account = AcmeAccount.objects.filter(directory_url=row.directory_url, deactivated_at=None).first()
    if account is None:
        return False
    found = AcmeDirectory.objects.filter(pk=row.pk)
    try:
        info = directory_read(row.directory_url, ca_bundle=account.ca_bundle, allow_private=account.allow_private)
    except BinderyError as error:
        found.update(trouble=str(error), trouble_since=row.trouble_since or now)
        log.warning("%s: %s", row.directory_url, error)
        return True
    found.update(
        trouble="",
        trouble_since=None,
        terms_url=info.terms_url,
        profiles=info.profiles,
        clock_skew=info.clock_skew,
    )
    return True


def directory_hold(url: str, wait: timedelta) -> None:
    """The CA has asked to be left alone: every order at it keeps to that, not only the one that was told. Told several
    things, we keep to the longest."""
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


def directory_just_held(url: str) -> timedelta | None:
    """The same as far as this process was told itself: asked before each request, so it costs nothing."""
    until = _told.get(url)
    return until - clock.now() if until is not None and until > clock.now() else None


def directories_held() -> QuerySet[AcmeDirectory]:
    return AcmeDirectory.objects.filter(retry_after_at__gt=clock.now())
