"""The one door in for what people have: recognised, told, and only then kept.

`intake_read` says what is in the files and what would become of each item; `intake_save` does it, each item wholly or
not at all. Between the two, pages keep it sealed for fifteen minutes (`intake_keep`, `intake_open`); programs do both
at once.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction

from certs.domain.bundle import bundle_read
from certs.domain.bundle_items import GivenFile, Item, ItemKind, LeftOver, Remark
from certs.domain.bundle_order import Bundle
from certs.domain.certinfo import CertInfo, certificate_info
from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import BinderyError, CertificateRefused, InputError, SecretError
from certs.domain.keys import key_from_der, key_to_der
from certs.domain.pem import Chain
from certs.domain.roles import Right
from certs.models import Binding, Certificate, CertificateName, CertificateVersion, Intake, PrivateKey, User
from certs.selectors import visible
from certs.services.access import Actor, needs
from certs.services.bindings import binding_check
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_keypair_add
from certs.services.events import audit_record
from certs.services.https import hsts_guard
from certs.services.keys import key_import, key_refuse_compromised
from certs.services.missing_issuers import completion, roots_known
from certs.services.receiving import certificate_receive
from certs.services.secrets import secret_open, secret_seal
from certs.services.versions import refuse_expired, version_add
from portal import clock

_CANDIDATES = 50  # certificates of one name that are compared
_KEPT = 10  # previews of one person


class Verdict(StrEnum):
    """What becomes of an item."""

    NEW = "new"
    SAME = "same"  # it is here already
    KEY = "key"  # it is here, and its key was missing until now
    VERSION = "version"  # the next version of an uploaded certificate of the same names
    ANSWER = "answer"  # what an outside CA made of a request of ours, or for a key pair of ours
    REFUSED = "refused"


@dataclass(frozen=True)
class Proposal:
    """`certificate` is the one that it belongs to; None where it becomes one of its own. `differences` are sentences
    about names that the certificate there has and this one has not, or the other way round."""

    number: int
    item: Item
    verdict: Verdict
    certificate: Certificate | None = None
    differences: tuple[str, ...] = ()
    reason: str = ""  # of a refusal

    @property
    def wanted(self) -> bool:
        return self.item.wanted and self.verdict not in {Verdict.SAME, Verdict.REFUSED}


@dataclass(frozen=True)
class Preview:
    proposals: tuple[Proposal, ...]
    left_over: tuple[LeftOver, ...] = ()
    requests: tuple[CsrInfo, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What to save, and how. `own`: as a certificate of its own, even where it would be another's next version."""

    number: int
    own: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True)
class Outcome:
    """`certificate` None: it was not saved, and `error` says why."""

    proposal: Proposal
    certificate: Certificate | None = None
    verdict: Verdict = Verdict.REFUSED
    error: BinderyError | None = None


@needs(Right.CERTIFICATE_ADD)
def intake_read(files: Sequence[GivenFile], passwords: Sequence[str] = (), *, actor: Actor) -> Preview:
    """What is in the files, and what would become of it; nothing is stored. Missing issuers are fetched where that is
    allowed. Raises what `bundle_read` raises."""
    now = clock.now()
    bundle = bundle_read(files, passwords, now=now, roots=roots_known())
    _refuse_nothing(bundle)
    search = completion()
    items = tuple(search.complete(item, now=now) for item in bundle.items)
    return _preview(replace(bundle, items=items), actor)


@needs(Right.CERTIFICATE_ADD)
def intake_keep(preview: Preview, *, actor: User) -> Intake:
    """Sealed, for this person, until it expires; of each person the latest few."""
    uid = uuid4()
    sealed = secret_seal(Intake.PURPOSE, uid, json.dumps(_to_json(preview)).encode())
    intakes_prune()
    earlier = Intake.objects.filter(user=actor).order_by("-created_at").values_list("pk", flat=True)
    Intake.objects.filter(pk__in=list(earlier[_KEPT - 1 :])).delete()
    return Intake.objects.create(id=uid, user=actor, sealed=sealed)


