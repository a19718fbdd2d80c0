"""Which certificate answers for which server name. Each change touches one binding and bumps the generation."""

from django.db import transaction

from certs.domain.certinfo import covers
from certs.domain.errors import CertificateRefused, InputError
from certs.domain.names import SERVER_NAME, name_parse
from certs.domain.roles import Right
from certs.models import Binding, Certificate, CertificateVersion
from certs.services.access import PORTAL, Actor, needs, require
from certs.services.events import audit_record
from certs.services.https import hsts_guard
from certs.services.keys import key_open
from certs.services.portal_state import generation_bump, state_get
from certs.services.versions import certificate_lock
from portal import clock


@needs(Right.BIND, of="certificate")
def binding_set(server_name: str, certificate: Certificate, *, actor: Actor) -> Binding:
    """Let `certificate` answer for `server_name`; the empty name is the default. Other bindings stay as they are.

    Raises NameRefused, CertificateRefused for a certificate that could not be served there, and ConflictError where
    it would lock out browsers that remember HSTS.
    """
    name = name_parse(server_name, SERVER_NAME) if server_name.strip() else ""
    with transaction.atomic():
        row = certificate_lock(certificate)  # or it could be deleted, or go back to an earlier version, meanwhile
        binding_check(name, row)
        hsts_guard({name: row})
        before = Binding.objects.filter(server_name=name).select_related("certificate").first()
        if before is not None and before.certificate_id == certificate.pk:
            return before
        _require_before(actor, before, name)
        binding, _ = Binding.objects.update_or_create(
            server_name=name, defaults={"certificate": certificate, "updated_at": clock.now()}
        )
        generation_bump()
        audit_record(
            actor,
            "binding.set",
            name or "default",
            of=certificate,
            before={"certificate": before.certificate.name} if before else {},
            after={"certificate": certificate.name, "id": str(certificate.pk)},
        )
    return binding


@needs(Right.BIND)
def binding_remove(server_name: str, *, actor: Actor) -> None:
    """From then on the default answers for the name, the placeholder for a default. InputError, ConflictError."""
    hsts_guard({server_name: None})
    with transaction.atomic():
        binding = Binding.objects.filter(server_name=server_name).select_related("certificate").first()
        if binding is None:
            raise InputError(f"Nothing is bound to {server_name or 'the default'}.")
        require(actor, Right.BIND, binding)
        before = {"certificate": binding.certificate.name, "id": str(binding.certificate_id)}
        certificate_lock(binding.certificate)  # before the settings, as a renewal does: the audit event points at it
        binding.delete()
        generation_bump()
        audit_record(actor, "binding.remove", server_name or "default", of=binding.certificate, before=before)


def _require_before(actor: Actor, before: Binding | None, name: str) -> None:
    """What answers there now must be theirs as well; by default, where nothing is bound, that is the portal's."""
    if before is not None:
        require(actor, Right.BIND, before)
    elif not name:
        require(actor, Right.BIND, PORTAL)


def binding_check(server_name: str, certificate: Certificate) -> CertificateVersion:
    """The version that would be served for the name (already an A-label). Raises CertificateRefused, SecretError."""
    version = certificate.current
    if certificate.deleted_at is not None or version is None:
        raise CertificateRefused(
            f"{certificate.name} has nothing to serve yet.", advice="Wait until it is issued, then bind it."
        )
    if version.key is None:
        raise CertificateRefused(
            f"The private key of {certificate.name} is not held here.", advice="Import it together with its key."
        )
    key_open(version.key)
    moment = clock.now()
    if version.not_after <= moment:
        raise CertificateRefused(
            f"{certificate.name} expired on {version.not_after:%Y-%m-%d}.",
            advice="Renew it first, or bind another one.",
            code="expired",
        )
    if version.not_before > moment:
        raise CertificateRefused(
            f"{certificate.name} is valid only from {version.not_before:%Y-%m-%d %H:%M} UTC.",
            advice="Bind it then; check the clock of this machine if that is wrong.",
            code="not-yet-valid",
        )
    if server_name and not covers(version.names, server_name):
        raise CertificateRefused(
            f"{certificate.name} does not hold {server_name}; it holds {', '.join(version.names) or 'no names'}.",
            advice="Bind a certificate that holds this name.",
            code="names",
        )
    return version


def bindings_default_only_placeholder() -> bool:
    """Whether nothing but the placeholder is bound: the moment when an own certificate may be bound by itself."""
    return not Binding.objects.exclude(certificate=state_get().placeholder_id).exists()
