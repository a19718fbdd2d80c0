"""The other doors in: from Let's Encrypt, from a CA of our own, from files, and what begins with a key of ours."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument, by_id, certificate_document, id_of, own_id
from certs.api.fields import Flag, Strict, Table, Text, Whole, Word, body_read, words
from certs.api.idempotency import idempotent
from certs.api.jobs import JobDocument, job_answer, order_job
from certs.api.parsing import FILE_LIMIT, Files, StrictJson
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.authority import DIGESTS, Wish
from certs.domain.bundle import GivenFile
from certs.domain.csr import Subject, csr_read
from certs.domain.errors import ConflictError
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.names import name_parse
from certs.domain.profiles import CLIENT, USAGES
from certs.models import Authority, Certificate, Order
from certs.services.access import Actor
from certs.services.authorities import authority_issue
from certs.services.certificates import Properties, api_id_refuse_taken, certificate_update
from certs.services.intake import Outcome, Preview, Proposal, intake_read, intake_save
from certs.services.issue_options import CA_KEY_TYPES, name_rules
from certs.services.issuing import CaChoice, account_for, certificate_order, directory_usual
from certs.services.posting import properties_read
from certs.services.self_issued import certificate_self_issue
from certs.services.signing_requests import keypair_create, request_answer, request_create

FILES_MOST = 20
KEY_TYPES = list(OWN_KEY_TYPES)


class Owned(Strict):
    """What its owner says of a new certificate."""

    id = Text(required=False, allow_null=True, max_length=200)
    name = Text(required=False, allow_null=True, max_length=255)
    description = Text(required=False, allow_null=True, max_length=10_000)
    exposed = Flag(required=False)
    tags = words(required=False, max_length=50)
    metadata = Table(required=False)


class LetsEncrypt(Strict):
    host = Text(required=False, max_length=255, allow_blank=False, help_text="One name, as the reference calls it.")
    hosts = words(required=False, max_length=100, help_text="Or several.")
    account = serializers.UUIDField(required=False, help_text="An account of ours; else one at the directory.")
    directory = Text(required=False, max_length=500, help_text="The usual one where none is named.")
    email = Text(required=False, max_length=254)
    acceptTerms = Flag(required=False)
    keyType = Word(required=False, choices=list(CA_KEY_TYPES))
    profile = Text(required=False, max_length=100)
    reuseKey = Flag(required=False)
    method = serializers.UUIDField(required=False, help_text="A challenge method; else chosen by itself.")
    bind = Flag(  # type: ignore[assignment]  # the library takes it off the class
        required=False, help_text="Let the portal answer with it once it is there."
    )
    force = Flag(required=False, help_text="Although a good one is there.")
    useLast = Flag(required=False, help_text="The order may spend the last that a limit of the CA leaves.")
    name = Text(required=False, max_length=255)
    description = Text(required=False, max_length=10_000)
    tags = words(required=False, max_length=50)
    metadata = Table(required=False)


class FromAuthority(Owned):
    issuer = Text(max_length=200, allow_blank=False, help_text="The id of the CA's certificate, as in `caRef`.")
    profile = Text(required=False, max_length=60)
    ca = Flag(required=False)
    client = Flag(required=False)
    pathLength = Whole(required=False, allow_null=True, min_value=0, max_value=20)
    includeAia = Flag(required=False)
    keyType = Word(required=False, choices=[*KEY_TYPES, "RSA", "EC", "Ed25519"])
    keySize = Whole(required=False, min_value=256, max_value=16384, help_text="With RSA or EC.")
    signatureAlgorithm = Word(required=False, choices=["", "RSASSA-PSS"], help_text="Else as the issuer's key wants.")
    digestAlgorithm = Word(required=False, choices=["", *DIGESTS])
    days = Whole(required=False, min_value=1, max_value=36525, help_text="Validity.")
    subject = Text(required=False, max_length=1000, help_text="RFC 4514, such as CN=a.example,O=Example.")
    hosts = words(required=False, max_length=10_000, help_text="DNS names, addresses, mailboxes and URIs.")
    usages = serializers.ListField(child=Word(choices=list(USAGES)), required=False, max_length=10)
    permitted = words(required=False, max_length=100)
    excluded = words(required=False, max_length=100)
    csr = Text(required=False, max_length=64 * 1024, help_text="PEM of a request; its key is signed, its subject not.")
    autoRenew = Flag(required=False)
    passphrase = Text(required=False, max_length=1024, help_text="Of an offline CA. Used once, never kept.")


class SelfSigned(Strict):
    hosts = words(allow_empty=False, max_length=100)
    name = Text(required=False, max_length=255)
    days = Whole(required=False, min_value=1, max_value=825)
    keyType = Word(required=False, choices=KEY_TYPES)


class KeyPair(Owned):
    keyType = Word(required=False, choices=KEY_TYPES)


class SubjectFields(Strict):
    common_name = Text(required=False, max_length=64)
    organization = Text(required=False, max_length=64)
    organizational_unit = Text(required=False, max_length=64)
    locality = Text(required=False, max_length=128)
    state = Text(required=False, max_length=128)
    country = Text(required=False, max_length=2)


class SigningRequest(Owned):
    hosts = words(required=False, max_length=1000)
    subject = SubjectFields(required=False)
    keyType = Word(required=False, choices=KEY_TYPES)


class RequestDocument(serializers.Serializer[Any]):
    csr = serializers.CharField(help_text="PKCS#10 in PEM, for the CA.")
    certificate = CertificateDocument()


class Answer(Strict):
    chain = Text(max_length=1024 * 1024, help_text="What the CA made of it: PEM.")
    acceptDifferences = Flag(required=False, help_text="Although its names are not those that were asked for.")


class FileGiven(Strict):
    name = Text(required=False, max_length=255)
    data = Text(  # type: ignore[assignment]  # the library takes it off the class
        max_length=FILE_LIMIT, help_text="The file in base64."
    )


class FilesGiven(Strict):
    files = serializers.ListField(child=FileGiven(), min_length=1, max_length=FILES_MOST)
    passwords = serializers.ListField(child=Text(max_length=1024), required=False, max_length=20)
    dryRun = Flag(required=False, help_text="Say what is in the files, and keep nothing.")


@extend_schema_serializer(component_name="FilesForm")
class FilesForm(serializers.Serializer[Any]):
    file = serializers.ListField(child=serializers.FileField())
    password = serializers.ListField(child=serializers.CharField(), required=False)
    dryRun = serializers.BooleanField(required=False)


class Taken(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    kind = serializers.CharField()
    verdict = serializers.ChoiceField(choices=["new", "same", "key", "version", "answer", "refused"])
    title = serializers.CharField()
    file = serializers.CharField()
    names = serializers.ListField(child=serializers.CharField())
    hasPrivateKey = serializers.BooleanField()
    missingIssuer = serializers.CharField(help_text="Of the chain; empty where it is whole.")
    remarks = serializers.ListField(child=serializers.CharField())
    certificate = serializers.CharField(allow_null=True, help_text="The id of what it became, or belongs to.")
    code = serializers.CharField(help_text="“ok”, or of what stood against it.")
    message = serializers.CharField()


class Intake(serializers.Serializer[Any]):
    items = Taken(many=True)
    leftOver = serializers.ListField(child=serializers.CharField(), help_text="What was in the files besides.")


class OrderLetsEncrypt(Endpoint):
    @operation(
        "certificate_lets_encrypt",
        "Order from Let's Encrypt, or another ACME directory",
        body=LetsEncrypt,
        answers={202: JobDocument, 200: CertificateDocument},
        description="202 points at the order; 200 is a good certificate that is there already. It renews by itself.",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, LetsEncrypt)
        hosts = [*([given["host"]] if "host" in given else []), *given.get("hosts", [])]
        if not hosts:
            raise refuse(400, "fields", "Say for which host.", pointer="/host")
        method = None
        if "method" in given:
            method = selectors.methods_visible_to(self.actor).get(pk=given["method"])
        rules = name_rules(method.kind if method else "", given.get("profile", ""))
        names = list(dict.fromkeys(name_parse(host, rules) for host in hosts))
        wanted = {"key_type": given.get("keyType"), "profile": given.get("profile"), "reuse_key": given.get("reuseKey")}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if method is not None:
            wanted["challenge_method"] = method
        line = certificate_order(
            names,
            self._account(given),
            actor=self.actor,
            wanted=wanted,
            bind=given.get("bind", False),
            force=given.get("force", False),
            use_last=given.get("useLast", False),
        )
        row = certificate_visible(self.actor, str(line.certificate))
        said = {name: given[name] for name in ("name", "description", "tags", "metadata") if name in given}
        if said:
            certificate_update(row, actor=self.actor, **said)
        if line.order is None:
            if line.failed or row.current is None:
                raise ConflictError(line.text, code=line.code)
            return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)
        return job_answer(order_job(Order.objects.select_related("certificate").get(pk=line.order)))

    def _account(self, given: Mapping[str, Any]) -> Any:
        if "account" in given:
            return selectors.accounts_visible_to(self.actor).get(pk=given["account"])
        choice = CaChoice(
            directory_url=given.get("directory") or directory_usual(),
            email=given.get("email", ""),
            terms_accepted=given.get("acceptTerms", False),
        )
        return account_for(choice, actor=self.actor)


class CreateFromAuthority(Endpoint):
    @operation(
        "certificate_issue",
        "Create a certificate from a CA of our own",
        body=FromAuthority,
        answers={201: CertificateDocument},
        description="What is left out is as the profile says. It is linted before it is signed.",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, FromAuthority)
        api_id_refuse_taken(given.get("id") or "")
        row = authority_issue(
            authority_named(self.actor, given["issuer"]),
            wish_read(given),
            actor=self.actor,
            passphrase=given.get("passphrase", ""),
            csr=csr_read(given["csr"].encode()) if given.get("csr") else None,
            properties=properties_read(given, actor=self.actor),
            auto_renew=given.get("autoRenew", True),
        )
        return _created(self.actor, row)


class CreateSelfSigned(Endpoint):
    @operation(
        "certificate_self_sign",
        "Create a certificate that signs itself",
        body=SelfSigned,
        answers={201: CertificateDocument},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, SelfSigned)
        row = certificate_self_issue(
            Wish(
                profile="server",
                hosts=tuple(given["hosts"]),
                days=given.get("days", 365),
                key_type=given.get("keyType", "ec-p256"),
            ),
            properties=Properties(name=given.get("name", "")),
            actor=self.actor,
        )
        return _created(self.actor, row)


class CreateKeyPair(Endpoint):
    @operation("certificate_keypair", "Make a key pair", body=KeyPair, answers={201: CertificateDocument})
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, KeyPair)
        properties = properties_read(given, actor=self.actor)
        row = keypair_create(actor=self.actor, key_type=given.get("keyType", "ec-p256"), properties=properties)
        return _created(self.actor, row)


class CreateRequest(Endpoint):
    @operation(
        "certificate_request",
        "Make a request (CSR) for a CA outside",
        body=SigningRequest,
        answers={201: RequestDocument},
        description="The certificate waits for the answer, which goes to /api/certificates/{id}/_answer.",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, SigningRequest)
        hosts, subject = given.get("hosts", []), Subject(**given.get("subject", {}))
        name = given.get("name") or next(iter(hosts), "") or subject.common_name
        row = request_create(
            hosts=hosts,
            actor=self.actor,
            subject=subject,
            key_type=given.get("keyType", "ec-p256"),
            properties=properties_read({**given, "name": name}, actor=self.actor),
        )
        made = certificate_visible(self.actor, str(row.pk))
        body = {"csr": made.request_pem, "certificate": certificate_document(made)}
        return Response(body, status=201, headers={"Location": f"/api/certificates/{id_of(made)}"})


class RequestItem(Endpoint):
    @operation("certificate_request_get", "The request that waits for its answer", answers={200: RequestDocument})
    def get(self, request: Request, id: str) -> Response:
        row = certificate_visible(self.actor, id)
        if not row.request_pem:
            raise refuse(404, "not-found", f"{row.name} has no request.")
        return Response({"csr": row.request_pem, "certificate": certificate_document(row)})


class RequestAnswer(Endpoint):
    @operation(
        "certificate_request_answer", "Take the answer of the CA", body=Answer, answers={200: CertificateDocument}
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data, Answer)
        row = certificate_visible(self.actor, id)
        files = [GivenFile("", given["chain"].encode())]
        accept = given.get("acceptDifferences", False)
        request_answer(row, files, actor=self.actor, accept_differences=accept)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


class Import(Endpoint):
    def get_parsers(self) -> list[BaseParser]:
        return [StrictJson(), Files()]

    @operation(
        "certificate_import",
        "Import files: PKCS#12, JKS, PEM, DER, PKCS#7",
        body={"application/json": FilesGiven, "multipart/form-data": FilesForm},
        answers={200: Intake},
        description="Everything that is recognised is kept, or with `dryRun` only told. Each item wholly or not at "
        "all: `code` and `message` say what stood against one.",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        files, passwords, dry_run = _files_read(request)
        preview = intake_read(files, passwords, actor=self.actor)
        if dry_run or not any(proposal.wanted for proposal in preview.proposals):
            items = [_proposed(proposal) for proposal in preview.proposals]
        else:
            saved = {each.proposal.number: each for each in intake_save(preview, actor=self.actor)}
            items = [_kept(saved[one.number]) if one.number in saved else _proposed(one) for one in preview.proposals]
        return Response({"items": items, "leftOver": _left_over(preview)})


def authority_named(actor: Actor, id: str) -> Authority:
    """By the id of its certificate, or its own. Raises DoesNotExist."""
    rows = selectors.authorities_visible_to(actor)
    of_certificate = Certificate.objects.filter(by_id(id), deleted_at=None).values("pk")
    return rows.get(Q(certificate__in=of_certificate) | own_id(id))


def wish_read(given: Mapping[str, Any]) -> Wish:
    """What is to be signed, in the names of the reference."""
    usages = tuple(given.get("usages", ()))
    if given.get("client") and not usages and not given.get("profile"):
        usages = (CLIENT,)
    return Wish(
        profile=given.get("profile") or ("client" if given.get("client") and not given.get("hosts") else ""),
        subject=given.get("subject", ""),
        hosts=tuple(given.get("hosts", ())),
        days=given.get("days", 0),
        key_type=_key_type(given),
        digest=given.get("digestAlgorithm", ""),
        pss=given.get("signatureAlgorithm", "") == "RSASSA-PSS",
        usages=usages,
        is_ca=given.get("ca", False),
        path_length=given.get("pathLength"),
        include_aia=given.get("includeAia"),
        permitted=tuple(given.get("permitted", ())),
        excluded=tuple(given.get("excluded", ())),
    )


def _key_type(given: Mapping[str, Any]) -> str:
    kind, size = given.get("keyType", "ec-p256"), given.get("keySize")
    if kind == "RSA":
        return f"rsa-{size or 2048}"
    return f"ec-p{size or 256}" if kind == "EC" else str(kind).lower()


def _created(actor: Actor, row: Certificate) -> Response:
    return certificate_answer(certificate_visible(actor, str(row.pk)), 201)


def _files_read(request: Request) -> tuple[list[GivenFile], list[str], bool]:
    if not request.content_type.startswith("multipart/"):
        given = body_read(request.data, FilesGiven)
        files = [GivenFile(one.get("name", ""), _base64(one["data"], n)) for n, one in enumerate(given["files"])]
        return files, given.get("passwords", []), given.get("dryRun", False)
    sent, form = request._request.FILES, request._request.POST
    if unknown := sorted(set(form) - {"password", "dryRun"}):
        raise refuse(400, "fields", f"The form has a field “{unknown[0][:60]}” that is not known.")
    files = [GivenFile(each.name or "", each.read()) for name in sent for each in sent.getlist(name)]
    if not 1 <= len(files) <= FILES_MOST:
        raise refuse(400, "fields", f"Send 1 to {FILES_MOST} files.", pointer="/file")
    return files, form.getlist("password"), form.get("dryRun", "").lower() in {"1", "true", "on"}


def _base64(text: str, number: int) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise refuse(400, "fields", "This is no base64.", pointer=f"/files/{number}/data") from error


def _proposed(proposal: Proposal) -> dict[str, Any]:
    item = proposal.item
    return {
        "number": proposal.number,
        "kind": item.kind,
        "verdict": proposal.verdict,
        "title": item.title,
        "file": item.file,
        "names": list(item.info.names) if item.info else [],
        "hasPrivateKey": item.key is not None,
        "missingIssuer": item.missing,
        "remarks": [remark.text for remark in item.remarks] + list(proposal.differences),
        "certificate": id_of(proposal.certificate) if proposal.certificate else None,
        "code": "refused" if proposal.reason else "ok",
        "message": proposal.reason,
    }


def _kept(outcome: Outcome) -> dict[str, Any]:
    told = _proposed(outcome.proposal) | {"verdict": outcome.verdict}
    if outcome.certificate is not None:
        told["certificate"] = id_of(outcome.certificate)
    if outcome.error is not None:
        told |= {"code": outcome.error.code, "message": str(outcome.error)}
    return told


def _left_over(preview: Preview) -> list[str]:
    return [f"{each.file}: {each.text}" if each.file else each.text for each in preview.left_over]