@needs(Right.CERTIFICATE_ADD)
def intake_open(pk: UUID, *, actor: User) -> Preview:
    """What was kept, judged by what is here now. Raises InputError (code "gone") where it is not there any more, or
    another person's."""
    return _preview(_opened(_kept(pk, actor)), actor)


@needs(Right.CERTIFICATE_ADD)
def intake_claim(pk: UUID, *, actor: User) -> Preview:
    """The same, and it is gone: of two who want to save it at once, one does. Raises as `intake_open`."""
    row = _kept(pk, actor)
    bundle = _opened(row)
    if not Intake.objects.filter(pk=row.pk).delete()[0]:
        raise _gone()
    return _preview(bundle, actor)


@needs(Right.CERTIFICATE_ADD)
def intake_forget(pk: UUID, *, actor: User) -> None:
    Intake.objects.filter(pk=pk, user=actor).delete()


def _kept(pk: UUID, actor: User) -> Intake:
    row = Intake.objects.filter(pk=pk, user=actor, created_at__gt=clock.now() - Intake.LIFE).first()
    if row is None:
        raise _gone()
    return row


def _opened(row: Intake) -> Bundle:
    try:
        return _from_json(json.loads(secret_open(Intake.PURPOSE, row.id, row.sealed)))
    except SecretError as error:  # the key ring was changed meanwhile
        raise _gone() from error


def intakes_prune() -> int:
    """Those that have expired; returns how many went."""
    return Intake.objects.filter(created_at__lt=clock.now() - Intake.LIFE).delete()[0]


@needs(Right.CERTIFICATE_ADD)
def intake_save(preview: Preview, choices: Sequence[Choice] | None = None, *, actor: Actor) -> list[Outcome]:
    """Save what was chosen; None is all that is wanted. Each item wholly or not at all: one that is refused does not
    keep the others out. The audit trail has an event for each."""
    proposals = {proposal.number: proposal for proposal in preview.proposals}
    if choices is None:
        choices = [Choice(proposal.number) for proposal in preview.proposals if proposal.wanted]
    if not choices:
        raise InputError("Nothing was chosen.", advice="Choose at least one.")
    outcomes = []
    for choice in choices:
        proposal = proposals.get(choice.number)
        if proposal is None:
            raise InputError("This is not among what was given.", advice="Give the files again.")
        outcomes.append(_saved(proposal, choice, actor))
    return outcomes


def _saved(proposal: Proposal, choice: Choice, actor: Actor) -> Outcome:
    try:
        if proposal.verdict == Verdict.REFUSED:
            raise CertificateRefused(proposal.reason)
        return _save(proposal, choice, actor)
    except BinderyError as error:
        return Outcome(proposal, error=error)


def _save(proposal: Proposal, choice: Choice, actor: Actor) -> Outcome:
    item, into = proposal.item, proposal.certificate
    properties = choice.properties if choice.properties.name else replace(choice.properties, name=item.title)
    if item.chain is not None:
        refuse_expired(certificate_info(item.chain.leaf))
    row = key_import(item.key) if item.key is not None else None
    if item.chain is None:
        assert row is not None  # noqa: S101 - an item is a certificate, a key, or both
        certificate, is_new = certificate_keypair_add(row, actor=actor, properties=properties)
        return Outcome(proposal, certificate, Verdict.NEW if is_new else Verdict.SAME)
    if into is not None and proposal.verdict in {Verdict.VERSION, Verdict.ANSWER} and not choice.own:
        return Outcome(proposal, version_take(into, item.chain, row or into.key, actor=actor), proposal.verdict)
    if into is not None and proposal.verdict in {Verdict.SAME, Verdict.KEY}:
        # Wherever it is, it is the same one.
        properties = replace(properties, organization=into.organization, department=into.department)
    certificate, is_new = certificate_receive(item.chain, row, actor=actor, properties=properties)
    return Outcome(proposal, certificate, Verdict.NEW if is_new else proposal.verdict)


