from argparse import ArgumentParser, _ActionsContainer
from collections.abc import Callable
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
from certs.management.base import FAILED, PARTLY, BinderyCommand, json_argument
from certs.management.commands import issue
from certs.management.commands.issue import texts_given
from certs.management.passwords import password_argument, password_given
from certs.management.progress import progress_bar
from certs.management.reporting import ACTOR
from certs.models import Authority
from certs.services.certificate_properties import Properties
from certs.services.issued import Item, Outcome, authority_issue_many
from certs.services.self_issued import certificate_self_issue

_PASSPHRASE = "--passphrase-file"  # noqa: S105 - the name of a flag
_HOSTS = "host names, IP addresses, e-mail addresses and URIs of one certificate, with commas between"
_EITHER_WAY = frozenset({"names", "file", "key_type", "profile", "json"})  # with --ca as without


def own_arguments(parser: _ActionsContainer) -> None:
    """What only our own CAs are asked for."""
    parser.add_argument(
        "--subject", default="", metavar="DN", help="such as CN=app,O=Example; by default as the profile says"
    )
    parser.add_argument(
        "--days", type=int, default=0, metavar="N", help="how long it is valid; by default as the profile says"
    )
    parser.add_argument(
        "--usage",
        action="append",
        choices=list(USAGES),
        default=[],
        help="what it is for, instead of what the profile says; may be repeated",
    )
    parser.add_argument(
        "--digest", choices=list(DIGESTS), default="", help="of the signature; by default as the CA's key wants it"
    )
    parser.add_argument("--pss", action="store_true", help="sign by RSASSA-PSS, where the CA's key is RSA")
    parser.add_argument("--no-aia", action="store_true", help="no addresses of issuer and lists in it")
    parser.add_argument("--is-ca", action="store_true", help="a CA whose key is elsewhere; else see `ca create`")
    parser.add_argument("--path-length", type=int, metavar="N", help="of a CA: how many may stand below it")
    parser.add_argument(
        "--permit", action="append", default=[], metavar="NAME", help="of a CA: it certifies only names within"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="NAME", help="of a CA: it certifies none within"
    )
    parser.add_argument(
        "--csr", metavar="FILE", default="", help="a signing request: its key, and its names where none are given"
    )
    parser.add_argument("--no-auto-renew", action="store_true", help="it is not renewed by itself")
    parser.add_argument("--name", default="", help="how to call it here; for one certificate")
    parser.add_argument("--tag", action="append", default=[], help="may be repeated")
    password_argument(parser, _PASSPHRASE, "the passphrase of an offline CA")


class IssueVerb(issue.Command):
    """Without --ca this is `manage.py issue`."""

    help = "Get certificates: with --ca from one of our own CAs, else from an ACME CA; one per argument."
    key_types: ClassVar[tuple[str, ...]] = tuple(OWN_KEY_TYPES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        own = parser.add_argument_group(
            "from one of our own CAs",
            f"NAME is then: {_HOSTS}. Of the options above: --file, --key-type, --profile, --json.",
        )
        own.add_argument("--ca", metavar="CA", default="", help="its name or id")
        own_arguments(own)

    def run(self, *args: Any, **options: Any) -> int:
        if options["ca"]:
            _refuse(options, super().add_arguments, "is for an ACME CA: leave it out, or leave out --ca.")
            return own_issue(self, authority_find(options["ca"]), options)
        _refuse(options, own_arguments, "is for one of our own CAs: say which one with --ca.")
        return super().run(*args, **options)


class OwnIssueVerb(BinderyCommand):
    """`ca issue`: as `certs issue --ca CA`."""

    help = "Issue certificates from one of our own CAs, one per argument."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("authority", metavar="CA", help="its name or id")
        parser.add_argument("names", nargs="*", metavar="NAME[,NAME…]", help=_HOSTS)
        parser.add_argument("--file", metavar="FILE", help="more, one certificate per line; - is standard input")
        parser.add_argument("--profile", default="", help="by default server; a CA's own page lists what it may sign")
        parser.add_argument("--key-type", choices=list(OWN_KEY_TYPES), help="kind of the private key (ec-p256)")
        own_arguments(parser)
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        return own_issue(self, authority_find(options["authority"]), options)


class SelfSignedVerb(BinderyCommand):
    help = "Make a certificate that signs itself: for personal use, or where each client is told to trust it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "hosts", nargs="+", metavar="HOST", help="host names and IP addresses of this one certificate"
        )
        parser.add_argument("--days", type=int, default=365, metavar="N", help="how long it is valid (365)")
        parser.add_argument("--key-type", choices=list(OWN_KEY_TYPES), default=Wish.key_type, help="(ec-p256)")
        parser.add_argument(
            "--auto-renew", action="store_true", help="renew it by itself; clients must be told each time"
        )
        parser.add_argument("--name", default="", help="how to call it here")
        parser.add_argument("--tag", action="append", default=[], help="may be repeated")
        json_argument(parser, "print one JSON document instead of a line")

    def run(self, *args: Any, **options: Any) -> None:
        made = certificate_self_issue(
            Wish(profile="server", hosts=tuple(options["hosts"]), days=options["days"], key_type=options["key_type"]),
            properties=Properties(name=options["name"], tags=tuple(options["tag"])),
            auto_renew=options["auto_renew"],
            actor=ACTOR,
        )
        if options["json"]:
            self.print_json(certificate_document(made))
            return
        until = f"until {made.current.not_after:%Y-%m-%d}" if made.current else ""
        self.stdout.write(f"{made.name}: signed by itself, {until}. Its id is {made.pk}.")


