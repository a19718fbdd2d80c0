from argparse import ArgumentParser
from typing import Any

from certs.api.documents import id_of
from certs.domain.errors import InputError
from certs.domain.revocation import OWN_REASONS, UNSPECIFIED
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.management.store.showing import version_document
from certs.models import CertificateVersion
from certs.selectors import certificate_find
from certs.services.revocations import same_key_names, version_find, version_revoke


class Command(BinderyCommand):
    help = "Have its CA revoke a certificate. One that renews by itself is replaced at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "certificate", metavar="NAME", help="name, DNS name or id (its current version), or a SHA-256 fingerprint"
        )
        parser.add_argument(
            "--reason",
            choices=list(OWN_REASONS),
            default=UNSPECIFIED,
            help="as RFC 5280 calls it (unspecified); cACompromise, certificateHold and privilegeWithdrawn are for our "
            "own CAs, and `ca release` takes back a hold",
        )
        parser.add_argument(
            "--by-key", action="store_true", help="sign with the certificate's own key instead of the account"
        )
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> None:
        version = _version(options["certificate"])
        shared = same_key_names(version)
        version_revoke(version, options["reason"], by="key" if options["by_key"] else "account", actor=ACTOR)
        if options["json"]:
            row = version.certificate
            self.print_json(
                {"id": id_of(row), "name": row.name, "version": version_document(version), "sameKey": shared}
            )
            return
        self.stdout.write(f"{version.certificate.name} ({version}) is revoked.")
        if shared:
            self.stdout.write(f"The same key is used by: {', '.join(shared)}.")


def _version(word: str) -> CertificateVersion:
    try:
        certificate = certificate_find(word)
    except InputError as unknown:
        try:
            return version_find(word)
        except InputError:
            raise unknown from None
    if certificate.current is None:
        raise InputError(f"{certificate.name} has no version yet.", advice="There is nothing to revoke.")
    return certificate.current