@needs(Right.CERTIFICATE_CHANGE)
def version_take(certificate: Certificate, chain: Chain, key: PrivateKey | None, *, actor: Actor) -> Certificate:
    """Its next version, from outside. Where it is bound, the new version must serve there, else nothing changes.

    Raises CertificateRefused, and what `binding_check` and `hsts_guard` raise.
    """
    if certificate.source == Certificate.Source.ACME:
        raise InputError(
            f"{certificate.name} is renewed by a CA; an upload would be replaced by the next renewal.",
            advice="Save it as a certificate of its own.",
        )
    key_refuse_compromised(key)
    waited = bool(certificate.request_pem)
    with transaction.atomic():
        version = version_add(certificate, leaf=chain.leaf, chain=chain.intermediates, key=key)
        certificate.refresh_from_db()
        bound = list(Binding.objects.filter(certificate=certificate).values_list("server_name", flat=True))
        for name in bound:
            binding_check(name, certificate)
        if bound:
            hsts_guard(dict.fromkeys(bound, certificate))
        action = "certificate.answer" if waited else "certificate.import"
        audit_record(actor, action, certificate, after={"fingerprint": version.fingerprint_sha256})
    return certificate


# What becomes of it


def _refuse_nothing(bundle: Bundle) -> None:
    """Raises InputError where there is nothing that could be kept."""
    if bundle.items:
        return
    if bundle.requests:
        raise InputError(
            "This is a signing request, not yet a certificate.",
            advice="Give the certificate that the CA made of it, or issue one from an authority of your own.",
            code="nothing",
        )
    why = " ".join(dict.fromkeys(each.text for each in bundle.left_over))
    raise InputError(f"There is nothing to keep. {why}".strip(), advice="Give a certificate or a key.", code="nothing")


def _preview(bundle: Bundle, actor: Actor) -> Preview:
    proposals = tuple(_proposal(number, item, actor) for number, item in enumerate(bundle.items))
    return Preview(proposals, bundle.left_over, bundle.requests)


def _proposal(number: int, item: Item, actor: Actor) -> Proposal:
    if item.refused:
        return Proposal(number, item, Verdict.REFUSED, reason=item.refused)
    if item.chain is None:
        here = _keypair_here(item, actor)
        return Proposal(number, item, Verdict.SAME if here else Verdict.NEW, here)
    return _certificate_proposal(number, item, item.chain.leaf, actor)


def _certificate_proposal(number: int, item: Item, leaf: x509.Certificate, actor: Actor) -> Proposal:
    info = certificate_info(leaf)
    if known := _known(info.fingerprint_sha256, actor):
        verdict = Verdict.KEY if known.key_id is None and item.key is not None else Verdict.SAME
        return Proposal(number, item, verdict, known.certificate)
    try:
        refuse_expired(info)
    except BinderyError as error:
        return Proposal(number, item, Verdict.REFUSED, reason=str(error))
    if waiting := _waiting(item, actor):
        return Proposal(number, item, Verdict.ANSWER, waiting, names_compared(waiting, leaf))
    if earlier := _earlier(item, info, actor):
        return Proposal(number, item, Verdict.VERSION, earlier)
    return Proposal(number, item, Verdict.NEW)


def _known(fingerprint: str, actor: Actor) -> CertificateVersion | None:
    found = CertificateVersion.objects.select_related("certificate").filter(
        visible(actor, "certificate__"), fingerprint_sha256=fingerprint, certificate__deleted_at=None
    )
    return found.first()


def _keypair_here(item: Item, actor: Actor) -> Certificate | None:
    return (
        Certificate.objects.filter(
            visible(actor), key__spki_sha256=item.spki_sha256, current=None, request_pem="", deleted_at=None
        )
    ).first()


def _waiting(item: Item, actor: Actor) -> Certificate | None:
    """One of ours that waits for a certificate for just this key: a request first, else a key pair."""
    found = Certificate.objects.filter(
        visible(actor, right=Right.CERTIFICATE_CHANGE), key__spki_sha256=item.spki_sha256, deleted_at=None
    )
    return found.select_related("key").order_by("-request_pem").first()


