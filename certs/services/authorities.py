"""Our own CAs: made, imported, renewed, changed, retired. What they sign is in `issued`."""

from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from django.db import transaction

from certs.domain.certinfo import certificate_info, common_name_of, is_issued_by
from certs.domain.errors import ConflictError, InputError, KeyRefused, NotAllowed
from certs.domain.issuer import issuer_check, public_key_of
from certs.domain.keys import Key, key_from_pem
from certs.domain.pem import Chain, certificates_read, chain_order
from certs.domain.profiles import Profile
from certs.domain.roles import Right
from certs.domain.wishes import Wish, wish_of
from certs.models import Authority, Certificate, CertificateVersion, PrivateKey
from certs.services.access import Actor, needs, require
from certs.services.authority_keys import (
    authority_certificate,
    authority_key,
    chain_below,
    key_row_lock,
    locked_key_import,
)
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.crls import authority_publish, crl_days_check
from certs.services.events import audit_record
from certs.services.issued import Prepared, authority_issuer, prepare, profile_of, register, sign
from certs.services.keys import key_import, key_new, key_open
from certs.services.pki import pki_base_url_required
from certs.services.profiles import profile_get, profiles_all
from certs.services.renewal_claims import renewal_claim
from certs.services.versions import certificate_lock, refuse_expired, version_add
from portal import clock


@needs(Right.AUTHORITY, of="parent")
def authority_create(
    wish: Wish,
    *,
    actor: Actor,
    parent: Authority | None = None,
    passphrase: str = "",
    parent_passphrase: str = "",
    properties: Properties | None = None,
    crl_days: int = 7,
    include_aia: bool = True,
    profiles: Sequence[str] = (),
) -> Authority:
    """A root, or below `parent` an intermediate, with a new key, and what it publishes: responder and list.

    With a passphrase it is offline: the passphrase is stored nowhere, and nothing is signed without it. `crl_days` is
    how long its list, and of an offline one its responder, stay good; `profiles` are those that it signs by, none: all.
    Raises InputError, KeyRefused (the parent's passphrase, a weak one), NotAllowed (no confirmed address).
    """
    pki_base_url_required()
    crl_days_check(crl_days)
    _profiles_check(profiles)
    wish = replace(wish, is_ca=True)
    profile = profile_of(parent, wish)
    if not profile.is_ca:
        raise InputError(f"The profile “{profile.label}” makes no CA.", advice="Leave the profile open.")
    prepared, chain = _signed_new(wish, profile, parent, passphrase, parent_passphrase)
    with transaction.atomic():
        made, _ = certificate_take(
            chain,
            prepared.key,
            actor=actor,
            properties=properties or Properties(name=common_name_of(chain.leaf.subject)),
            source=Certificate.Source.INTERNAL,
            auto_renew=parent is not None,
            authority=parent,
            wish=prepared.wish.as_json(),
            action="authority.create",
        )
        authority = Authority.objects.create(
            certificate=made,
            offline=bool(passphrase),
            crl_days=crl_days,
            include_aia=include_aia,
            profiles=list(profiles),
        )
    authority_publish(authority, passphrase, actor=actor)
    return authority


def _signed_new(
    wish: Wish, profile: Profile, parent: Authority | None, passphrase: str, parent_passphrase: str
) -> tuple[Prepared, Chain]:
    """With a new key that is stored, locked where there is a passphrase."""
    issuer = authority_issuer(parent, parent_passphrase) if parent else None
    row = key_new(wish.key_type)
    key = key_open(row)
    if passphrase:
        key_row_lock(row, key, passphrase)
    prepared = prepare(wish, profile, issuer or key, key=row, public_key=key.public_key())
    if parent is not None:
        register(parent, [prepared])
    else:
        row.save(force_insert=True)
    leaf = sign(prepared, issuer.key if issuer else key)
    return prepared, Chain(leaf, tuple(chain_below(issuer)) if issuer else ())


@needs(Right.AUTHORITY, of="properties")
def authority_import(
    *,
    chain: bytes,
    key: bytes,
    actor: Actor,
    password: bytes | None = None,
    passphrase: str = "",
    properties: Properties | None = None,
    crl_days: int = 7,
    include_aia: bool = True,
) -> Authority:
    """A CA from elsewhere: PEM of its certificate, those above it, and its key. With a passphrase it is offline here.

    What it signed before is not in the register: OCSP does not know it. Raises CertificateRefused, KeyRefused,
    InputError, ConflictError where it is an authority already, NotAllowed.
    """
    pki_base_url_required()
    crl_days_check(crl_days)
    private = key_from_pem(key, password)
    found = chain_order(certificates_read(chain), private.public_key())
    issuer_check(found.leaf)
    info = certificate_info(found.leaf)
    refuse_expired(info)
    parent = authority_of(found.leaf)
    row = _key_taken(private, passphrase)
    if found.root is not None and found.root != found.leaf:
        certificate_take(Chain(found.root), None, actor=actor, allow_expired=True)  # its constraints hold below it
    with transaction.atomic():
        taken, _ = certificate_take(
            found,
            row,
            actor=actor,
            properties=properties or Properties(name=common_name_of(found.leaf.subject)),
            source=Certificate.Source.INTERNAL,
            authority=parent,
            wish=wish_of(found.leaf, "root" if info.self_signed else "intermediate").as_json(),
            action="authority.import",
        )
        if certificate_lock(taken).deleted_at is not None:
            raise ConflictError(f"{taken.name} was just deleted.", advice="Restore it, or import it again.")
        # One name with one key is one CA, in whichever organization: another register would not know of this one's.
        named = Authority.objects.filter(certificate__current__subject=info.subject[:500])
        if named.filter(certificate__versions__key=row).exists():
            raise ConflictError(f"{taken.name} is an authority already.", advice="Open it under Authorities.")
        authority = Authority.objects.create(
            certificate=taken, offline=row.locked, crl_days=crl_days, include_aia=include_aia
        )
    authority_publish(authority, passphrase, actor=actor)
    return authority


