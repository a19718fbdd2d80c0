"""The public URL: what links are built from and what Force SSL leads to. The environment wins over the page."""

from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from certs.domain.errors import ConflictError
from certs.domain.roles import Right
from certs.services.access import Actor, needs
from certs.services.addresses import url_make, url_parse
from certs.services.events import audit_record
from certs.services.https import force_ssl_recheck
from certs.services.portal_state import state_get, state_lock, state_update


@needs(Right.SETTING)
def public_url_change(url: str, *, actor: Actor) -> str:
    """Store it as scheme://host[:port]. Raises InputError, ConflictError where the environment sets it.

    Force SSL leads there from now on, so it is on trial again.
    """
    if settings.PUBLIC_URL:
        raise ConflictError(
            "BINDERY_PUBLIC_URL is set in the environment of the portal and decides this.",
            advice="Change or unset it and restart the portal.",
            code="locked",
        )
    wanted = url_parse(url)
    with transaction.atomic():
        before = state_lock()
        if wanted == before.public_url:
            return wanted
        if before.hsts and urlsplit(wanted).hostname != before.hsts_host:
            raise ConflictError(
                f"HSTS is on for {before.hsts_host}.",
                advice="Switch it off first, under Configuration ➜ HTTPS.",
                code="hsts",
            )
        state_update(public_url=wanted)
        force_ssl_recheck()
        audit_record(
            actor, "public-url.change", wanted, before={"public_url": before.public_url}, after={"public_url": wanted}
        )
    return wanted


@needs(Right.SETTING)
def public_url_follow(*, old_port: int, new_port: int, actor: Actor) -> None:
    """The listener was moved and confirmed: a public URL that named the old port names the new one."""
    parts = urlsplit(state_get().public_url)
    if settings.PUBLIC_URL or parts.scheme != "https" or (parts.port or 443) != old_port or old_port == new_port:
        return
    public_url_change(url_make("https", parts.hostname or "", new_port), actor=actor)