def _earlier(item: Item, info: CertInfo, actor: Actor) -> Certificate | None:
    """An uploaded certificate of the same names, with a key where this one has one. Of several the latest."""
    if not info.names or info.is_ca:
        return None
    named = CertificateName.objects.filter(kind=CertificateName.Kind.SAN, name=info.names[0])
    found = Certificate.objects.filter(
        visible(actor, right=Right.CERTIFICATE_CHANGE),
        pk__in=named.values("certificate"),
        source=Certificate.Source.UPLOADED,
        deleted_at=None,
        current__key__isnull=item.key is None,
        current__not_after__lt=info.not_after,
    )
    fitting = (row for row in found.select_related("current").order_by("-expires_at")[:_CANDIDATES])
    return next((row for row in fitting if row.current and set(row.current.names) == set(info.names)), None)


def names_compared(certificate: Certificate, leaf: x509.Certificate) -> tuple[str, ...]:
    """How the names of an answer differ from those that were asked for, one sentence each."""
    asked = _asked(certificate)
    info = certificate_info(leaf)
    given = {*info.names, *info.other_names}
    found = []
    if missing := sorted(asked - given):
        found.append(f"Asked for, but not in the certificate: {_listed(missing)}.")
    if more := sorted(given - asked):
        found.append(f"In the certificate, but not asked for: {_listed(more)}.")
    return tuple(found) if asked else ()


def _asked(certificate: Certificate) -> set[str]:
    if not certificate.request_pem:
        return set()
    request = csr_read(certificate.request_pem.encode())
    return {*request.names, *request.other_names}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _gone() -> InputError:
    return InputError(
        "What you gave is not kept any more.",
        advice=f"It is kept for {int(Intake.LIFE.total_seconds() // 60)} minutes; give the files again.",
        code="gone",
    )


# The sealed form


def _to_json(preview: Preview) -> dict[str, Any]:
    return {
        "items": [_item_to_json(proposal.item) for proposal in preview.proposals],
        "left_over": [[each.file, each.text] for each in preview.left_over],
        "requests": [each.pem for each in preview.requests],
    }


def _item_to_json(item: Item) -> dict[str, Any]:
    chain = item.chain
    return {
        "kind": item.kind.value,
        "leaf": _encoded(chain.leaf) if chain else "",
        "intermediates": [_encoded(each) for each in chain.intermediates] if chain else [],
        "root": _encoded(chain.root) if chain and chain.root else "",
        "key": b64encode(key_to_der(item.key)).decode() if item.key else "",
        "alias": item.alias,
        "file": item.file,
        "remarks": [[each.code, each.text] for each in item.remarks],
        "refused": item.refused,
        "missing": item.missing,
        "wanted": item.wanted,
    }


def _from_json(document: Mapping[str, Any]) -> Bundle:
    return Bundle(
        tuple(_item_from_json(each) for each in document["items"]),
        tuple(csr_read(pem.encode()) for pem in document["requests"]),
        tuple(LeftOver(file, text) for file, text in document["left_over"]),
    )


def _item_from_json(each: Mapping[str, Any]) -> Item:
    chain = None
    if each["leaf"]:
        intermediates = tuple(_decoded(one) for one in each["intermediates"])
        chain = Chain(_decoded(each["leaf"]), intermediates, _decoded(each["root"]) if each["root"] else None)
    return Item(
        kind=ItemKind(each["kind"]),
        chain=chain,
        key=key_from_der(b64decode(each["key"])) if each["key"] else None,
        alias=each["alias"],
        file=each["file"],
        remarks=tuple(Remark(code, text) for code, text in each["remarks"]),
        refused=each["refused"],
        missing=each["missing"],
        wanted=each["wanted"],
    )


def _encoded(certificate: x509.Certificate) -> str:
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()


def _decoded(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(b64decode(text))
