"""What our own CAs sign: weighed, linted, written into the register, signed and stored, in this order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from cryptography import x509
from django.db import IntegrityError, transaction

from certs.domain.certinfo import serial_hex
from certs.domain.csr import CsrInfo
from certs.domain.errors import BinderyError, InputError, NotAllowed
from certs.domain.issuer import Issuer, PublicKey, public_key_of, subject_identifier
from certs.domain.keys import Key, key_type_of
from certs.domain.lint import Finding, LintRefused, lint, lint_refuse, throwaway, throwaway_key
from certs.domain.pem import Chain
from certs.domain.plans import Plan, certificate_plan
from certs.domain.profiles import Profile, profile_for
from certs.domain.roles import Right
from certs.domain.signing import certificate_build, certificate_sign, serial_new
from certs.domain.wishes import Wish, wish_with_key
from certs.models import Authority, Certificate, IssuedCertificate, PrivateKey
from certs.services.access import Actor, needs, require
from certs.services.asking import asking_require
from certs.services.authority_keys import (
    authorities_above,
    authority_above,
    authority_certificate,
    authority_key,
    authority_version,
    chain_below,
)
from certs.services.certificate_properties import Properties
from certs.services.certificates import Fresh, certificate_take, certificates_add_many
from certs.services.keys import key_new, key_open, key_refuse_compromised
from certs.services.lint_pool import LintPool
from certs.services.pki import pki_urls
from certs.services.profiles import profile_get
from certs.services.trusted import log_in_guard
from portal import clock

BATCH = 100


@dataclass(frozen=True)
class Prepared:
    """What passed every rule and waits for its signature."""

    wish: Wish
    plan: Plan
    key: PrivateKey | None  # None in a preview, for which there is none
    serial: int
    builder: x509.CertificateBuilder
    specimen: x509.Certificate  # the same bytes under a throw-away key: what is linted
    findings: tuple[Finding, ...] | None = None  # warnings and notices; None: not linted yet


@dataclass(frozen=True)
class Item:
    """One certificate of many."""

    wish: Wish
    properties: Properties = field(default_factory=Properties)
    csr: CsrInfo | None = None
    auto_renew: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of an item: the certificate, or what stood against it."""

    item: Item
    certificate: Certificate | None = None
    error: BinderyError | None = None


@needs(Right.CERTIFICATE_ADD, of="properties")
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
    issuer = _issuer_for(authority, actor, passphrase)
    built = _build_new(authority, issuer, Item(wish, csr=csr), actor, key=key)
    prepared = linted(built, lint(built.specimen, public_style=built.plan.public_style))
    register(authority, [prepared])
    made, _ = certificate_take(
        Chain(sign(prepared, issuer.key), tuple(chain_below(issuer))),
        prepared.key,
        actor=actor,
        properties=properties,
        source=Certificate.Source.INTERNAL,
        auto_renew=auto_renew,
        authority=authority,
        wish=prepared.wish.as_json(),
        action="certificate.issue",
    )
    return made


@needs(Right.CERTIFICATE_ADD)
def authority_issue_many(
    authority: Authority, items: Iterable[Item], *, actor: Actor, passphrase: str = ""
) -> Iterator[Outcome]:
    """One outcome for each item, in order, while it goes: batches of `BATCH` are registered, signed and stored.

    What stands against one item does not stop the others. Raises KeyRefused and NotAllowed as `authority_issue`, before
    the first.
    """
    return _issue_many(authority, _issuer_for(authority, actor, passphrase), items, actor)


def authority_preview(
    authority: Authority, wish: Wish, *, csr: CsrInfo | None = None, passphrase: str = ""
) -> tuple[Plan, tuple[Finding, ...]]:
    """What would be signed and what the lint says of it; nothing is signed, registered or kept.

    Of an offline authority no passphrase is needed: the key that lints is a throw-away key anyway. Raises as
    `authority_issue` does, LintRefused included.
    """
    issuer = _issuer_without_key(authority)
    if csr is not None:
        wish = wish_of_csr(wish, csr)
    public_key = public_key_of(csr.request) if csr is not None else throwaway(wish.key_type).public_key()
    prepared = prepare(wish, profile_of(authority, wish), issuer, key=None, public_key=public_key)
    return prepared.plan, prepared.findings or ()


@dataclass
class _Batch:
    """On its way: built and being linted, while the one before it is stored."""

    outcomes: list[Outcome]
    ready: dict[int, Prepared]


