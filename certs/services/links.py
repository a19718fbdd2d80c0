"""One-time links: the first administrator's, and the one that carries a session to another address.

Only the SHA-256 of a token is stored. A link is used by compare-and-swap, so of two clicks exactly one wins.
"""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import OneTimeLink, PortalState, User
from certs.services.addresses import url_parse
from certs.services.events import audit_record
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update
from portal import clock

SETUP_VALID = timedelta(hours=1)
SESSION_VALID = timedelta(minutes=5)


def setup_is_open() -> bool:
    """Set-up closes for good with the first administrator, even a disabled one."""
    return not User.objects.filter(is_superuser=True).exists()


def setup_link_make(*, keep_others: bool = False) -> str:
    """The raw token of a new set-up link, valid for an hour; older ones end, with `keep_others` only this node's: two
    nodes that start at once each print one, and nobody knows whose log is read. Raises NotAllowed once it is closed."""
    if not setup_is_open():
        raise NotAllowed(
            "There is an administrator already, so no set-up link is made any more.",
            advice="Log in, or give that account a new password with `manage.py changepassword E-MAIL`.",
            code="setup-closed",
        )
    with transaction.atomic():
        older = OneTimeLink.objects.filter(purpose=OneTimeLink.Purpose.SETUP, used_at__isnull=True)
        (older.filter(target=node_name()) if keep_others else older).delete()
        return _make(OneTimeLink.Purpose.SETUP, SETUP_VALID, target=node_name())


def setup_link_valid(token: str) -> bool:
    return setup_is_open() and _unused(token, OneTimeLink.Purpose.SETUP) is not None


def setup_link_use(token: str, *, email: str, password: str, public_url: str) -> User:
    """Make the first administrator. `public_url` is scheme://host[:port], or empty to leave it to be guessed.

    Raises NotAllowed for a link that is used, too old or late; InputError for an e-mail, password or URL that cannot
    be used, which leaves the link usable.
    """
    email, public_url = email.strip().lower(), url_parse(public_url) if public_url.strip() else ""
    _check_email(email)
    _check_password(password, email)
    state_get()
    with transaction.atomic():
        # The lock of the one row of settings keeps two links from making two first administrators at once.
        PortalState.objects.select_for_update().get(pk=1)
        if not setup_is_open():
            raise _used_up("There is an administrator already: this link does nothing any more.")
        link = _take(token, OneTimeLink.Purpose.SETUP)
        user = User.objects.create_superuser(email=email, password=password)
        OneTimeLink.objects.filter(pk=link.pk).update(user=user)
        if public_url:
            state_update(public_url=public_url)
        audit_record(user, "setup.finish", email, after={"public_url": public_url})
    return user


def session_link_make(user: User, target: str) -> str:
    """The raw token of a link that logs `user` in once, within five minutes, and goes on to the local path `target`."""
    if not target.startswith("/") or target.startswith("//") or "\\" in target or not target.isprintable():
        raise InputError(f"{target!r} is not a path of this portal.")
    return _make(OneTimeLink.Purpose.SESSION, SESSION_VALID, user=user, target=target)


def session_link_use(token: str) -> OneTimeLink:
    """The link with its `user` and `target`. Raises NotAllowed for one that is used or too old, or a disabled user."""
    with transaction.atomic():
        link = _take(token, OneTimeLink.Purpose.SESSION)
        if link.user is None or not link.user.is_active:
            raise _used_up("The account of this link may not log in.")
    return link


def _make(purpose: str, valid: timedelta, *, user: User | None = None, target: str = "") -> str:
    token = secrets.token_urlsafe(32)
    OneTimeLink.objects.create(
        purpose=purpose, digest=_digest(token), user=user, target=target, expires_at=clock.now() + valid
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _unused(token: str, purpose: str) -> OneTimeLink | None:
    return (
        OneTimeLink.objects.select_related("user")
        .filter(digest=_digest(token), purpose=purpose, used_at__isnull=True, expires_at__gt=clock.now())
        .first()
    )


def _take(token: str, purpose: str) -> OneTimeLink:
    link = _unused(token, purpose)
    moment = clock.now()
    if link is None or not OneTimeLink.objects.filter(pk=link.pk, used_at__isnull=True).update(used_at=moment):
        raise _used_up("This link is not valid any more: it has been used, replaced by a newer one, or is too old.")
    link.used_at = moment
    return link


def _used_up(sentence: str) -> NotAllowed:
    return NotAllowed(
        sentence, advice="Log in, or make a new link: `manage.py setup_link` prints one until an administrator exists."
    )


def _check_email(email: str) -> None:
    try:
        validate_email(email)
    except ValidationError:
        raise InputError(f"{email!r} is not an e-mail address.", advice="Type one such as ann@example.org.") from None
    if User.objects.filter(email=email).exists():
        raise ConflictError(f"There is an account {email} already.", advice="Choose another e-mail address.")


def _check_password(password: str, email: str) -> None:
    try:
        validate_password(password, User(email=email))
    except ValidationError as error:
        raise InputError(" ".join(error.messages), code="password") from error
