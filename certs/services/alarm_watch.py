"""What is wrong now: alarms derived from the rows that the sweep, the orders and the processes leave behind.

Nothing is remembered but the open alarms themselves: each look works out what should be open and settles the
difference, so that a process killed in between loses nothing. `alarms_sweep` is a step of the tick; `portal_watch` is
asked by the supervisor, which lives on when the queue is dead.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from django.urls import reverse

from certs.acme.directories import directory_label
from certs.domain.alarms import Level, Trouble, moment_shown, sentence, subject_make
from certs.domain.names import name_display
from certs.models import AcmeAccount, AcmeDirectory, Challenge
from certs.services import alarm_certificates, alarm_front, alarm_pki, other_clients, tokens
from certs.services.alarm_certificates import certificate_well, certificates_troubles, way_shown
from certs.services.alarms import alarms_settle
from certs.services.directories import directories_used
from certs.services.health import Finding, portal_findings
from portal import clock

SILENT = timedelta(days=1)  # a directory that does not answer
CLEAN_TRIES = 4  # the last of them some twenty minutes after the first
_SWEPT = (
    alarm_certificates.KINDS
    | alarm_pki.KINDS
    | {
        alarm_front.KIND,
        alarm_pki.ADDRESS,
        other_clients.KIND,
        "directory",
        "terms",
        "cleanup",
        tokens.ALARM_KIND,
    }
)


def alarms_sweep() -> None:
    """Settle what the rows say of certificates, directories, accounts and clean-ups. Where all is well: a few indexed
    queries that find nothing, and no write."""
    moment = clock.now()
    found = [
        *certificates_troubles(moment),
        *alarm_front.front_troubles(moment),
        *other_clients.other_clients_troubles(),
        *alarm_pki.pki_troubles(moment),
        *_directories(moment),
        *_terms(),
        *_cleanups(),
        *tokens.tokens_troubles(moment),
    ]
    alarms_settle(_SWEPT, {trouble.key: trouble for trouble in found}, _well)


def _well(key: str) -> str | None:
    kind = key.partition(":")[0]
    if kind == tokens.ALARM_KIND:
        return None  # revoked, or over for long: nothing is well again
    if kind in alarm_pki.KINDS:
        return alarm_pki.pki_well(key)
    return certificate_well(key) if kind in alarm_certificates.KINDS else ""


def portal_failing() -> list[Finding]:
    """What is wrong with the portal itself and worth an alarm when it stays so."""
    return [finding for finding in portal_findings() if not finding.ok and finding.code in _PORTAL]


def portal_watch(failing: Collection[Finding], standing: Collection[str]) -> None:
    """Settle what is wrong with the portal itself. `standing` are the codes of those that have failed long enough;
    what does not fail is over."""
    kinds = {found.code: _PORTAL[found.code] for found in failing}
    wanted = {
        found.code: replace(kinds[found.code], happened=found.text, path=reverse(kinds[found.code].path))
        for found in failing
        if found.code in standing
    }
    alarms_settle(set(_PORTAL) - set(kinds), wanted)


# By the code of the finding, which is the key of the alarm; `path` is still the name of the page.
_PORTAL = {
    each.key: each
    for each in (
        Trouble(
            "worker",
            Level.OUTAGE,
            subject_make("Worker", "it is not running"),
            "",
            tried="The supervisor starts it again by itself, ever more slowly.",
            advice="Look into the log of the portal. `manage.py check_certificates --inline` renews meanwhile.",
            path="help",
        ),
        Trouble(
            "sweep",
            Level.OUTAGE,
            subject_make("Check of the certificates", "overdue"),
            "",
            tried="A check is queued every few minutes.",
            advice="Look into the log for “sweep”. `manage.py check_certificates --inline` does its work meanwhile.",
            path="renewal",
        ),
        Trouble(
            "generation",
            Level.URGENT,
            subject_make("Serving", "not every process serves what is bound"),
            "",
            tried="Each process tries again by itself, and keeps serving what it had.",
            advice="Open the page below, and look into the log of the processes named.",
            path="bindings",
        ),
    )
}


def _directories(moment: datetime) -> Iterator[Trouble]:
    silent = AcmeDirectory.objects.filter(trouble_since__lte=moment - SILENT).exclude(trouble="")
    for row in silent.filter(directory_url__in=directories_used()):
        since = f" It has been so since {moment_shown(row.trouble_since)}." if row.trouble_since else ""
        yield Trouble(
            key=f"directory:{row.directory_url}"[:200],
            level=Level.WARNING,
            subject=subject_make(directory_label(row.directory_url), "its directory does not answer"),
            happened=f"{sentence(row.trouble)}{since}",
            tried=f"The directory {row.directory_url} was asked again and again, last on {_moment(row.checked_at)}.",
            next_try_at=moment + timedelta(hours=1),
            advice="Look whether the CA has announced something. A fallback issuer keeps renewals going.",
            path=reverse("ca-accounts"),
        )


def _terms() -> Iterator[Trouble]:
    """Of accounts whose CA names other terms than those that were accepted."""
    rows = AcmeAccount.objects.filter(deactivated_at=None, terms_agreed_at__isnull=False).exclude(terms_url="")
    now = dict(AcmeDirectory.objects.exclude(terms_url="").values_list("directory_url", "terms_url"))
    for row in rows.only("pk", "directory_url", "terms_url", "email"):
        terms = now.get(row.directory_url, row.terms_url)
        if terms != row.terms_url:
            yield Trouble(
                key=f"terms:{row.pk}",
                level=Level.NOTICE,
                subject=subject_make(directory_label(row.directory_url), "its terms of service have changed"),
                happened=f"The CA names {terms} now; {row.terms_url} was accepted.",
                tried="Nothing: terms are accepted by people. Renewals go on while the CA lets them.",
                advice="Read the new terms and accept them.",
                path=reverse("ca-account", args=[row.pk]),
            )


def _cleanups() -> Iterator[Trouble]:
    rows = Challenge.objects.filter(clean_at__isnull=False, clean_tries__gte=CLEAN_TRIES).exclude(trouble="")
    for row in rows.only("token", "order_id", "name", "kind", "trouble", "clean_tries", "clean_at"):
        yield Trouble(
            key=f"cleanup:{row.token}"[:200],
            level=Level.NOTICE,
            subject=subject_make(name_display(row.name), "the answer to a challenge could not be taken away"),
            happened=f"{sentence(row.trouble)} It was put in place by {way_shown(row.kind)}.",
            tried=f"{row.clean_tries} times.",
            next_try_at=row.clean_at,
            advice="Mend what is named, or take the answer away by hand; it does no harm but does not belong there.",
            path=reverse("job", args=[row.order_id]),
        )


def _moment(moment: datetime | None) -> str:
    return moment_shown(moment) if moment else "an unknown day"
