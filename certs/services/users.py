"""People: their accounts, the roles they hold and where, and whether private keys may leave through them.

Whoever is an administrator everywhere is a superuser of the framework; one of them must always be able to log in.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.roles import Right, Role
from certs.models import Department, Organization, RoleGrant, User
from certs.services.access import EXPORT_PERMISSION, Actor, needs
from certs.services.events import audit_record


@needs(Right.PERSON)
def user_create(email: str, *, name: str, password: str, actor: Actor) -> User:
    """An account without any role yet: it sees nothing. Raises InputError, ConflictError for a taken address."""
    email, name = email.strip().lower(), " ".join(name.split())
    _valid("email", validate_email, email)
    _valid("password", validate_password, password, User(email=email, name=name))
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, role=None, name=name[:200])
            audit_record(actor, "user.create", user, after={"name": user.name})
    except IntegrityError as error:
        raise ConflictError(f"There is an account of {email} already.", code="email") from error
    return user


@needs(Right.PERSON)
def user_update(user: User, *, name: str, is_active: bool, actor: Actor) -> None:
    """Rename, lock out or let in again. Raises NotAllowed for the last administrator who can log in."""
    name = " ".join(name.split())[:200]
    with transaction.atomic():
        before = _locked(user)
        user_check(before, is_active=is_active)
        User.objects.filter(pk=user.pk).update(name=name, is_active=is_active)
        audit_record(
            actor,
            "user.change",
            before,
            before={"name": before.name, "active": before.is_active},
            after={"name": name, "active": is_active},
        )


def user_check(user: User, *, is_active: bool, is_administrator: bool = True) -> None:
    """Raises NotAllowed where nobody could administer the portal any more."""
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not (is_active and is_administrator) and not others.exists():
        raise NotAllowed(
            f"{user.email} is the last administrator, so the account stays "
            f"{'active' if not is_active else 'an administrator'}.",
            advice="Make another administrator first.",
        )


@needs(Right.PERSON)
def user_set_password(user: User, password: str, *, actor: Actor) -> None:
    """A new password; ends the sessions of the account. Raises InputError for a weak one."""
    _valid("password", validate_password, password, user)
    user.set_password(password)
    with transaction.atomic():
        user.save(update_fields=["password"])
        audit_record(actor, "user.set-password", user)


@needs(Right.PERSON)
def grant_set(
    user: User,
    role: Role | None,
    *,
    organization: Organization | None = None,
    department: Department | None = None,
    actor: Actor,
) -> None:
    """The role that the person holds in the department, else the organization, else everywhere; None takes it away.

    Raises NotAllowed where nobody could administer the portal any more.
    """
    everywhere = organization is None and department is None
    where: dict[str, Any] = {"organization": None if department else organization, "department": department}
    with transaction.atomic():
        before = _locked(user)
        held = RoleGrant.objects.filter(user=user, **where)
        was = "admin" if everywhere and before.is_superuser else held.values_list("role", flat=True).first()
        if everywhere:
            user_check(before, is_active=before.is_active, is_administrator=role is Role.ADMIN)
            administers = role is Role.ADMIN
            User.objects.filter(pk=user.pk).update(is_superuser=administers, is_staff=administers)
        held.delete()
        if role is not None and not (everywhere and role is Role.ADMIN):
            RoleGrant.objects.create(user=user, role=role.value, **where)
        place = str(department or organization or "everywhere")
        after = {"role": role.value if role else None, "where": place}
        audit_record(actor, "user.grant", before, before={"role": was, "where": place}, after=after)
    user.refresh_from_db()


@needs(Right.PERSON)
def user_export_set(user: User, *, on: bool, actor: Actor) -> None:
    """Whether private keys may leave through the person; an administrator of everything always may."""
    label, codename = EXPORT_PERMISSION.split(".")
    permission = Permission.objects.get(content_type__app_label=label, codename=codename)
    with transaction.atomic():
        if on:
            user.user_permissions.add(permission)
        else:
            user.user_permissions.remove(permission)
        audit_record(actor, "user.export", user, after={"export": on})


def user_may_export(user: User) -> bool:
    """Asked of the database, whatever this object has heard before."""
    return User.objects.get(pk=user.pk).has_perm(EXPORT_PERMISSION)


def _valid(code: str, check: Callable[..., None], *given: Any) -> None:
    try:
        check(*given)
    except ValidationError as error:
        raise InputError(" ".join(error.messages), code=code) from error


def _locked(user: User) -> User:
    """Of two who take away each other's role one waits here; then there is only one left to take it from."""
    list(User.objects.select_for_update().filter(is_superuser=True).values_list("pk", flat=True))
    return User.objects.get(pk=user.pk)