@needs(Right.AUTHORITY)
def authority_renew(
    authority: Authority,
    *,
    actor: Actor,
    passphrase: str = "",
    parent_passphrase: str = "",
    days: int = 0,
) -> CertificateVersion:
    """A new certificate for the same name and key. What it issued is renewed in turn, by the sweep.

    A root needs its own passphrase where it has one, an intermediate that of its parent. Raises as `authority_create`.
    """
    with renewal_claim(authority.certificate, actor):
        return _renewed(authority, actor, passphrase, parent_passphrase, days)


def _renewed(
    authority: Authority, actor: Actor, passphrase: str, parent_passphrase: str, days: int
) -> CertificateVersion:
    certificate, today = authority.certificate, authority_certificate(authority)
    row = certificate.current.key if certificate.current else None
    if row is None:
        raise KeyRefused(f"The private key of {authority} is not held here.", code="key-not-here")
    if row.compromised_at is not None:
        raise KeyRefused(
            f"The private key of {authority} is known to be compromised.",
            advice="Make another CA and let it take over.",
            code="key-compromised",
        )
    parent = certificate.authority
    if parent is None and not certificate_info(today).self_signed:
        raise NotAllowed(
            f"The CA above {authority} is not one of ours.",
            advice="Have it renewed there, and upload the answer.",
            code="parent-outside",
        )
    issuer = authority_issuer(parent, parent_passphrase) if parent else None
    key = issuer.key if issuer else authority_key(authority, passphrase)
    wish = Wish.from_json(certificate.wish)
    wish = replace(wish, days=days or wish.days)
    profile = profile_get(wish.profile or ("intermediate" if parent else "root"))
    public_key = public_key_of(today)
    prepared = prepare(wish, profile, issuer or key, key=row, public_key=public_key, like=today)
    if parent is not None:
        register(parent, [prepared])
    leaf = sign(prepared, key)
    with transaction.atomic():
        chain = chain_below(issuer) if issuer else []
        version = version_add(certificate, leaf=leaf, chain=chain, key=row)
        children_wake(authority)
        audit_record(actor, "authority.renew", authority, after={"not_after": version.not_after.isoformat()})
    return version


@needs(Right.AUTHORITY)
def authority_change(
    authority: Authority, *, actor: Actor, include_aia: bool | None = None, profiles: Sequence[str] | None = None
) -> None:
    """For what it signs from now on. Raises InputError."""
    before = {"include_aia": authority.include_aia, "profiles": authority.profiles}
    if profiles is not None:
        _profiles_check(profiles)
        authority.profiles = list(profiles)
    if include_aia is not None:
        authority.include_aia = include_aia
    after = {"include_aia": authority.include_aia, "profiles": authority.profiles}
    if before == after:
        return
    with transaction.atomic():
        authority.save(update_fields=["include_aia", "profiles"])
        audit_record(actor, "authority.change", authority, before=before, after=after)


@needs(Right.AUTHORITY)
def authority_retire(authority: Authority, *, actor: Actor, successor: Authority | None = None) -> Authority:
    """It signs no certificate any more, but goes on telling of revoked ones. What it issued moves to the successor.

    Raises ConflictError, InputError where the successor cannot take over.
    """
    if authority.retired_at is not None and authority.successor_id == (successor.pk if successor else None):
        return authority
    if successor is not None:
        require(actor, Right.READ, successor)
        if successor.pk == authority.pk or successor.retired_at is not None or authority in successor.successors():
            raise InputError(f"{successor} cannot take over from {authority}.", advice="Choose a CA that signs.")
    with transaction.atomic():
        authority.retired_at = authority.retired_at or clock.now()
        authority.successor = successor
        authority.save(update_fields=["retired_at", "successor"])
        children_wake(authority)
        audit_record(actor, "authority.retire", authority, after={"successor": str(successor or "")})
    return authority


def children_wake(authority: Authority) -> None:
    """The next tick looks at all that it issued; how many it renews at once is the sweep's."""
    issued = Certificate.objects.filter(authority=authority, deleted_at=None, auto_renew=True)
    issued.update(next_check_at=clock.now())


def _profiles_check(names: Sequence[str]) -> None:
    known = profiles_all()
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"No profile is called “{', '.join(unknown)}”.", code="profile")


def authority_of(certificate: x509.Certificate) -> Authority | None:
    """Which of ours signed it, if any."""
    rows = Authority.objects.filter(certificate__current__subject=certificate.issuer.rfc4514_string()[:500])
    for row in rows.select_related("certificate__current"):
        own = authority_certificate(row)
        if own != certificate and is_issued_by(certificate, own):
            return row
    return None


def _key_taken(key: Key, passphrase: str) -> PrivateKey:
    """Raises KeyRefused, ConflictError where the key is here already in another form than wanted."""
    row = locked_key_import(key, passphrase) if passphrase else key_import(key)
    if row.locked != bool(passphrase):
        raise ConflictError(
            "This private key is in the store already, without the passphrase."
            if passphrase
            else "This private key is in the store already, locked by a passphrase.",
            advice="Import the CA as it is there, or delete that certificate first.",
        )
    return row
