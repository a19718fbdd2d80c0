"""The profiles that certificates are issued by: the built-in ones, and the operator's own."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from certs.domain.errors import ConflictError, InputError
from certs.domain.profiles import BUILT_IN, Profile
from certs.domain.roles import Right
from certs.models import Authority, Certificate, IssuanceProfile
from certs.services.access import PORTAL, Actor, needs
from certs.services.events import audit_record


def profiles_all() -> dict[str, Profile]:
    """By name; the built-in ones first."""
    own = {row.name: Profile.from_json(row.name, row.label, row.rules) for row in IssuanceProfile.objects.all()}
    return BUILT_IN | own


def profile_get(name: str) -> Profile:
    """Raises InputError."""
    if found := BUILT_IN.get(name):
        return found
    row = IssuanceProfile.objects.filter(name=name).first()
    if row is None:
        known = ", ".join(profiles_all())
        raise InputError(f"No profile is called “{name}”.", advice=f"Known are {known}.", code="profile")
    return Profile.from_json(row.name, row.label, row.rules)


@needs(Right.AUTHORITY, of=PORTAL)
def profile_create(label: str, rules: Mapping[str, Any], *, actor: Actor, name: str = "") -> IssuanceProfile:
    """`rules` as `domain.profiles.Profile.as_json`. Raises InputError, ConflictError where the name is taken."""
    label = label.strip()
    name = name or slugify(label)[:60]
    if not name or not label or len(label) > 120 or slugify(name) != name or len(name) > 60:
        raise InputError("A profile needs a name of letters, digits and hyphens.", code="profile")
    taken = ConflictError(f"A profile called “{name}” is there already.", advice="Choose another name.")
    if name in BUILT_IN:
        raise taken
    profile = Profile.from_json(name, label, rules)
    try:
        with transaction.atomic():
            row = IssuanceProfile.objects.create(name=name, label=label, rules=profile.as_json())
            audit_record(actor, "profile.create", name, after=row.rules)
    except IntegrityError as error:
        raise taken from error
    return row


@needs(Right.AUTHORITY, of=PORTAL)
def profile_change(row: IssuanceProfile, *, label: str, rules: Mapping[str, Any], actor: Actor) -> IssuanceProfile:
    """For what is issued and renewed from now on. Raises InputError."""
    before, profile = row.rules, Profile.from_json(row.name, label.strip(), rules)
    if not label.strip() or len(label) > 120:
        raise InputError("A profile needs a label of at most 120 characters.", code="profile")
    with transaction.atomic():
        row.label, row.rules = label.strip(), profile.as_json()
        row.save(update_fields=["label", "rules"])
        audit_record(actor, "profile.change", row.name, before=before, after=row.rules)
    return row


@needs(Right.AUTHORITY, of=PORTAL)
def profile_delete(row: IssuanceProfile, *, actor: Actor) -> None:
    """Raises ConflictError while certificates are renewed by it, or an authority signs by it."""
    used = Certificate.objects.filter(deleted_at=None, wish__profile=row.name).count()
    named = [authority for authority in Authority.objects.all() if row.name in authority.profiles]
    if used or named:
        where = [f"{used} certificates"] if used else []
        raise ConflictError(
            f"The profile “{row.label}” is used by {', '.join([*where, *map(str, named)])}.",
            advice="Let them be renewed by another profile first.",
        )
    with transaction.atomic():
        audit_record(actor, "profile.delete", row.name, before=row.rules)
        row.delete()
