"""API tokens: made, shown once, recognised by their digest, revoked."""

import hashlib
import secrets
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.urls import reverse

from certs.domain.alarms import Level, Trouble, moment_shown, subject_make
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.properties import name_check
from certs.domain.roles import Right, Role
from certs.models import ApiToken, Department, Organization
from certs.selectors import tokens_visible_to
from certs.services.access import (
    Actor,
    Target,
    TokenActor,
    access_of,
    may,
    may_hold_export,
    person_of,
    require,
)
from certs.services.events import audit_record
from portal import clock

PREFIX = "bnd_"
MOST_DAYS = 3650
LONGEST_NAME, LONGEST_TAG, MOST_TAGS = 120, 100, 20
USED_EVERY = timedelta(minutes=1)  # the last use is written no more often
ALARM_KIND = "token"
_TOLD_BEFORE = _TOLD_AFTER = timedelta(days=7)
_HINT = 10


def token_create(
    name: str,
    role: Role | str,
    *,
    actor: Actor,
    organization: Organization | None = None,
    department: Department | None = None,
    tags: Sequence[str] = (),
    days: int | None = None,
    can_export: bool = False,
) -> tuple[ApiToken, str]:
    """The token and its secret, which is kept nowhere: `bnd_`, 256 random bits in base64url, CRC-32 in hex.

    `days` None: it does not expire. A person's token never may more than the person may; one made at the shell stands
    for itself. Raises InputError, ConflictError for a name that is taken, NotAllowed for more than the actor has.
    """
    wanted = _role(role)
    _own_check(actor, wanted, department or organization, can_export=can_export)
    now, secret = clock.now(), _secret()
    token = ApiToken(
        name=name_check(name, most=LONGEST_NAME, example="backup of the mail server"),
        digest=_digest(secret),
        hint=secret[:_HINT],
        role=wanted.value,
        can_export=can_export,
        organization=department.organization if department else organization,
        department=department,
        tags=_tags(tags),
        owner=person_of(actor),
        expires_at=now + timedelta(days=_days(days)) if days is not None else None,
    )
    try:
        with transaction.atomic():
            token.save(force_insert=True)
            audit_record(actor, "token.create", token, after=token_shown(token))
    except IntegrityError as error:
        raise ConflictError(
            f"There is a token “{token.name}” already.", advice="Revoke it, or choose another name.", code="name"
        ) from error
    return token, secret


def token_authenticate(secret: str, address: str = "") -> TokenActor:
    """Who shows this secret, from this address. Raises NotAllowed with one of the codes token-unknown, token-revoked,
    token-expired and token-owner (the person who made it may not log in any more)."""
    token = ApiToken.objects.select_related("owner", "department").filter(digest=_digest(secret)).first()
    now = clock.now()
    if token is None:
        raise NotAllowed("No token has this secret.", advice="Make a new one.", code="token-unknown")
    state = token.state_at(now)
    if state != "active":
        expired = f"The token {token.name} expired on {moment_shown(token.expires_at)}." if token.expires_at else ""
        words, code = {
            "revoked": (f"The token {token.name} was revoked.", "token-revoked"),
            "expired": (expired, "token-expired"),
            "locked": (f"The owner of the token {token.name} is locked out.", "token-owner"),
        }[state]
        raise NotAllowed(words, advice="Make a new one.", code=code)
    lately = Q(last_used_at__gt=now - USED_EVERY, last_used_at__lte=now)
    if token.last_used_at is None or not now - USED_EVERY < token.last_used_at <= now:
        ApiToken.objects.filter(~lately | Q(last_used_at=None), pk=token.pk).update(
            last_used_at=now, last_used_from=address[:45]
        )
    return TokenActor(token)


def token_revoke(token: ApiToken, *, actor: Actor) -> None:
    """For good. Its owner may, an administrator, and the token itself; once more changes nothing. Raises NotAllowed."""
    if not tokens_visible_to(actor).filter(pk=token.pk).exists():
        require(actor, Right.PERSON)
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now()):
            audit_record(actor, "token.revoke", token, before=token_shown(token))