def _issue_many(authority: Authority, issuer: Issuer, items: Iterable[Item], actor: Actor) -> Iterator[Outcome]:
    rest = iter(items)
    waiting: _Batch | None = None
    with LintPool() as linters:
        while given := list(islice(rest, BATCH)):
            batch = _built(authority, issuer, given, actor)
            linters.begin([(one.specimen, one.plan.public_style) for one in batch.ready.values()])
            if waiting is not None:
                yield from _issued(authority, issuer, waiting, linters.end(), actor)
            waiting = batch
        if waiting is not None:
            yield from _issued(authority, issuer, waiting, linters.end(), actor)


def _built(authority: Authority, issuer: Issuer, given: Sequence[Item], actor: Actor) -> _Batch:
    batch = _Batch([Outcome(item) for item in given], {})
    for place, item in enumerate(given):
        try:
            batch.ready[place] = _build_new(authority, issuer, item, actor)
        except BinderyError as error:
            batch.outcomes[place] = Outcome(item, error=error)
    return batch


def _issued(
    authority: Authority, issuer: Issuer, batch: _Batch, findings: Sequence[tuple[Finding, ...]], actor: Actor
) -> list[Outcome]:
    items = [outcome.item for outcome in batch.outcomes]
    passed: dict[int, Prepared] = {}
    for (place, one), found in zip(batch.ready.items(), findings, strict=True):
        try:
            passed[place] = linted(one, found)
        except LintRefused as error:
            batch.outcomes[place] = Outcome(items[place], error=error)
    try:
        register(authority, list(passed.values()))
    except NotAllowed as error:
        for place in passed:
            batch.outcomes[place] = Outcome(items[place], error=error)
        passed = {}
    fresh = {
        place: Fresh(
            sign(one, issuer.key), one.key, one.wish.as_json(), items[place].properties, items[place].auto_renew
        )
        for place, one in passed.items()
        if one.key is not None
    }
    for place, result in _stored(authority, issuer, fresh, actor):
        if isinstance(result, Certificate):
            batch.outcomes[place] = Outcome(items[place], result)
        else:
            batch.outcomes[place] = Outcome(items[place], error=result)
    return batch.outcomes


def _stored(
    authority: Authority, issuer: Issuer, fresh: dict[int, Fresh], actor: Actor
) -> Iterator[tuple[int, Certificate | BinderyError]]:
    """All in one transaction; where one of them cannot be stored, each by itself."""
    chain = chain_below(issuer)
    try:
        rows = certificates_add_many(list(fresh.values()), authority=authority, chain=chain, actor=actor)
        yield from zip(fresh, rows, strict=True)
    except (BinderyError, IntegrityError):  # two of them may ask for the same id
        for place, one in fresh.items():
            try:
                yield place, certificates_add_many([one], authority=authority, chain=chain, actor=actor)[0]
            except BinderyError as error:
                yield place, error


def _build_new(
    authority: Authority, issuer: Issuer, item: Item, actor: Actor, key: PrivateKey | None = None
) -> Prepared:
    wish = wish_of_csr(item.wish, item.csr) if item.csr is not None else item.wish
    profile = profile_of(authority, wish)
    if wish.is_ca or profile.is_ca:
        require(actor, Right.AUTHORITY, authority)
    certificate_plan(wish, profile, issuer, now=clock.now())  # before a key is made for nothing
    row, public_key = key_for(wish, key, item.csr)
    return build(wish, profile, issuer, key=row, public_key=public_key)


def _issuer_for(authority: Authority, actor: Actor, passphrase: str) -> Issuer:
    require(actor, Right.READ, authority)
    log_in_guard(authority.certificate, actor=actor)
    return authority_issuer(authority, passphrase)


def authority_issuer(authority: Authority, passphrase: str = "") -> Issuer:
    """Ready to sign. Raises KeyRefused as `authority_key` does, NotAllowed where it signs no more, or where the portal
    is held as a copy: the register of the other one would not know of what is signed here."""
    asking_require()
    return replace(_issuer_without_key(authority), key=authority_key(authority, passphrase))


def _issuer_without_key(authority: Authority) -> Issuer:
    """The same with a throw-away key of the same kind, for what is only looked at."""
    _signing_check(authority)
    certificate = authority_certificate(authority)
    key = throwaway(key_type_of(certificate.public_key()))
    return Issuer(certificate, key, authority_above(authority), **_addresses(authority))


