import base64
import textwrap
from argparse import ArgumentParser
from typing import Any

from certs.domain.revocation import OWN_REASONS, UNSPECIFIED
from certs.management.authorities.finding import authority_find
from certs.management.authorities.listing import authority_document
from certs.management.base import BinderyCommand, json_argument
from certs.management.passwords import password_argument, password_given
from certs.management.reporting import ACTOR
from certs.management.store.exporting import file_place, file_write
from certs.services.authorities import authority_renew, authority_retire
from certs.services.crls import authority_publish, crl_days_change
from certs.services.revocations import serial_release, serial_revoke

_PASSPHRASE, _PARENT = "--passphrase-file", "--parent-passphrase-file"


class RenewVerb(BinderyCommand):
    help = "Renew a CA: the same name and key, a new certificate. What it issued is renewed after it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ca", metavar="CA", help="its name or id")
        parser.add_argument(
            "--days", type=int, default=0, metavar="N", help="how long it is valid; as before by default"
        )
        password_argument(parser, _PASSPHRASE, "its passphrase, of an offline root")
        password_argument(parser, _PARENT, "the passphrase of the CA above it")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        row = authority_find(options["ca"])
        version = authority_renew(
            row,
            actor=ACTOR,
            days=options["days"],
            passphrase=password_given(options, _PASSPHRASE),
            parent_passphrase=password_given(options, _PARENT),
        )
        if options["json"]:
            document = authority_document(authority_find(str(row.pk)))
            self.print_json(document)
        else:
            self.stdout.write(f"{row} is renewed, until {version.not_after:%Y-%m-%d}.")
        return None


class RevokeVerb(BinderyCommand):
    help = "Revoke a certificate that a CA has signed by its serial number, also one that is no longer stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        _signed(parser)
        parser.add_argument(
            "--reason", choices=list(OWN_REASONS), default=UNSPECIFIED, help="as RFC 5280 calls it (unspecified)"
        )

    def run(self, *args: Any, **options: Any) -> None:
        done = serial_revoke(authority_find(options["ca"]), options["serial"], options["reason"], actor=ACTOR)
        self.stdout.write(f"{done.subject or 'The certificate'} ({done.serial}) is revoked.")


class ReleaseVerb(BinderyCommand):
    help = "Take back a revocation with the reason certificateHold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        _signed(parser)

    def run(self, *args: Any, **options: Any) -> None:
        done = serial_release(authority_find(options["ca"]), options["serial"], actor=ACTOR)
        self.stdout.write(f"{done.subject or 'The certificate'} ({done.serial}) is valid again.")


class CrlVerb(BinderyCommand):
    help = "Write the list of revoked certificates of a CA; with --sign, sign a new one first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ca", metavar="CA", help="its name or id")
        parser.add_argument("--sign", action="store_true", help="sign list and OCSP responder anew")
        parser.add_argument("--days", type=int, metavar="N", help="how long lists stay good from now on")
        password_argument(parser, _PASSPHRASE, "the passphrase of an offline CA")
        parser.add_argument("-o", "--output", metavar="FILE", default="", help="DER; - is PEM on standard output")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")

    def run(self, *args: Any, **options: Any) -> int | None:
        row = authority_find(options["ca"])
        if options["days"] is not None:
            crl_days_change(row, options["days"], actor=ACTOR)
        if options["sign"]:
            authority_publish(row, password_given(options, _PASSPHRASE), actor=ACTOR)
        row.refresh_from_db()
        if row.crl_der is None:
            self.fail(f"{row} has no list yet. {row.crl_trouble or 'Give --sign.'}")
        der = bytes(row.crl_der)
        until = f", good until {row.crl_next_update:%Y-%m-%d %H:%M} UTC" if row.crl_next_update else ""
        if options["output"] == "-":
            self.stdout.write(_pem(der), ending="")
        elif options["output"]:
            file = file_place(options["output"], f"{row.pk}.crl")
            file_write(file, der, force=options["force"])
            self.stdout.write(f"{file}: list {row.crl_number} of {row}{until}.")
        else:
            self.stdout.write(f"List {row.crl_number} of {row}{until}.")
        return None


class RetireVerb(BinderyCommand):
    help = "Let a CA sign no more certificates. It goes on telling which of its certificates are revoked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ca", metavar="CA", help="its name or id")
        parser.add_argument("--successor", default="", metavar="CA", help="the CA that renews what it issued")
        parser.add_argument("--yes", action="store_true", help="it cannot be undone")

    def run(self, *args: Any, **options: Any) -> int | None:
        row = authority_find(options["ca"])
        successor = authority_find(options["successor"]) if options["successor"] else None
        if not options["yes"]:
            self.fail(f"{row} would sign no more certificates. Give --yes if you mean it.")
        authority_retire(row, actor=ACTOR, successor=successor)
        self.stdout.write(f"{row} is retired{f'; {successor} renews what it issued' if successor else ''}.")
        return None


def _signed(parser: ArgumentParser) -> None:
    parser.add_argument("ca", metavar="CA", help="its name or id")
    parser.add_argument("serial", metavar="SERIAL", help="in hex, as `certs show` and openssl print it")


def _pem(der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n"
