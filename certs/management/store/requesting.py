"""Key pairs, and requests for CAs outside; `certs import` takes their answers."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.api.documents import certificate_document
from certs.domain.csr import Subject
from certs.domain.errors import InputError
from certs.domain.keys import KEY_TYPES
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.management.store.exporting import file_write
from certs.management.store.finding import WORD
from certs.models import Certificate
from certs.selectors import certificate_find
from certs.services.certificate_properties import Properties
from certs.services.signing_requests import (
    DEFAULT_KEY,
    keypair_create,
    request_create,
    request_for_key,
    request_renew,
)

_FIELDS = {
    "common_name": "of the subject",
    "organization": "of the subject",
    "organizational_unit": "of the subject",
    "locality": "of the subject: city",
    "state": "of the subject: state or province",
    "country": "of the subject: two letters, like DE",
}


class KeyPairVerb(BinderyCommand):
    help = "Make a key pair without a certificate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--key-type", choices=list(KEY_TYPES), default=DEFAULT_KEY, help=f"({DEFAULT_KEY})")
        _describe(parser)
        json_argument(parser, "print one JSON document instead of a sentence")

    def run(self, *args: Any, **options: Any) -> None:
        made = keypair_create(key_type=options["key_type"], properties=_properties(options), actor=ACTOR)
        if options["json"]:
            self.print_json(certificate_document(made))
            return
        self.stdout.write(f"{made.name} was made; its key is stored encrypted. Its id is {made.pk}.")


class RequestVerb(BinderyCommand):
    help = (
        "Make a request (CSR) for a CA outside: with a new key, or for a certificate or key pair that is here. "
        "`certs import` takes the answer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("hosts", nargs="*", metavar="HOST", help="DNS names, addresses, e-mail addresses, URIs")
        parser.add_argument("--of", default="", metavar="NAME", help=f"for the next version of it, or its key: {WORD}")
        parser.add_argument(
            "--key-type",
            choices=list(KEY_TYPES),
            help=f"kind of the new key ({DEFAULT_KEY}); with --of the same key is kept where this is left out",
        )
        for field, about in _FIELDS.items():
            parser.add_argument(f"--{field.replace('_', '-')}", default="", metavar="TEXT", help=about)
        parser.add_argument("-o", "--output", metavar="FILE", default="-", help="- is standard output, the default")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")
        _describe(parser)

    def run(self, *args: Any, **options: Any) -> None:
        file = Path(options["output"])
        if options["output"] != "-" and file.exists() and not options["force"]:  # said before a key is made
            raise InputError(f"{file} is there already.", advice="Give another name, or --force to write over it.")
        made = self._made(options)
        if options["output"] == "-":
            self.stdout.write(made.request_pem, ending="")
            return
        file_write(file, made.request_pem.encode(), force=options["force"])
        self.stdout.write(f"{file}: the request of {made.name}.")

    def _made(self, options: dict[str, Any]) -> Certificate:
        subject = Subject(**{field: options[field] for field in _FIELDS})
        if not options["of"]:
            properties = _properties(options) if options["name"] or options["tag"] else None
            return request_create(
                hosts=options["hosts"],
                subject=subject,
                key_type=options["key_type"] or DEFAULT_KEY,
                properties=properties,
                actor=ACTOR,
            )
        if options["name"] or options["tag"]:
            raise InputError("--name and --tag are for a new entry.", advice="Leave them out, or leave out --of.")
        row = certificate_find(options["of"])
        if row.request_pem and not (options["hosts"] or options["key_type"]) and subject.is_empty:
            return row  # once more, as it is
        if row.current is None:
            return request_for_key(row, hosts=options["hosts"], subject=subject, actor=ACTOR)
        if options["hosts"] or not subject.is_empty:
            raise InputError(
                "The next version of a certificate is asked for with its own names and subject.",
                advice="Leave out names and subject, or make a request without --of.",
            )
        return request_renew(row, key_type=options["key_type"] or "", actor=ACTOR)


def _describe(parser: ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="how to call it here")
    parser.add_argument("--tag", action="append", default=[], help="may be repeated")


def _properties(options: dict[str, Any]) -> Properties:
    return Properties(name=options["name"], tags=tuple(options["tag"]))