def _signing_check(authority: Authority) -> None:
    """Raises NotAllowed where it signs no more."""
    if authority.certificate.deleted_at is not None:
        raise NotAllowed(
            f"{authority} is deleted and signs no more certificates.",
            advice="Restore it first, or choose another CA.",
            code="authority-deleted",
        )
    if authority.retired_at is not None:
        raise NotAllowed(
            f"{authority} was retired on {authority.retired_at:%Y-%m-%d} and signs no more certificates.",
            advice="Choose another CA.",
            code="authority-retired",
        )
    for row in (authority, *authorities_above(authority)):
        if authority_version(row).revoked_at is not None:
            raise NotAllowed(
                f"The certificate of {row} is revoked: nobody believes what {authority} signs.",
                advice="Choose another CA.",
                code="authority-revoked",
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
    name = wish.profile or profile_for(wish.is_ca, wish.usages, has_issuer=authority is not None)
    if authority is not None and authority.profiles and name not in authority.profiles:
        raise NotAllowed(
            f"{authority} does not sign by the profile “{name}”.",
            advice=f"It signs by {', '.join(authority.profiles)}.",
            code="authority-profile",
        )
    return profile_get(name)


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
        public_key = public_key_of(csr.request)
    else:
        row = key or key_new(wish.key_type)
        public_key = key_open(row).public_key()
    key_refuse_compromised(row)
    return row, public_key


def prepare(
    wish: Wish,
    profile: Profile,
    signer: Issuer | Key,
    *,
    key: PrivateKey | None,
    public_key: PublicKey,
    like: x509.Certificate | None = None,
) -> Prepared:
    """Weighed, built and linted. Raises InputError, NotAllowed, LintRefused."""
    built = build(wish, profile, signer, key=key, public_key=public_key, like=like)
    return linted(built, lint(built.specimen, public_style=profile.public_style))


def build(
    wish: Wish,
    profile: Profile,
    signer: Issuer | Key,
    *,
    key: PrivateKey | None,
    public_key: PublicKey,
    like: x509.Certificate | None = None,
) -> Prepared:
    """To be linted next. What signs itself is signed by its own key; `like` is the certificate of a CA that keeps its
    name and key identifier, to the byte. Raises InputError, NotAllowed."""
    issuer = signer if isinstance(signer, Issuer) else None
    signing = signer.key if isinstance(signer, Issuer) else signer
    wish = replace(wish_with_key(wish, public_key), profile=profile.name)
    plan = certificate_plan(wish, profile, issuer, now=clock.now())
    if like is not None:
        plan = replace(plan, subject=like.subject, identifier=subject_identifier(like))
    serial = serial_new()
    builder = certificate_build(plan, public_key, issuer, serial=serial)
    return Prepared(wish, plan, key, serial, builder, certificate_sign(builder, throwaway_key(signing), wish))


def linted(prepared: Prepared, findings: tuple[Finding, ...]) -> Prepared:
    """With what the lint found of its specimen. Raises LintRefused."""
    lint_refuse(findings)
    return replace(prepared, findings=findings)


def register(authority: Authority, prepared: Sequence[Prepared]) -> None:
    """The keys and the rows of the register, before anything is signed. Raises NotAllowed where the authority was
    retired or revoked since it was looked at: many certificates take their time."""
    with transaction.atomic():
        _signing_check(Authority.objects.select_related("certificate__current").defer("crl_der").get(pk=authority.pk))
        new = [one.key for one in prepared if one.key is not None and one.key._state.adding]
        PrivateKey.objects.bulk_create(key for key in new if key.sealed)
        for key in new:
            if not key.sealed:
                _key_known(key)
        IssuedCertificate.objects.bulk_create(
            IssuedCertificate(
                authority=authority,
                serial=serial_hex(one.serial),
                subject=one.plan.subject.rfc4514_string()[:500],
                not_after=one.plan.not_after,
            )
            for one in prepared
        )


def _key_known(row: PrivateKey) -> None:
    """That of a request: somebody else may have brought the same one meanwhile, or this batch holds it twice."""
    fields = {"key_type": row.key_type, "held": row.held}
    stored, _ = PrivateKey.objects.get_or_create(spki_sha256=row.spki_sha256, defaults={"pk": row.pk, **fields})
    row.pk, row._state.adding = stored.pk, False


def sign(prepared: Prepared, key: Key) -> x509.Certificate:
    """By the real key. Raises InputError where the bytes are not those that were linted."""
    certificate = certificate_sign(prepared.builder, key, prepared.wish)
    if prepared.findings is None or certificate.tbs_certificate_bytes != prepared.specimen.tbs_certificate_bytes:
        raise InputError("What was to be signed is not what was checked.", advice="Please report this.", code="lint")
    return certificate
