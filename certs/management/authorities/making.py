from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.domain.errors import ConflictError, InputError
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.wishes import Wish
from certs.management.authorities.finding import authority_find
from certs.management.authorities.listing import authority_document
from certs.management.base import UNCHECKED, BinderyCommand, json_argument
from certs.management.diagnosis import WRONG
from certs.management.passwords import password_argument, password_given, password_new
from certs.management.reporting import ACTOR
from certs.models import Authority
from certs.services.authorities import authority_create, authority_import
from certs.services.certificate_properties import Properties
from certs.services.pki import (
    pki_base_url_check,
    pki_base_url_confirm,
    pki_base_url_required,
    pki_base_url_warning,
)

_PASSPHRASE, _PARENT, _PASSWORD = "--passphrase-file", "--parent-passphrase-file", "--password-file"
_CODES = {True: 0, False: WRONG, None: UNCHECKED}
_OFFLINE = "a passphrase of its own, which is stored nowhere: then it is offline, and signs nothing without a person"


class CreateVerb(BinderyCommand):
    help = "Create a CA: a root, or with --parent an intermediate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="its common name, and how to call it")
        parser.add_argument("--subject", default="", metavar="DN", help="instead of CN=NAME")
        parser.add_argument("--parent", default="", metavar="CA", help="the CA that signs it")
        parser.add_argument("--days", type=int, default=0, metavar="N", help="how long it is valid")
        parser.add_argument("--key-type", choices=list(OWN_KEY_TYPES), default="ec-p384", help="(ec-p384)")
        parser.add_argument("--path-length", type=int, metavar="N", help="how many CAs may stand below it")
        parser.add_argument(
            "--permit", action="append", default=[], metavar="NAME", help="it certifies only names within"
        )
        parser.add_argument("--exclude", action="append", default=[], metavar="NAME", help="it certifies none within")
        parser.add_argument("--profile", default="", help="by default root or intermediate")
        parser.add_argument("--tag", action="append", default=[], help="may be repeated")
        password_argument(parser, _PARENT, "the passphrase of the CA that signs it")
        _published(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        name = options["name"]
        wish = Wish(
            profile=options["profile"],
            subject=options["subject"] or f"CN={_escaped(name)}",
            days=options["days"],
            key_type=options["key_type"],
            is_ca=True,
            path_length=options["path_length"],
            permitted=tuple(options["permit"]),
            excluded=tuple(options["exclude"]),
        )
        made = authority_create(
            wish,
            actor=ACTOR,
            parent=authority_find(options["parent"]) if options["parent"] else None,
            passphrase=password_new(options, _PASSPHRASE, "Passphrase of the new CA"),
            parent_passphrase=password_given(options, _PARENT),
            properties=Properties(name=name, tags=tuple(options["tag"])),
            crl_days=options["crl_days"],
            include_aia=not options["no_aia"],
        )
        _tell(self, made, "was created", options)
        return None


class ImportVerb(BinderyCommand):
    help = "Take in a CA from elsewhere: PEM of its certificate with those above it, and of its key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("chain", metavar="CERTIFICATE", help="PEM of its certificate and those above it")
        parser.add_argument("key", metavar="KEY", help="PEM of its private key")
        parser.add_argument("--name", default="", help="how to call it; its common name by default")
        password_argument(parser, _PASSWORD, "the password of the key file")
        _published(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        made = authority_import(
            chain=_bytes(options["chain"]),
            key=_bytes(options["key"]),
            actor=ACTOR,
            password=password_given(options, _PASSWORD).encode() or None,
            passphrase=password_new(options, _PASSPHRASE, "Passphrase that the CA gets here"),
            properties=Properties(name=options["name"]) if options["name"] else None,
            crl_days=options["crl_days"],
            include_aia=not options["no_aia"],
        )
        _tell(self, made, "was taken in", options)
        return None


class AddressVerb(BinderyCommand):
    help = "Confirm the plain-HTTP address that stands in what our CAs sign; without one, show the address that does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "url", nargs="?", default="", metavar="URL", help="http://HOST[:PORT] that all clients reach, for years"
        )
        parser.add_argument("--look", action="store_true", help="ask whether the portal answers there; store nothing")
        parser.add_argument(
            "--although-living", action="store_true", help="also where valid certificates hold another address"
        )

    def run(self, *args: Any, **options: Any) -> int | None:
        if not options["url"]:
            self.stdout.write(pki_base_url_required())
            return None
        if warning := pki_base_url_warning(options["url"]):
            self.stderr.write(f"bindery: {warning}", self.style.WARNING)
        if options["look"]:
            found = pki_base_url_check(options["url"])
            self.stdout.write(found.text)
            return _CODES[found.ok]
        try:
            url = pki_base_url_confirm(options["url"], although_living=options["although_living"], actor=ACTOR)
        except ConflictError as error:
            self.fail(f"{error} Here: --although-living." if error.code == "living" else str(error))
        self.stdout.write(f"{url} stands in what is signed from now on.")
        return None


def _published(parser: ArgumentParser) -> None:
    password_argument(parser, _PASSPHRASE, _OFFLINE)
    parser.add_argument("--crl-days", type=int, default=7, metavar="N", help="how long its list stays good (7)")
    parser.add_argument("--no-aia", action="store_true", help="no addresses of issuer and lists in what it signs")
    json_argument(parser)


def _tell(command: BinderyCommand, made: Authority, deed: str, options: dict[str, Any]) -> None:
    if options["json"]:
        command.print_json(authority_document(made))
        return
    command.stdout.write(f"{made} {deed}. Its id is {made.pk}.")
    if made.offline:
        command.stdout.write("Its passphrase is stored nowhere: keep it safe, nothing is signed without it.")


def _escaped(name: str) -> str:
    """As RFC 4514 §2.4 wants it in a distinguished name."""
    text = "".join(f"\\{letter}" if letter in '\\,+"<>;=' else letter for letter in name.strip())
    return f"\\{text}" if text.startswith("#") else text


def _bytes(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(1024 * 1024 + 1)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
