"""Alarms as rows: raised once per trouble and level, cleared when it is over, seen by people on the pages.

A delivery is written with its alarm, in one transaction, for every channel that is on; `services/alarm_delivery.py`
sends them later. What nobody was told of yet when it is over is not told any more.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.urls import reverse

from certs.acme.directories import directory_label
from certs.domain.alarms import Level, Trouble, moment_shown, subject_make, subject_well
from certs.domain.roles import Right
from certs.models import AcmeAccount, Alarm, AlarmDelivery, Certificate, Channel
from certs.selectors import alarms_visible_to
from certs.services.access import Actor, needs
from certs.services.events import audit_record
from portal import clock, logs

log = logging.getLogger("bindery.alarms")
_SUBJECT = 300  # characters of the column


def alarms_open() -> QuerySet[Alarm]:
    return Alarm.objects.filter(cleared_at=None)


def alarms_standing(rows: QuerySet[Alarm] | None = None) -> QuerySet[Alarm]:
    """What people look at, of all or of these, the most urgent first: of each trouble the highest level reached."""
    higher = alarms_open().filter(key=OuterRef("key"), level__gt=OuterRef("level"))
    standing = (Alarm.objects.all() if rows is None else rows).filter(~Exists(higher), cleared_at=None)
    return standing.order_by("-level", "-raised_at")


def alarm_raise(trouble: Trouble) -> Alarm | None:
    """Store it with its deliveries; None where the same trouble is open at this level or a higher one."""
    if alarms_open().filter(key=trouble.key, level__gte=trouble.level).exists():
        return None
    try:
        with transaction.atomic():
            alarm = _create(trouble)
            _post([alarm], Channel.objects.filter(enabled=True))
    except IntegrityError:  # another process has just raised it
        return None
    log.warning("alarm: %s. %s", alarm.subject, alarm.happened)
    return alarm


def alarm_note(trouble: Trouble) -> Alarm:
    """Tell of something that is over as it happens: an account made anew, say. Nobody has to clear it."""
    with transaction.atomic():
        alarm = _create(trouble, over=True)
        _post([alarm], Channel.objects.filter(enabled=True))
    log.warning("alarm: %s. %s", alarm.subject, alarm.happened)
    return alarm


def alarm_account_lost(account: AcmeAccount) -> Alarm:
    """The CA did not know our account any more; it was registered again with the same key."""
    ca = directory_label(account.directory_url)
    return alarm_note(
        Trouble(
            key=f"account:{account.pk}",
            level=Level.NOTICE,
            subject=subject_make(ca, "it had lost our account"),
            happened=f"{ca} did not know our account {account.email} any more.".replace("  ", " "),
            tried="It was registered again with the same key, and the order went on.",
            advice="CAA records with accounturi must name the new account. Ask the CA if this was not announced.",
            path=reverse("activity"),
        )
    )


def alarm_clear(key: str, *, told: str = "", quietly: bool = False) -> int:
    """It is over: returns how many alarms were open under this key.

    Channels that were told of it are told that it is well again, `told` being the sentence; not with `quietly` (what it
    was about is gone). What has not left yet does not leave any more.
    """
    with transaction.atomic():
        rows = list(alarms_open().filter(key=key).order_by("-level"))
        if not rows or not alarms_open().filter(pk__in=[row.pk for row in rows]).update(cleared_at=clock.now()):
            return 0
        deliveries = AlarmDelivery.objects.filter(alarm__in=rows)
        deliveries.filter(sent_at=None).delete()
        informed = Channel.objects.filter(enabled=True, deliveries__in=deliveries.exclude(sent_at=None)).distinct()
        if not quietly and informed.exists():
            well = Trouble(
                key=key,
                level=Level.WELL,
                subject=subject_well(rows[0].subject),
                happened=told or f"It is over. On {moment_shown(rows[0].raised_at)} it was: {rows[0].happened}",
                path=rows[0].path,
            )
            _post([_create(well, over=True)], informed)
    log.info("alarm over: %s", rows[0].subject)
    return len(rows)


def alarms_settle(
    kinds: Collection[str], wanted: Mapping[str, Trouble], well: Callable[[str], str | None] = lambda key: ""
) -> None:
    """Make the open alarms of these kinds (the part of the key before its colon) those that are wanted.

    `well` gives the sentence for a key that is over ("" for a general one), None where the matter itself is gone.
    Nothing to change costs one query and writes nothing.
    """
    standing = dict(alarms_open().order_by().values_list("key").annotate(level=Max("level")))
    for key, trouble in wanted.items():
        if standing.get(key, -1) < trouble.level:
            alarm_raise(trouble)
    for key in standing:
        if key.partition(":")[0] in kinds and key not in wanted:
            told = well(key)
            alarm_clear(key, told=told or "", quietly=told is None)


@needs(Right.ALARM_SEE)
def alarms_see(alarms: Collection[Alarm], *, actor: Actor) -> int:
    """Somebody has seen them, so that no banner shows them any more; returns how many were new. They stay open
    until the trouble is over."""
    theirs = alarms_visible_to(actor, Right.ALARM_SEE).filter(cleared_at=None, seen_at=None)
    rows = theirs.filter(key__in=[alarm.key for alarm in alarms])
    with transaction.atomic():
        subjects = dict(rows.order_by("level").values_list("key", "subject"))
        if rows.update(seen_at=clock.now(), seen_by=str(actor)[:254]):
            shown = next(iter(subjects.values())) if len(subjects) == 1 else f"{len(subjects)} alarms"
            audit_record(actor, "alarm.see", shown)
    return len(subjects)


def deliveries_catch_up(channel: Channel) -> None:
    """A channel made or switched on hears of everything that is open. Inside the caller's transaction."""
    _post(list(alarms_open()), [channel])


def _create(trouble: Trouble, *, over: bool = False) -> Alarm:
    moment = clock.now()
    return Alarm.objects.create(
        key=trouble.key,
        certificate=_certificate_of(trouble.key),
        level=trouble.level,
        subject=_cut(logs.mask(trouble.subject)),
        happened=logs.mask(trouble.happened),
        tried=logs.mask(trouble.tried),
        next_try_at=trouble.next_try_at,
        advice=trouble.advice,
        path=trouble.path,
        raised_at=moment,
        cleared_at=moment if over else None,
        seen_at=moment if trouble.level == Level.WELL else None,
    )


def _certificate_of(key: str) -> Certificate | None:
    """Whom a key such as `expiry:<id>` names; of alarms about the portal, None."""
    try:
        pk = UUID(key.partition(":")[2])
    except ValueError:
        return None
    return Certificate.objects.only("pk").filter(pk=pk).first()


def _cut(text: str) -> str:
    return text if len(text) <= _SUBJECT else f"{text[: _SUBJECT - 1]}…"


def _post(alarms: Collection[Alarm], channels: Collection[Channel] | QuerySet[Channel]) -> None:
    rows = [AlarmDelivery(alarm=alarm, channel=channel) for channel in channels for alarm in alarms]
    AlarmDelivery.objects.bulk_create(rows, ignore_conflicts=True)
