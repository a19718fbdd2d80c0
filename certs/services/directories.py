"""What the directories of the CAs in use say of themselves, asked once a day, so that nobody finds out by a failure."""

import logging
from datetime import timedelta

from django.db.models import Q, QuerySet

from certs.acme.directories import KNOWN
from certs.domain.errors import BinderyError, InputError
from certs.domain.urls import url_split
from certs.models import AcmeAccount, AcmeDirectory
from certs.services.accounts import directory_read
from certs.services.holds import directories_held
from portal import clock

log = logging.getLogger("bindery.directories")
EVERY = timedelta(hours=24)
EVERY_SILENT = timedelta(hours=1)  # one that did not answer
_AT_ONCE = 8  # each may take ten seconds


def directory_named(word: str) -> str:
    """The address of a directory, from the key of a known CA or from the address itself. Raises InputError."""
    if word in KNOWN:
        return KNOWN[word].url
    if not _is_address(word):
        raise InputError(
            f"“{word}” is neither a known CA nor the https:// address of a directory.",
            advice=f"Known are {', '.join(KNOWN)}.",
        )
    return word


def _is_address(text: str) -> bool:
    parts = url_split(text)
    try:
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


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
