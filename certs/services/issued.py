"""What our own CAs sign: weighed, linted, written into the register, signed and stored, in this order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from django.db import transaction

from certs.domain.authority import (
    Issuer,
    Plan,
    PublicKey,
    Wish,
    certificate_build,
    certificate_plan,
    certificate_sign,
    serial_hex,
    serial_new,
    wish_with_key,
)
from certs.domain.csr import CsrInfo
from certs.domain.errors import InputError, KeyRefused, NotAllowed
from certs.domain.keys import Key
from certs.domain.lint import Finding, lint_refuse, throwaway_key
from certs.domain.pem import Chain
from certs.domain.profiles import Profile, profile_for
from certs.domain.roles import Right
from certs.models import Authority, Certificate, IssuedCertificate, PrivateKey
from certs.services.access import Actor, needs, require
from certs.services.authority_keys import (
    authority_above,
    authority_certificate,
    authority_key,
    authority_version,
    chain_below,
)
from certs.services.certificates import Properties, certificate_take
from certs.services.keys import key_new, key_open
from certs.services.pki import pki_urls
from certs.services.profiles import profile_get
from portal import clock

BATCH = 100


@dataclass(frozen=True)
class Prepared:
    """What passed every rule and waits for its signature."""

    wish: Wish
    plan: Plan
    key: PrivateKey | None  # None: a key pair of somebody else, of which only the public half was given
    serial: int
    builder: x509.CertificateBuilder
    to_be_signed: bytes  # as linted
    findings: tuple[Finding, ...]  # warnings and notices


@needs(Right.CERTIFICATE_ADD)
def authority_issue(
    authority: Authority,
    wish: Wish,
    *,
    actor: Actor,
    passphrase: str = "",
    key: PrivateKey | None = None,
    csr: CsrInfo | None = None,
    properties: Properties | None = None,
    auto_renew: bool = True,
) -> Certificate:
    """Sign one certificate and store it: for `key`, for the key of `csr`, or for a new one of `wish.key_type`.

    Raises InputError (a field, a profile's limit, a name constraint; LintRefused with all findings), KeyRefused
    (passphrase-needed, passphrase-wrong), NotAllowed (retired, expired, no such right), ConflictError (its id).
    """
    issuer = authority_issuer(authority, passphrase)
    if csr is not None:
        wish = wish_of_csr(wish, csr)
    profile = profile_of(authority, wish)
    if wish.is_ca or profile.is_ca:
        require(actor, Right.AUTHORITY, authority)
    certificate_plan(wish, profile, issuer, now=clock.now())  # before a key is made for nothing
    row, public_key = key_for(wish, key, csr)
    prepared = prepare(wish, profile, issuer, key=row, public_key=public_key)
    register(authority, [prepared])
    leaf = sign(prepared, issuer.key)
    made, _ = certificate_take(
        Chain(leaf, tuple(chain_below(issuer))),
        row,
        actor=actor,
        properties=properties,
        source=Certificate.Source.INTERNAL,
        auto_renew=auto_renew,
        authority=authority,
        wish=prepared.wish.as_json(),
        action="certificate.issue",
    )
    return made


def authority_issuer(authority: Authority, passphrase: str = "") -> Issuer:
    """Ready to sign. Raises KeyRefused as `authority_key` does, NotAllowed where it signs no more."""
    if authority.retired_at is not None:
        raise NotAllowed(
            f"{authority} was retired on {authority.retired_at:%Y-%m-%d} and signs no more certificates.",
            advice="Choose another CA.",
            code="authority-retired",
        )
    if authority_version(authority).revoked_at is not None:
        raise NotAllowed(
            f"The certificate of {authority} is revoked: nobody believes what it signs.",
            advice="Choose another CA.",
            code="authority-revoked",
        )
    return Issuer(
        certificate=authority_certificate(authority),
        key=authority_key(authority, passphrase),
        above=authority_above(authority),
        **_addresses(authority),
    )


def _addresses(authority: Authority) -> dict[str, str]:
    if not authority.include_aia:
        return {}
    urls = pki_urls(authority)
    return {"ca_url": urls.issuer, "crl_url": urls.crl, "ocsp_url": urls.ocsp}


def profile_of(authority: Authority | None, wish: Wish) -> Profile:
    """Raises InputError where there is none of that name, NotAllowed where the authority does not sign by it.

    A wish that names none gets the one that its flags ask for; without an authority, it signs itself.
    """
    return profile_get(wish.profile or profile_for(wish.is_ca, wish.usages, has_issuer=authority is not None))


def wish_of_csr(wish: Wish, csr: CsrInfo) -> Wish:
    """What the wish leaves open, as the request has it; its other extensions are not asked for."""
    return replace(
        wish_with_key(wish, csr.public_key),
        subject=wish.subject or csr.subject,
        hosts=wish.hosts or (*csr.names, *csr.other_names),
    )


def key_for(wish: Wish, key: PrivateKey | None, csr: CsrInfo | None) -> tuple[PrivateKey, PublicKey]:
    """The row, not stored yet where it is new, and the public key. Raises KeyRefused."""
    if csr is not None:
        row = PrivateKey.objects.filter(spki_sha256=csr.spki_sha256).first() or PrivateKey(
            key_type=csr.key_type, spki_sha256=csr.spki_sha256, held=PrivateKey.Held.OUTSIDE
        )
        public_key: PublicKey = csr.public_key  # type: ignore[assignment]  # of a kind that csr_read takes
    else:
        row = key or key_new(wish.key_type)
        public_key = key_open(row).public_key()
    if row.compromised_at is not None:
        raise KeyRefused(
            "This private key is known to be compromised.", advice="Make a new one.", code="key-compromised"
        )
    return row, public_key


def prepare(wish: Wish, profile: Profile, signer: Issuer | Key, *, key: PrivateKey, public_key: PublicKey) -> Prepared:
    """Weighed and linted; what signs itself is signed by its own key. Raises InputError, NotAllowed, LintRefused."""
    issuer = signer if isinstance(signer, Issuer) else None
    signing = signer.key if isinstance(signer, Issuer) else signer
    wish = replace(wish_with_key(wish, public_key), profile=profile.name)
    plan = certificate_plan(wish, profile, issuer, now=clock.now())
    serial = serial_new()
    builder = certificate_build(plan, public_key, issuer, serial=serial)
    linted = certificate_sign(builder, throwaway_key(signing), wish)
    findings = lint_refuse(linted, public_style=profile.public_style)
    return Prepared(wish, plan, key, serial, builder, linted.tbs_certificate_bytes, findings)


def register(authority: Authority, prepared: Sequence[Prepared]) -> None:
    """The keys and the rows of the register, before anything is signed."""
    with transaction.atomic():
        PrivateKey.objects.bulk_create(one.key for one in prepared if one.key is not None and one.key._state.adding)
        IssuedCertificate.objects.bulk_create(
            IssuedCertificate(
                authority=authority,
                serial=serial_hex(one.serial),
                subject=one.plan.subject.rfc4514_string()[:500],
                not_after=one.plan.not_after,
            )
            for one in prepared
        )


def sign(prepared: Prepared, key: Key) -> x509.Certificate:
    """By the real key. Raises InputError where the bytes are not those that were linted."""
    certificate = certificate_sign(prepared.builder, key, prepared.wish)
    if certificate.tbs_certificate_bytes != prepared.to_be_signed:
        raise InputError("What was to be signed is not what was checked.", advice="Please report this.", code="lint")
    return certificate
