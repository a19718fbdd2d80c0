from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.db.models.functions import Lower

from certs.api.documents import id_of
from certs.management.authorities.finding import authority_find
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.management.tables import facts_lines, table_lines, terminal_width
from certs.models import Authority, IssuedCertificate
from certs.selectors import authorities_visible_to, certificate_shown, issued_living
from certs.services.pki import pki_base_url, pki_urls
from portal import clock


class ListVerb(BinderyCommand):
    help = "List our own CAs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        json_argument(parser, "print one JSON document instead of a table")

    def run(self, *args: Any, **options: Any) -> int | None:
        found = authorities_visible_to(ACTOR).select_related(
            "certificate__current", "certificate__authority", "successor"
        )
        rows = list(found.order_by(Lower("certificate__name"), "pk"))
        if options["json"]:
            documents = [authority_document(row) for row in rows]
            self.print_json({"authorities": documents})
            return None
        head = ("EXPIRES", "STATE", "BELOW", "CRL UNTIL", "ID", "NAME")
        lines = table_lines(head, [_row(row) for row in rows], width=terminal_width())
        self.stdout.write("\n".join(lines) if lines else "There is none yet. Create one: manage.py ca create NAME")
        return None


class ShowVerb(BinderyCommand):
    help = "Show one of our own CAs, its addresses and what it has signed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ca", metavar="CA", help="its name or id")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        row = authority_find(options["ca"])
        document = authority_document(row)
        if options["json"]:
            self.print_json(document)
            return None
        facts = [(name, _text(value)) for name, value in document.items()]
        self.stdout.write("\n".join(facts_lines(facts)))
        return None


def authority_document(row: Authority) -> dict[str, Any]:
    version = row.certificate.current
    signed = IssuedCertificate.objects.filter(authority=row)
    urls = pki_urls(row) if pki_base_url() else None
    return {
        "id": str(row.pk),
        "name": str(row),
        "certificate": id_of(row.certificate),
        "state": _state(row),
        "subject": version.subject if version else None,
        "caRef": id_of(row.certificate.authority.certificate) if row.certificate.authority else None,
        "keyType": version.key_type if version else row.certificate.key_type,
        "fingerprint": version.fingerprint_sha256 if version else None,
        "offline": row.offline,
        "includeAia": row.include_aia,
        "profiles": list(row.profiles),
        "from": _moment(version.not_before if version else None),
        "to": _moment(version.not_after if version else None),
        "issued": issued_living(clock.now()).filter(authority=row).count(),
        "revoked": signed.filter(revoked_at__isnull=False).count(),
        "crlNumber": row.crl_number,
        "crlNextUpdate": _moment(row.crl_next_update),
        "crlTrouble": row.crl_trouble,
        "crl": urls.crl if urls else None,
        "ocsp": urls.ocsp if urls else None,
        "issuerAddress": urls.issuer if urls else None,
        "retiredAt": _moment(row.retired_at),
        "successor": str(row.successor.pk) if row.successor else None,
    }


def _state(row: Authority) -> str:
    if row.retired_at is not None:
        return "retired"
    words = certificate_shown(row.certificate).words
    return f"{words}, offline" if row.offline else words


def _row(row: Authority) -> tuple[str, ...]:
    version = row.certificate.current
    return (
        f"{version.not_after:%Y-%m-%d}" if version else "-",
        _state(row),
        str(row.certificate.authority or "-"),
        f"{row.crl_next_update:%Y-%m-%d %H:%M}" if row.crl_next_update else "none yet",
        str(row.pk),
        str(row),
    )


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str("" if value is None else value)
