from argparse import ArgumentParser
from typing import Any

from certs.api.documents import certificate_document
from certs.domain.names import name_display
from certs.management.base import BinderyCommand, json_argument
from certs.management.store.finding import WORD, version_of
from certs.management.tables import facts_lines, table_lines, terminal_width
from certs.models import Certificate, CertificateVersion
from certs.selectors import certificate_find, certificate_shown
from certs.services.keys import key_is_here
from certs.services.version_history import version_compare


class ShowVerb(BinderyCommand):
    help = "Show one certificate: what it says, who issued it, where it is bound, and its versions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", metavar="NAME", help=WORD)
        parser.add_argument(
            "--of-version", default="", metavar="FINGERPRINT", help="another version than the one in use"
        )
        parser.add_argument(
            "--compare", nargs=2, metavar="FINGERPRINT", help="two of its versions: what differs between them"
        )
        parser.add_argument("--pem", action="store_true", help="print the certificate with its chain instead")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        row = certificate_find(options["certificate"])
        if options["compare"]:
            first, second = (version_of(row, word) for word in options["compare"])
            self._compare(first, second, as_json=options["json"])
        elif options["pem"]:
            self.stdout.write(version_of(row, options["of_version"]).fullchain_pem, ending="")
        elif options["json"]:
            versions = [version_document(each) for each in row.versions.select_related("key")]
            bindings = sorted(row.bindings.values_list("server_name", flat=True))
            document = certificate_document(row) | {"versions": versions, "bindings": bindings}
            self.print_json(document)
        elif options["of_version"]:
            self.stdout.write("\n".join(facts_lines(version_facts(version_of(row, options["of_version"])))))
        else:
            self.stdout.write("\n".join(_lines(row)))
        return None

    def _compare(self, first: CertificateVersion, second: CertificateVersion, *, as_json: bool) -> None:
        found = version_compare(first, second)
        if as_json:
            self.print_json(found.as_json())
            return
        rows = [(fact.label, fact.before, fact.after) for fact in found.differences]
        rows += [("Names added", "", name) for name in found.names_added]
        rows += [("Names removed", name, "") for name in found.names_removed]
        lines = table_lines(("", str(first), str(second)), rows)
        self.stdout.write("\n".join(lines) if lines else "They are the same.")


def version_document(version: CertificateVersion) -> dict[str, Any]:
    return {
        "id": str(version.pk),
        "fingerprint": version.fingerprint_sha256,
        "serial": version.serial,
        "subject": version.subject,
        "issuer": version.issuer,
        "names": [*version.names, *version.other_names],
        "keyType": version.key_type,
        "key": version.key.spki_sha256 if version.key else None,
        "hasPrivateKey": key_is_here(version.key),
        "from": version.not_before.isoformat(),
        "to": version.not_after.isoformat(),
        "createdAt": version.created_at.isoformat(),
        "retiredAt": version.retired_at.isoformat() if version.retired_at else None,
        "revokedAt": version.revoked_at.isoformat() if version.revoked_at else None,
        "revocationReason": version.revocation_reason or None,
    }


def version_facts(version: CertificateVersion) -> list[tuple[str, str]]:
    revoked = f"{version.revoked_at:%Y-%m-%d %H:%M} UTC, {version.revocation_reason}" if version.revoked_at else ""
    return [
        ("Names", ", ".join(name_display(name) for name in [*version.names, *version.other_names])),
        ("Subject", version.subject),
        ("Issuer", version.issuer),
        ("Valid", f"{version.not_before:%Y-%m-%d %H:%M} to {version.not_after:%Y-%m-%d %H:%M} UTC"),
        ("Revoked", revoked),
        ("Serial", version.serial),
        ("SHA-256", version.fingerprint_sha256),
        ("Key", f"{version.key_type}, {_key_place(version)}"),
    ]


def _lines(row: Certificate) -> list[str]:
    version = row.current
    before = f", {row.renew_before_days} days before" if row.renew_before_days else ""
    facts = [
        ("Name", row.name),
        ("Id", row.api_id or str(row.pk)),
        ("State", certificate_shown(row).words),
        ("Source", row.get_source_display()),
        ("Account", str(row.account or "")),
        ("Our CA", str(row.authority or "")),
        ("Challenge", str(row.challenge_method or "")),
        ("Description", row.description),
        ("Tags", ", ".join(each.tag for each in row.tag_rows.all())),
        ("Metadata", ", ".join(f"{name}={value}" for name, value in row.metadata.items())),
        *(version_facts(version) if version else [("Names", ", ".join(map(name_display, row.names)))]),
        ("Renewal", f"by itself{before}" if row.auto_renew else "by hand"),
        ("Last check", row.last_decision_text),
        ("Bound", ", ".join(each or "by default" for each in row.bindings.values_list("server_name", flat=True))),
    ]
    versions = list(row.versions.select_related("key"))
    rows = [
        (
            "*" if each.pk == row.current_id else "",
            f"{each.not_before:%Y-%m-%d}",
            f"{each.not_after:%Y-%m-%d}",
            _key_place(each),
            "revoked" if each.revoked_at else "",
            each.fingerprint_sha256[:16],
        )
        for each in versions
    ]
    table = table_lines(("", "FROM", "UNTIL", "KEY", "", "SHA-256"), rows, width=terminal_width())
    return [*facts_lines(facts), *(["", *table] if table else [])]


def _key_place(version: CertificateVersion) -> str:
    if version.key is None:
        return "none: only trusted"
    if version.key.locked:
        return "here, under its own passphrase"
    return f"{version.key.get_held_display()}{', compromised' if version.key.compromised_at else ''}"
