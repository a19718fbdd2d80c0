"""Which CAs of the store the portal trusts: for its own calls, and for clients of its listener."""

import logging
import time

from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Lower

from certs.domain.client_auth import Mode
from certs.domain.errors import ConflictError, InputError
from certs.domain.keys import spki_sha256
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion, TrustedAuthority
from certs.services.access import PORTAL, Actor, may, needs, require
from certs.services.events import audit_record
from certs.services.portal_state import generation_bump, state_get
from certs.services.versions import certificate_lock

log = logging.getLogger("bindery.trust")
KEEP_SECONDS = 5.0  # a change on the page is followed by every process within this


def trusted_list() -> QuerySet[TrustedAuthority]:
    # Not by the bare name: SQLite would read all certificates in the order of its index.
    return TrustedAuthority.objects.select_related("certificate__current").order_by(Lower("certificate__name"))


def trusted_candidates() -> QuerySet[Certificate]:
    """CA certificates that are not trusted yet, the placeholder and the like left out."""
    authorities = CertificateVersion.objects.filter(is_ca=True).order_by()  # an index of its own
    rows = Certificate.objects.filter(deleted_at=None, current__in=authorities.values("pk"), trusted=None)
    return rows.select_related("current").order_by("name", "id")


@needs(Right.SETTING, of=PORTAL)
def trusted_set(
    certificate: Certificate, *, outbound: bool = False, clients: bool = False, log_in: bool = False, actor: Actor
) -> None:
    """What it is trusted for; nothing at all takes it off the list.

    Raises InputError for what is no CA, ConflictError where people could be locked out of the listener.
    """
    version = certificate.current
    trusted_check(certificate.name, is_ca=version is not None and version.is_ca, clients=clients, log_in=log_in)
    wanted = {"outbound": outbound, "clients": clients, "log_in": log_in}
    with transaction.atomic():
        if certificate_lock(certificate).deleted_at is not None:
            raise ConflictError(f"{certificate.name} is deleted.", advice="Restore it first.")
        before = TrustedAuthority.objects.select_for_update().filter(certificate=certificate).first()
        was = {name: bool(before and getattr(before, name)) for name in wanted}
        if was == wanted:
            return
        if was["clients"] and not clients:
            _last_guard(certificate)
        if outbound or clients:
            TrustedAuthority.objects.update_or_create(certificate=certificate, defaults=wanted)
        else:
            TrustedAuthority.objects.filter(certificate=certificate).delete()
        if was["clients"] != clients:
            generation_bump()
        audit_record(actor, "trust.change", certificate, before=was, after=wanted)


def trusted_check(name: str, *, is_ca: bool, clients: bool, log_in: bool) -> None:
    """Whether a certificate can be trusted so. Raises InputError."""
    if not is_ca:
        raise InputError(f"{name} is no CA certificate.", advice="Choose the certificate of the CA that signed it.")
    if log_in and not clients:
        raise InputError(
            f"{name} cannot log people in: its client certificates are not accepted.",
            advice="Accept its client certificates too.",
            code="log-in",
        )


def log_in_guard(certificate: Certificate, *, actor: Actor) -> None:
    """Before this CA signs anything: who may have one of its certificates can be anybody here. Raises NotAllowed.

    A CA is its name and its key: the store may hold it more than once, and trust another of its certificates.
    """
    if may(actor, Right.PERSON) or certificate.current is None:
        return
    logging_in = TrustedAuthority.objects.filter(log_in=True, certificate__current__subject=certificate.current.subject)
    own = _public_key_of(certificate.current.leaf_pem)
    if any(_public_key_of(pem) == own for pem in logging_in.values_list("certificate__current__leaf_pem", flat=True)):
        require(actor, Right.PERSON)


def trusted_pem(**purpose: bool) -> str:
    """PEM of the current certificates of those that are trusted for it (`outbound=True`, `clients=True`)."""
    rows = TrustedAuthority.objects.filter(**purpose, certificate__deleted_at=None)
    return "".join(rows.order_by("pk").values_list("certificate__current__leaf_pem", flat=True))


class _Outbound:
    """What goes out trusts this besides the system's roots: asked before each call, read every KEEP_SECONDS.

    While the database cannot be asked, it is what was read last.
    """

    def __init__(self) -> None:
        self._pem = ""
        self._read_at = float("-inf")

    def pem(self) -> str:
        now = time.monotonic()
        if now - self._read_at >= KEEP_SECONDS:
            try:
                self._pem, self._read_at = trusted_pem(outbound=True), now
            except (DatabaseError, InterfaceError) as error:
                log.warning("the trusted CAs cannot be read", extra={"error": str(error)})
        return self._pem

    def forget(self) -> None:
        """What was kept is asked for anew."""
        self._pem, self._read_at = "", float("-inf")


outbound = _Outbound()


def _public_key_of(leaf_pem: str) -> str:
    return spki_sha256(certificates_read(leaf_pem.encode())[0].public_key())


def _last_guard(certificate: Certificate) -> None:
    mode = state_get().client_auth
    if mode == Mode.REQUIRED:
        raise ConflictError(
            f"The listener requires a client certificate: whoever has one of {certificate.name} would be locked out.",
            advice="Make client certificates optional first, and require them again afterwards.",
            code="required",
        )
    others = TrustedAuthority.objects.filter(clients=True).exclude(certificate=certificate)
    if mode != Mode.OFF and not others.exists():
        raise ConflictError(
            f"The listener asks for client certificates, and {certificate.name} is the only CA whose are accepted.",
            advice="Switch client certificates off first, or accept another CA.",
            code="last-authority",
        )
