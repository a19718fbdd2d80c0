"""Client certificates on our own listener: the mode with its trial, and who a certificate logs in.

What makes it harder to get in is on trial until somebody who came that way confirms it; the trial ends by the clock, in
every serving process by itself (`client_auth_read`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.db import transaction

from certs.domain.certinfo import is_issued_by, serial_hex
from certs.domain.client_auth import ClientAuth, Mode, emails_of
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.roles import Right
from certs.models import CertificateVersion, PortalState, TrustedAuthority, User
from certs.services.access import PORTAL, Actor, needs
from certs.services.events import audit_record
from certs.services.portal_state import generation_bump, state_get, state_update
from certs.services.register import issued_find_all
from certs.services.trusted import trusted_pem
from portal import clock


@dataclass(frozen=True)
class Presented:
    """The certificate of a client, whose chain and dates TLS has verified; `fingerprint` is its SHA-256, hex."""

    certificate: x509.Certificate
    fingerprint: str

    @classmethod
    def of(cls, der: bytes) -> "Presented":
        certificate = x509.load_der_x509_certificate(der)
        return cls(certificate, certificate.fingerprint(hashes.SHA256()).hex())

    @property
    def emails(self) -> list[str]:
        return emails_of(self.certificate)

    @property
    def serial(self) -> str:
        return serial_hex(self.certificate.serial_number)


def client_auth_mode(state: PortalState | None = None) -> Mode:
    """What holds now: a trial that nobody confirmed in time is over, whether or not anything has tidied up since."""
    state = state or state_get()
    until = state.client_auth_confirm_by
    lapsed = until is not None and until <= clock.now()
    return Mode(state.client_auth_before if lapsed else state.client_auth)


def client_auth_read() -> tuple[ClientAuth, datetime | None]:
    """What the listener is to ask for, and when that ends by itself."""
    state = state_get()
    mode, until = client_auth_mode(state), state.client_auth_confirm_by
    if mode is Mode.OFF:
        return ClientAuth(), until
    return ClientAuth(mode, trusted_pem(clients=True)), until if until and until > clock.now() else None


@needs(Right.SETTING, of=PORTAL)
def client_auth_change(mode: Mode, *, secure: bool, presented: Presented | None, actor: Actor) -> bool:
    """Whether anything changed. What is stricter begins its trial. `secure`: the request came to our own listener.

    Raises InputError without an authority to accept, NotAllowed where the request itself does not show that its person
    would still get in: HTTPS for WANT, a client certificate for REQUIRED.
    """
    state = state_get()
    before, kept = client_auth_mode(state), _kept_mode(state)
    if mode == before == kept:
        return False
    stricter = mode.is_stricter_than(kept)
    if mode is not Mode.OFF and not TrustedAuthority.objects.filter(clients=True).exists():
        raise InputError(
            "No CA is trusted for client certificates yet.",
            advice="Choose one below first; every client without a certificate of it would be refused.",
            code="no-authority",
        )
    if stricter:
        _shown_to_work(mode, secure=secure, presented=presented)
    until = clock.now() + timedelta(seconds=settings.CLIENT_AUTH_CONFIRM_SECONDS) if stricter else None
    with transaction.atomic():
        state_update(client_auth=mode, client_auth_before=kept if stricter else "", client_auth_confirm_by=until)
        generation_bump()
        audit_record(actor, "client-auth.change", before={"mode": before}, after={"mode": mode, "trial": stricter})
    return True


@needs(Right.SETTING, of=PORTAL)
def client_auth_confirm(*, secure: bool, presented: Presented | None, actor: Actor) -> None:
    """Ends the trial for good. Raises NotAllowed from elsewhere, ConflictError when it is too late."""
    state = state_get()
    if state.client_auth_confirm_by is None or state.client_auth_confirm_by <= clock.now():
        raise ConflictError(
            "There is nothing to confirm: the time was over and everything is as before, or it was kept already."
        )
    _shown_to_work(Mode(state.client_auth), secure=secure, presented=presented)
    with transaction.atomic():
        # Not what another has put on trial since: that is to be shown by itself.
        mine = PortalState.objects.filter(pk=1, client_auth=state.client_auth, client_auth_confirm_by__gt=clock.now())
        if mine.update(client_auth_before="", client_auth_confirm_by=None):
            audit_record(actor, "client-auth.confirm", after={"mode": state.client_auth})


def client_auth_tidy() -> None:
    """A step of the tick: the row says what already holds by the clock."""
    with transaction.atomic():
        state = PortalState.objects.filter(pk=1, client_auth_confirm_by__lte=clock.now()).first()
        if state is None:
            return
        ended = PortalState.objects.filter(pk=1, client_auth_confirm_by=state.client_auth_confirm_by).update(
            client_auth=state.client_auth_before, client_auth_before="", client_auth_confirm_by=None
        )
        if ended:
            generation_bump()
            after = {"mode": state.client_auth_before}
            audit_record("schedule", "client-auth.returned", before={"mode": state.client_auth}, after=after)


@needs(Right.SETTING, of=PORTAL)
def client_auth_return(*, actor: Actor) -> None:
    """Off, from the shell."""
    if state_get().client_auth != Mode.OFF:
        client_auth_change(Mode.OFF, secure=False, presented=None, actor=actor)


def client_log_in(presented: Presented) -> User:
    """The person whom a client certificate names, by e-mail address. Raises NotAllowed."""
    client_refuse_revoked(presented)
    if not _issuer_logs_in(presented):
        raise NotAllowed(
            "The CA of your certificate may not log people in.",
            advice="Log in with your password, or ask an administrator: Configuration ➜ Trust.",
            code="client-authority",
        )
    emails = presented.emails
    found = list(User.objects.filter(email__in=emails, is_active=True)[:2])
    if len(found) != 1:
        named = ", ".join(emails) or "no e-mail address"
        raise NotAllowed(
            f"Your certificate names {named}, and {'several people have' if found else 'nobody here has'} that.",
            advice="Log in with your password, or ask an administrator for an account with that address.",
            code="client-unknown",
        )
    return found[0]


def client_still_logs_in(presented: Presented | None, fingerprint: str, person: User) -> bool:
    """Whether this person's session, begun with the certificate of this fingerprint, may go on with what is shown."""
    if presented is None or presented.fingerprint != fingerprint:
        return False
    try:
        return client_log_in(presented) == person
    except NotAllowed:
        return False


