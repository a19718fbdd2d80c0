import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from certs.api.documents import certificate_document
from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import InputError
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import USAGES
from certs.domain.signing import DIGESTS
from certs.domain.wishes import Wish
from certs.management.authorities.finding import authority_find
from certs.management.base import FAILED, PARTLY
from certs.management.commands import issue
from certs.management.commands.issue import texts_given
from certs.management.passwords import password_argument, password_given
from certs.management.progress import progress_bar
from certs.management.reporting import ACTOR
from certs.models import Authority
from certs.services.authorities import Item, Outcome, authority_issue_many
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
        texts = texts_given(options["names"], options["file"])
        if not (texts or csr or options["subject"]):
            raise InputError("No names were given.", advice="Write: manage.py certs issue --ca CA app.example.com")
        if (csr or options["name"]) and len(texts) > 1:
            raise InputError("--csr and --name are for one certificate.", advice="Ask for the others by themselves.")
        plain = _wish(options)
        properties = Properties(name=options["name"], tags=tuple(options["tag"]))
        items = [
            Item(replace(plain, hosts=_hosts(text)), properties, csr, auto_renew=not options["no_auto_renew"])
            for text in texts or [""]
        ]
        passphrase = password_given(options, _PASSPHRASE)
        outcomes: list[Outcome] = []
        with progress_bar("signing") as tell:
            for outcome in authority_issue_many(authority, items, actor=ACTOR, passphrase=passphrase):
                outcomes.append(outcome)
                tell(len(outcomes), len(items))
        return self._tell(authority, outcomes, as_json=options["json"])

    def _tell(self, authority: Authority, outcomes: list[Outcome], *, as_json: bool) -> int:
        made = [each.certificate for each in outcomes if each.certificate]
        errors = [each for each in outcomes if each.error]
        code = 0 if not errors else PARTLY if made else FAILED
        if as_json:
            rows = [certificate_document(row) for row in made]
            failed = [{"names": list(each.item.wish.hosts), "text": str(each.error)} for each in errors]
            document = {"exit_code": code, "certificates": rows, "failed": failed}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
            return code
        for row in made:
            until = f"until {row.current.not_after:%Y-%m-%d}" if row.current else ""
            self.stdout.write(f"{row.name}: issued by {authority}, {until}. Its id is {row.pk}.")
        for each in errors:
            self.stderr.write(f"bindery: {', '.join(each.item.wish.hosts) or 'the request'}: {each.error}")
        return code


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in text.split(",") if host.strip())


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
