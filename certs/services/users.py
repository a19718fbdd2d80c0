"""What an administrator changes about the accounts of others."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from certs.domain.errors import InputError, NotAllowed
from certs.domain.roles import Right
from certs.models import User
from certs.services.access import Actor, needs
from certs.services.events import audit_record


@needs(Right.PERSON)
def user_update(user: User, *, name: str, is_active: bool, actor: Actor) -> None:
    """Rename, lock out or let in again. Raises NotAllowed for the last administrator who can log in."""
    before = User.objects.get(pk=user.pk)
    user_check(before, is_active=is_active)
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(name=name, is_active=is_active)
        audit_record(
            actor,
            "user.change",
            before,
            before={"name": before.name, "active": before.is_active},
            after={"name": name, "active": is_active},
        )


def user_check(user: User, *, is_active: bool) -> None:
    """Raises NotAllowed where nobody could administer the portal any more."""
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not is_active and not others.exists():
        raise NotAllowed(
            f"{user.email} is the last administrator, so the account stays active.",
            advice="Make another administrator first.",
        )


@needs(Right.PERSON)
def user_set_password(user: User, password: str, *, actor: Actor) -> None:
    """A new password; ends the sessions of the account. Raises InputError for a weak one."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(" ".join(error.messages)) from error
    user.set_password(password)
    with transaction.atomic():
        user.save(update_fields=["password"])
        audit_record(actor, "user.set-password", user)
