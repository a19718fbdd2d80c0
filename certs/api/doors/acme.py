"""/api/certificates/_letsencrypt: ordered from Let's Encrypt, or from another directory that speaks ACME."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument
from certs.api.fields import Flag, Strict, Table, Text, Word, body_read, words
from certs.api.jobs import JobDocument, job_answer, order_job
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.errors import ConflictError
from certs.domain.names import name_parse
from certs.models import Order
from certs.services.certificate_changes import certificate_update
from certs.services.issue_options import CA_KEY_TYPES, name_rules
from certs.services.issuing import CaChoice, account_for, certificate_order, directory_usual


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


class OrderLetsEncrypt(Endpoint):
    @operation(
        "certificate_lets_encrypt",
        "Order from Let's Encrypt, or another ACME directory",
        body=LetsEncrypt,
        answers={202: JobDocument, 200: CertificateDocument},
        description="202 points at the order; 200 is a good certificate that is there already. It renews by itself.",
    )
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