def token_find(word: str) -> ApiToken:
    """By its name or id, those in use first. Raises InputError."""
    rows = ApiToken.objects.order_by("revoked_at")
    found = next((row for row in rows if word in (row.name, str(row.pk)) and row.revoked_at is None), None)
    found = found or next((row for row in rows if word in (row.name, str(row.pk))), None)
    if found is None:
        raise InputError(f"No token is called “{word}”.", advice="`manage.py token list` lists them.")
    return found


def token_state(token: ApiToken) -> str:
    """revoked, expired, locked (its owner is) or active."""
    return token.state_at(clock.now())


def token_shown(token: ApiToken) -> dict[str, object]:
    """As JSON, for the audit trail and --json; without anything secret."""
    return {
        "id": str(token.pk),
        "name": token.name,
        "hint": token.hint,
        "role": token.role,
        "organization": token.organization.name if token.organization else None,
        "department": token.department.name if token.department else None,
        "tags": token.tags,
        "export": token.can_export,
        "owner": token.owner.email if token.owner else None,
        "state": token_state(token),
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "last_used_at": token.last_used_at.isoformat() if token.last_used_at else None,
        "last_used_from": token.last_used_from or None,
    }


def tokens_troubles(moment: datetime) -> Iterator[Trouble]:
    """Those that end within a week, and those that ended lately although they were in use."""
    rows = ApiToken.objects.filter(
        revoked_at=None, expires_at__gt=moment - _TOLD_AFTER, expires_at__lte=moment + _TOLD_BEFORE
    )
    for row in rows:
        if row.expires_at is None or (row.expires_at <= moment and row.last_used_at is None):
            continue
        over = row.expires_at <= moment
        yield Trouble(
            key=f"{ALARM_KIND}:{row.pk}",
            level=Level.WARNING if over else Level.NOTICE,
            subject=subject_make(f"API token {row.name}", "expired" if over else "expires soon"),
            happened=f"It {'expired' if over else 'expires'} on {moment_shown(row.expires_at)}. "
            + (f"It was last used on {moment_shown(row.last_used_at)}." if row.last_used_at else "It was never used."),
            advice="Make a new one and put it in its place, or revoke this one.",
            path=reverse("tokens"),
        )


def _own_check(actor: Actor, role: Role, place: Target, *, can_export: bool) -> None:
    """A person makes tokens up to the own role; for a token to make another it must be an administrator's."""
    if isinstance(actor, TokenActor):
        require(actor, Right.PERSON)
    access = access_of(actor)
    lacking = next((right for right in Right if role.may(right) and not access.may(right)), None)
    if lacking is not None:
        require(actor, lacking)
    if place is not None and not may(actor, Right.READ, place):
        require(actor, Right.READ, place)
    if can_export and not may_hold_export(actor):
        raise NotAllowed(
            "Only who has the export permission can give it to a token.", advice="Ask an administrator for it."
        )


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError as error:
        raise InputError(
            f"There is no role “{str(role)[:40]}”.", advice=f"Choose {', '.join(Role)}.", code="role"
        ) from error


def _tags(tags: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(found) > MOST_TAGS or any(not tag or len(tag) > LONGEST_TAG or not tag.isprintable() for tag in found):
        raise InputError(
            f"A token takes up to {MOST_TAGS} tags of up to {LONGEST_TAG} characters.", advice="", code="tags"
        )
    return found


def _days(days: int) -> int:
    if not 1 <= days <= MOST_DAYS:
        raise InputError(f"A token can live for 1 to {MOST_DAYS} days, not {days}.", advice="90 is usual.", code="days")
    return days


def _secret() -> str:
    body = PREFIX + secrets.token_urlsafe(32)
    return f"{body}{zlib.crc32(body.encode()):08x}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
