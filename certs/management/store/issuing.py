import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from certs.api.documents import certificate_document
from certs.domain.authority import DIGESTS, Wish
from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import BinderyError, InputError
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import USAGES
from certs.management.authorities.finding import authority_find
from certs.management.base import FAILED, PARTLY
from certs.management.commands import issue
from certs.management.passwords import password_argument, password_given
from certs.management.progress import progress_bar
from certs.management.reporting import ACTOR
from certs.models import Authority, Certificate
from certs.services.authorities import authority_issue
from certs.services.certificates import Properties

_PASSPHRASE = "--passphrase-file"  # noqa: S105 - the name of a flag


class IssueVerb(issue.Command):
    """Without --ca this is `manage.py issue`."""

    help = "Get certificates: with --ca from one of our own CAs, else from an ACME CA; one per argument."
    key_types: ClassVar[tuple[str, ...]] = tuple(OWN_KEY_TYPES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        own = parser.add_argument_group("from one of our own CAs")
        own.add_argument(
            "--ca", metavar="CA", default="", help="its name or id; NAME is then a DNS name, address, mailbox or URI"
        )
        own.add_argument(
            "--subject", default="", metavar="DN", help="such as CN=app,O=Example; by default as the profile says"
        )
        own.add_argument(
            "--days", type=int, default=0, metavar="N", help="how long it is valid; by default as the profile says"
        )
        own.add_argument("--usage", action="append", choices=list(USAGES), default=[], help="may be repeated")
        own.add_argument("--digest", choices=list(DIGESTS), default="")
        own.add_argument(
            "--csr", metavar="FILE", default="", help="a signing request: its key, and its names where none are given"
        )
        own.add_argument("--no-auto-renew", action="store_true", help="it is not renewed by itself")
        own.add_argument("--name", default="", help="how to call it; for one certificate")
        own.add_argument("--tag", action="append", default=[], help="may be repeated")
        password_argument(own, _PASSPHRASE, "the passphrase of an offline CA")

    def run(self, *args: Any, **options: Any) -> int:
        if not options["ca"]:
            return super().run(*args, **options)
        authority = authority_find(options["ca"])
        csr = _csr(options["csr"]) if options["csr"] else None
        wishes = [text.split(",") for text in options["names"]] or [[]]
        if not (options["names"] or csr or options["subject"]):
            raise InputError("No names were given.", advice="Write: manage.py certs issue --ca CA app.example.com")
        if (csr or options["name"]) and len(wishes) > 1:
            raise InputError("--csr and --name are for one certificate.", advice="Ask for the others by themselves.")
        return self._sign(authority, wishes, csr, options)

    def _sign(self, authority: Authority, wishes: list[list[str]], csr: CsrInfo | None, options: dict[str, Any]) -> int:
        plain = _wish(options)
        passphrase = password_given(options, _PASSPHRASE)
        properties = Properties(name=options["name"], tags=tuple(options["tag"]))
        made: list[Certificate] = []
        errors: list[tuple[str, str]] = []
        with progress_bar("signing") as tell:
            for hosts in wishes:
                names = tuple(host.strip() for host in hosts if host.strip())
                try:
                    made.append(
                        authority_issue(
                            authority,
                            replace(plain, hosts=names),
                            actor=ACTOR,
                            passphrase=passphrase,
                            csr=csr,
                            properties=properties,
                            auto_renew=not options["no_auto_renew"],
                        )
                    )
                except BinderyError as error:
                    errors.append((",".join(names), str(error)))
                tell(len(made) + len(errors), len(wishes))
        code = 0 if not errors else PARTLY if made else FAILED
        if options["json"]:
            rows = [certificate_document(row) for row in made]
            failed = [{"names": asked.split(","), "text": text} for asked, text in errors]
            document = {"exit_code": code, "certificates": rows, "failed": failed}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
            return code
        for row in made:
            until = f"until {row.current.not_after:%Y-%m-%d}" if row.current else ""
            self.stdout.write(f"{row.name}: issued by {authority}, {until}. Its id is {row.pk}.")
        for asked, text in errors:
            self.stderr.write(f"bindery: {asked or 'the request'}: {text}")
        return code


def _wish(options: dict[str, Any]) -> Wish:
    return Wish(
        profile=options["profile"],
        subject=options["subject"],
        days=options["days"],
        usages=tuple(options["usage"]),
        digest=options["digest"],
        key_type=options["key_type"] or Wish.key_type,
    )


def _csr(file: str) -> CsrInfo:
    try:
        with Path(file).open("rb") as stream:
            return csr_read(stream.read(1024 * 1024))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