def own_issue(command: BinderyCommand, authority: Authority, options: dict[str, Any]) -> int:
    """Sign what is asked for and tell of each; returns the exit code. Raises InputError before anything is signed."""
    csr = _csr(options["csr"]) if options["csr"] else None
    texts = texts_given(options["names"], options["file"])
    if not (texts or csr or options["subject"]):
        raise InputError("No names were given.", advice="Write: manage.py ca issue CA app.example.com")
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
    return _tell(command, authority, outcomes, as_json=options["json"])


def _tell(command: BinderyCommand, authority: Authority, outcomes: list[Outcome], *, as_json: bool) -> int:
    made = [each.certificate for each in outcomes if each.certificate]
    errors = [each for each in outcomes if each.error]
    code = 0 if not errors else PARTLY if made else FAILED
    if as_json:
        rows = [certificate_document(row) for row in made]
        failed = [{"names": list(each.item.wish.hosts), "text": str(each.error)} for each in errors]
        document = {"exit_code": code, "certificates": rows, "failed": failed}
        command.print_json(document)
        return code
    for row in made:
        until = f"until {row.current.not_after:%Y-%m-%d}" if row.current else ""
        command.stdout.write(f"{row.name}: issued by {authority}, {until}. Its id is {row.pk}.")
    for each in errors:
        command.stderr.write(f"bindery: {', '.join(each.item.wish.hosts) or 'the request'}: {each.error}")
    return code


def _refuse(options: dict[str, Any], arguments: Callable[[ArgumentParser], None], why: str) -> None:
    """Raises InputError for the first of these arguments that was given: it would do nothing."""
    parser = ArgumentParser(add_help=False)
    arguments(parser)
    for action in parser._actions:
        if action.dest not in _EITHER_WAY and options[action.dest] != action.default:
            raise InputError(f"{action.option_strings[-1]} {why}")


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in text.split(",") if host.strip())


def _wish(options: dict[str, Any]) -> Wish:
    return Wish(
        profile=options["profile"],
        subject=options["subject"],
        days=options["days"],
        usages=tuple(options["usage"]),
        digest=options["digest"],
        pss=options["pss"],
        key_type=options["key_type"] or Wish.key_type,
        is_ca=options["is_ca"],
        path_length=options["path_length"],
        include_aia=False if options["no_aia"] else None,
        permitted=tuple(options["permit"]),
        excluded=tuple(options["exclude"]),
    )


def _csr(file: str) -> CsrInfo:
    try:
        with Path(file).open("rb") as stream:
            return csr_read(stream.read(1024 * 1024))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