def client_refuse_revoked(presented: Presented) -> None:
    """Raises NotAllowed. Of our own CAs by the register; of others as far as the store knows it."""
    revoked = issued_find_all(presented.serial).filter(revoked_at__isnull=False)
    ours = (each.authority.certificate.current for each in revoked)
    known = CertificateVersion.objects.filter(fingerprint_sha256=presented.fingerprint, revoked_at__isnull=False)
    if known.exists() or any(version is not None and _signed(presented, version) for version in ours):
        raise NotAllowed("Your client certificate was revoked.", advice="Ask for a new one.", code="client-revoked")


def _kept_mode(state: PortalState) -> Mode:
    """The last one that was not on trial."""
    return Mode(state.client_auth_before if state.client_auth_confirm_by else state.client_auth)


def _issuer_logs_in(presented: Presented) -> bool:
    """TLS has verified the chain; the authority that logs in is the one that signed the certificate itself."""
    rows = TrustedAuthority.objects.filter(clients=True, log_in=True, certificate__current__revoked_at=None)
    rows = rows.select_related("certificate__current")
    return any(row.certificate.current is not None and _signed(presented, row.certificate.current) for row in rows)


def _signed(presented: Presented, version: CertificateVersion) -> bool:
    return is_issued_by(presented.certificate, version.leaf)


def _shown_to_work(mode: Mode, *, secure: bool, presented: Presented | None) -> None:
    if mode is Mode.REQUIRED and presented is None:
        raise NotAllowed(
            "This request came without a client certificate, so nothing shows that you would still get in.",
            advice="Choose Optional first, open this page over HTTPS with your certificate, then require it.",
            code="arrival",
        )
    if not secure:
        raise NotAllowed(
            "This request did not come by HTTPS to the portal's own listener.",
            advice="Open the portal by HTTPS there and try again.",
            code="arrival",
        )
