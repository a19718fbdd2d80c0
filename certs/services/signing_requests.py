"""Key pairs made here, and requests (CSR) for a CA outside: made, shown, answered, made anew for a renewal."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from certs.domain.bundle_items import GivenFile
from certs.domain.csr import Subject, csr_make, subject_name, subject_of
from certs.domain.errors import CertificateRefused, ConflictError, InputError
from certs.domain.hosts import hosts_parse
from certs.domain.roles import Right
from certs.models import Certificate, PrivateKey
from certs.models.statements import row_update
from certs.services.access import Actor, needs
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_keypair_add
from certs.services.events import audit_record
from certs.services.intake import Proposal, Verdict, intake_read, version_take
from certs.services.keys import key_create, key_is_here, key_open, key_refuse_compromised

DEFAULT_KEY = "ec-p256"


@needs(Right.CERTIFICATE_ADD, of="properties")
def keypair_create(*, actor: Actor, key_type: str = DEFAULT_KEY, properties: Properties | None = None) -> Certificate:
    """A new key without a certificate. Raises KeyRefused for an unknown type, InputError for the properties."""
    row = key_create(key_type)
    made, _ = certificate_keypair_add(row, actor=actor, properties=properties, source=Certificate.Source.KEY_PAIR)
    return made


@needs(Right.CERTIFICATE_ADD, of="properties")
def request_create(
    *,
    hosts: Sequence[str],
    actor: Actor,
    subject: Subject | None = None,
    key_type: str = DEFAULT_KEY,
    properties: Properties | None = None,
) -> Certificate:
    """A new key and a request for it; the certificate waits for the answer. `request_pem` is what the CA wants.

    `hosts` are DNS names, addresses, e-mail addresses and URIs. Raises NameRefused, KeyRefused, InputError.
    """
    names = [str(host) for host in hosts_parse(hosts)]
    subject = subject or Subject()
    if not names and subject.is_empty:
        raise InputError("A request needs a name or a subject.", advice="Type what the certificate is for.")
    subject_name(subject)  # refused before a key is made for it
    row = key_create(key_type)
    made, _ = certificate_keypair_add(
        row,
        actor=actor,
        properties=properties or Properties(name=names[0] if names else subject.common_name),
        request_pem=csr_make(key_open(row), names, subject),
        names=names,
    )
    return made


@needs(Right.CERTIFICATE_CHANGE)
def request_renew(certificate: Certificate, *, actor: Actor, key_type: str = "") -> Certificate:
    """A request for the next version of an uploaded certificate: the same names and subject, and the same key or, with
    `key_type`, a new one. What is in use stays until the answer comes. Raises ConflictError, KeyRefused."""
    version = certificate.current
    if certificate.source == Certificate.Source.ACME or version is None:
        raise ConflictError(f"{certificate.name} has no certificate of an outside CA.", advice="Make a new request.")
    if certificate.request_pem:
        raise ConflictError(
            f"{certificate.name} has a request already.", advice="Upload its answer, or withdraw it first."
        )
    row = key_create(key_type) if key_type else _own_key(version.key)
    names = [*version.names, *version.other_names]
    request = csr_make(key_open(row), names, subject_of(version.leaf.subject))
    with transaction.atomic():
        if not row_update(Certificate, {"pk": certificate.pk, "request_pem": ""}, {"key": row, "request_pem": request}):
            raise ConflictError(f"{certificate.name} was just given a request.", advice="Look again.")
        audit_record(actor, "certificate.request", certificate, after={"key_type": row.key_type, "names": names})
    certificate.refresh_from_db()
    return certificate


@needs(Right.CERTIFICATE_CHANGE)
def request_for_key(
    certificate: Certificate, *, hosts: Sequence[str], actor: Actor, subject: Subject | None = None
) -> Certificate:
    """A request for a key pair that is here: its certificate comes with the answer. Raises ConflictError, NameRefused,
    InputError."""
    names = [str(host) for host in hosts_parse(hosts)]
    subject = subject or Subject()
    if not names and subject.is_empty:
        raise InputError("A request needs a name or a subject.", advice="Type what the certificate is for.")
    if certificate.current_id is not None or certificate.request_pem:
        raise ConflictError(f"{certificate.name} is no key pair without a certificate.", advice="Look at its page.")
    request = csr_make(key_open(_own_key(certificate.key)), names, subject)
    with transaction.atomic():
        wanted = {"pk": certificate.pk, "request_pem": "", "current": None}
        if not row_update(Certificate, wanted, {"request_pem": request, "names": names}):
            raise ConflictError(f"{certificate.name} was just given a request.", advice="Look again.")
        audit_record(actor, "certificate.request", certificate, after={"names": names})
    certificate.refresh_from_db()
    return certificate


@needs(Right.CERTIFICATE_CHANGE)
def request_withdraw(certificate: Certificate, *, actor: Actor) -> None:
    """What is in use stays, and so does a key pair. Raises ConflictError where there is nothing but the request."""
    is_key_pair = certificate.source == Certificate.Source.KEY_PAIR and certificate.current_id is None
    if not certificate.request_pem or (certificate.current_id is None and not is_key_pair):
        raise ConflictError(f"{certificate.name} is nothing but its request.", advice="Delete it instead.")
    kept: dict[str, Any] = {"names": []} if is_key_pair else {"key": None}
    with transaction.atomic():
        row_update(Certificate, {"pk": certificate.pk}, {"request_pem": "", **kept})
        audit_record(actor, "certificate.request-withdraw", certificate)
    certificate.refresh_from_db()


@needs(Right.CERTIFICATE_CHANGE)
def request_answer(
    certificate: Certificate,
    files: Sequence[GivenFile],
    passwords: Sequence[str] = (),
    *,
    actor: Actor,
    accept_differences: bool = False,
) -> Certificate:
    """Take what the CA made of the request. It must be for just this key; names that differ from those asked for are
    a ConflictError (code "names") that tells them, unless they are accepted. Raises CertificateRefused."""
    found = answer_find(certificate, files, passwords, actor=actor)
    if found.differences and not accept_differences:
        raise ConflictError(
            " ".join(found.differences), advice="Accept it as it is, or ask the CA again.", code="names"
        )
    assert found.item.chain is not None  # noqa: S101 - an answer is a certificate
    return version_take(certificate, found.item.chain, certificate.key, actor=actor)


@needs(Right.CERTIFICATE_CHANGE)
def answer_find(
    certificate: Certificate, files: Sequence[GivenFile], passwords: Sequence[str] = (), *, actor: Actor
) -> Proposal:
    """The one of what is given that answers the request; nothing is stored. Raises CertificateRefused."""
    if certificate.key is None:
        raise ConflictError(f"{certificate.name} waits for no certificate.", advice="Add it as a new one.")
    preview = intake_read(files, passwords, actor=actor)
    for proposal in preview.proposals:
        if proposal.item.chain is None or proposal.item.spki_sha256 != certificate.key.spki_sha256:
            continue
        if proposal.verdict == Verdict.REFUSED:
            raise CertificateRefused(proposal.reason)
        return proposal
    raise CertificateRefused(
        "None of this is a certificate for the key of the request.",
        advice="Was it made of an earlier request? Each request has its own key.",
        code="pair",
    )


def _own_key(row: PrivateKey | None) -> PrivateKey:
    if row is None or not key_is_here(row) or row.locked:
        raise ConflictError("The key of this certificate is not here.", advice="Choose a new key.")
    key_refuse_compromised(row)
    return row
