"""Renewing what is signed here: by one of our own CAs, or by itself. At once, in one step, and never twice."""

from dataclasses import replace

from cryptography import x509
from django.db import transaction

from certs.domain.certinfo import certificate_info
from certs.domain.errors import ConflictError, KeyRefused
from certs.domain.issuer import PublicKey, public_key_of
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import profile_for
from certs.domain.roles import Right
from certs.domain.signing import usages_of
from certs.domain.wishes import Wish, wish_of
from certs.models import Authority, Certificate, CertificateVersion, PrivateKey
from certs.models.statements import row_update
from certs.services.access import Actor, needs
from certs.services.authorities import authority_renew
from certs.services.authority_keys import chain_below
from certs.services.events import audit_record
from certs.services.issued import authority_issuer, prepare, profile_of, register, sign
from certs.services.keys import key_new, key_open
from certs.services.renewal_claims import renewal_claim
from certs.services.versions import version_add


def is_signed_here(certificate: Certificate) -> bool:
    """Whether the portal can sign its successor itself."""
    if certificate.source == Certificate.Source.SELF_SIGNED:
        return True
    # Without a wish it is an OCSP responder, which is signed again with the lists, or came from outside.
    return certificate.source == Certificate.Source.INTERNAL and bool(certificate.wish)


@needs(Right.CERTIFICATE_CHANGE)
def certificate_reissue(
    certificate: Certificate, *, actor: Actor, passphrase: str = "", reason: str = "asked"
) -> CertificateVersion:
    """A new version of what one of our CAs issued, or of what signs itself: the same wish, signed now.

    With the key that is there where it is kept (`reuse_key`) or held elsewhere, else with a new one. A retired CA gives
    over to its successor. Raises ConflictError (code "busy") where another is at it, otherwise as `authority_issue`;
    then the failure is counted and the next attempt put off.
    """
    if not is_signed_here(certificate):
        raise ConflictError(f"{certificate.name} is not signed by the portal.", advice="Have it renewed by its CA.")
    own = Authority.objects.filter(certificate=certificate).first()
    if own is not None:
        return authority_renew(own, actor=actor, passphrase=passphrase, parent_passphrase=passphrase)
    with renewal_claim(certificate, actor):
        version = _renewed(certificate, passphrase)
    audit_record(
        actor,
        "certificate.renew",
        certificate,
        after={"reason": reason, "not_after": version.not_after.isoformat(), "serial": version.serial},
    )
    return version


def _renewed(certificate: Certificate, passphrase: str) -> CertificateVersion:
    authority = authority_today(certificate)
    wish = wish_now(certificate)
    profile = profile_of(authority, wish)
    issuer = authority_issuer(authority, passphrase) if authority is not None else None
    row = _key(certificate, wish)
    public_key = _public_key(row, certificate)
    signer = issuer or key_open(row)
    prepared = prepare(wish, profile, signer, key=row, public_key=public_key)
    if authority is not None:
        register(authority, [prepared])
    else:
        _kept(row)
    leaf = sign(prepared, issuer.key if issuer else key_open(row))
    with transaction.atomic():
        if authority is not None and certificate.authority_id != authority.pk:
            row_update(Certificate, {"pk": certificate.pk}, {"authority": authority})
            certificate.authority = authority
        return version_add(certificate, leaf=leaf, chain=chain_below(issuer) if issuer else (), key=row)


def authority_today(certificate: Certificate) -> Authority | None:
    """Who signs its successor: the CA that signed it, or whoever took over from that."""
    return certificate.authority.following if certificate.authority is not None else None


def wish_now(certificate: Certificate) -> Wish:
    """What it was made from; of one that was made before wishes were kept, what it says itself."""
    if certificate.wish:
        return Wish.from_json(certificate.wish)
    version = certificate.current
    if version is None:
        raise ConflictError(f"{certificate.name} has no version to renew.")
    return wish_again(version.leaf)


def wish_again(leaf: x509.Certificate) -> Wish:
    """What would make a certificate like this one. Raises InputError where it is for what we do not sign."""
    info, usages = certificate_info(leaf), usages_of(leaf)
    wish = wish_of(leaf, profile_for(False, usages, has_issuer=True))
    return replace(wish, hosts=(*info.names, *info.other_names), usages=usages)


def _key(certificate: Certificate, wish: Wish) -> PrivateKey:
    """Raises KeyRefused."""
    version = certificate.current
    row = version.key if version else certificate.key
    if row is not None and row.compromised_at is None and (certificate.reuse_key or row.held != PrivateKey.Held.HERE):
        return row
    if row is not None and row.held != PrivateKey.Held.HERE:
        raise KeyRefused(
            "Its private key is held elsewhere and is known to be compromised.",
            advice="Issue a certificate for a new request.",
            code="key-compromised",
        )
    key_type = certificate.key_type or wish.key_type
    return key_new(key_type if key_type in OWN_KEY_TYPES else "rsa-3072")


def _public_key(row: PrivateKey, certificate: Certificate) -> PublicKey:
    if row.held == PrivateKey.Held.HERE or certificate.current is None:
        return key_open(row).public_key()
    return public_key_of(certificate.current.leaf)


def _kept(row: PrivateKey) -> None:
    if row._state.adding:
        row.save(force_insert=True)
