import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from certs.acme.directories import KNOWN
from certs.domain.errors import BinderyError, InputError
from certs.domain.names import NameRules, names_parse
from certs.domain.preflight import findings_elsewhere
from certs.management.findings import findings_report
from certs.management.outcome import Outcome, outcome_failed
from certs.management.reporting import ACTOR, RenewingCommand, use_last_argument
from certs.management.volume import volume_argument
from certs.management.waiting import worker_required
from certs.models import AcmeAccount
from certs.services.container import volume_require
from certs.services.directories import directory_named
from certs.services.elsewhere import MOST_NAMES, names_look
from certs.services.issue_options import CA_KEY_TYPES, name_rules
from certs.services.issuing import (
    CaChoice,
    account_fallback,
    account_for,
    certificate_order,
    directory_usual,
    preflight_ahead,
)
from certs.services.methods import method_find
from certs.services.sweeps import SweepLine

_SIZE_LIMIT = 1024 * 1024


class Command(RenewingCommand):
    help = "Get certificates from a CA, one per argument or line, and wait for them."
    key_types: ClassVar[tuple[str, ...]] = CA_KEY_TYPES

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "names", nargs="*", metavar="NAME[,NAME…]", help="the DNS names of one certificate, with commas between"
        )
        parser.add_argument(
            "--file", metavar="FILE", help="more of them, one certificate per line; - is standard input"
        )
        parser.add_argument(
            "--directory",
            metavar="KEY|URL",
            default="",
            help=f"the CA: {', '.join(KNOWN)} or the URL of an ACME directory; by default the one the portal uses",
        )
        parser.add_argument(
            "--ca-bundle", metavar="FILE", default="", help="PEM of the roots to trust for the directory"
        )
        parser.add_argument(
            "--allow-private-ca", action="store_true", help="the directory may be on a private or loopback address"
        )
        parser.add_argument("--email", metavar="ADDRESS", default="", help="where the CA may write to")
        parser.add_argument("--accept-terms", action="store_true", help="accept the terms of service of the CA")
        parser.add_argument("--key-type", choices=list(self.key_types), help="kind of the private key (ec-p256)")
        parser.add_argument("--reuse-key", action="store_true", help="keep the private key at renewals")
        parser.add_argument("--profile", metavar="NAME", default="", help="a profile that the CA offers")
        parser.add_argument(
            "--preferred-chain", metavar="CN", default="", help="common name of the root that the chain is to end at"
        )
        parser.add_argument(
            "--challenge", metavar="METHOD", default="", help="name of a challenge method; by default HTTP, then TLS"
        )
        parser.add_argument(
            "--fallback",
            metavar="KEY|URL",
            action="append",
            default=[],
            help="ask the known account at this CA next; may be repeated",
        )
        parser.add_argument("--bind", action="store_true", help="let the portal's HTTPS answer with it")
        parser.add_argument(
            "--check", action="store_true", help="look whether the CA would find what it asks for, and order nothing"
        )
        volume_argument(parser)
        parser.add_argument("--force", action="store_true", help="order anew even where a good one is there")

        use_last_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        # Everything typed is judged before anything is stored or asked.
        wanted = _wanted(options)
        method = wanted.get("challenge_method")
        wishes = self._wishes(
            options["names"], options["file"], name_rules(method.kind if method else "", wanted.get("profile", ""))
        )
        choice = self._choice(options)
        if options["bind"] and len(wishes) > 1:
            raise InputError("--bind is for one certificate at a time.", advice="Bind the others on the page Bindings.")
        if options["check"]:
            looks = [(names, preflight_ahead(choice, names, method=method)) for names in wishes]
            astray = findings_elsewhere(one for _, findings in looks for one in findings)[:MOST_NAMES]
            wheres = names_look(astray, allow_private=choice.allow_private) if astray else []
            return findings_report(looks, self.stdout.write, as_json=options["json"], wheres=wheres)
        volume_require(agreed=options["without_volume"])
        worker_required(options["inline"])
        account = account_for(choice, actor=ACTOR)
        lines, failed = self._order(wishes, account, wanted, options)
        return self.conclude(lines, options, failed=failed)

    def _order(
        self, wishes: list[list[str]], account: AcmeAccount, wanted: dict[str, Any], options: dict[str, Any]
    ) -> tuple[list[SweepLine], list[Outcome]]:
        lines: list[SweepLine] = []
        failed: list[Outcome] = []
        flags = {name: options[name] for name in ("bind", "force", "use_last")}
        for names in wishes:
            try:
                lines.append(certificate_order(names, account, actor=ACTOR, wanted=wanted, **flags))
            except BinderyError as error:
                failed.append(outcome_failed(names, str(error)))
        return lines, failed

    def _wishes(self, arguments: list[str], file: str | None, rules: NameRules) -> list[list[str]]:
        texts = texts_given(arguments, file)
        if not texts:
            raise InputError("No names were given.", advice="Write: manage.py issue portal.example.com")
        unique = dict.fromkeys(tuple(names_parse(text, rules)) for text in texts)
        return [list(names) for names in unique]

    def _choice(self, options: dict[str, Any]) -> CaChoice:
        return CaChoice(
            directory_url=directory_named(options["directory"]) if options["directory"] else directory_usual(),
            email=options["email"].strip(),
            ca_bundle=_read(options["ca_bundle"]) if options["ca_bundle"] else "",
            allow_private=options["allow_private_ca"],
            terms_accepted=options["accept_terms"],
        )


def texts_given(arguments: list[str], file: str | None) -> list[str]:
    """What stands on the command line, and in the lines of the file. Raises InputError for a file without any."""
    texts = list(arguments)
    if file is not None:
        lines = [line.split("#", 1)[0].strip() for line in _read(file).splitlines()]
        texts += [line for line in lines if line]
        if not texts:
            raise InputError(f"{file} holds no names.", advice="Write one certificate per line: NAME[,NAME…].")
    return texts


def _wanted(options: dict[str, Any]) -> dict[str, Any]:
    """Fields of IssueOptions that were asked for; a certificate that is known keeps the others."""
    wanted: dict[str, Any] = {
        "key_type": options["key_type"],
        "profile": options["profile"],
        "preferred_chain": options["preferred_chain"],
        "reuse_key": options["reuse_key"],
        "challenge_method": method_find(options["challenge"]) if options["challenge"] else None,
        "fallbacks": tuple(account_fallback(word) for word in options["fallback"]),
    }
    return {name: value for name, value in wanted.items() if value}


def _read(file: str) -> str:
    """The text of a small file. Raises InputError naming the file."""
    try:
        data = sys.stdin.buffer.read(_SIZE_LIMIT + 1) if file == "-" else _bytes(Path(file))
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{file} cannot be read: {reason}.") from error
    if len(data) > _SIZE_LIMIT:
        raise InputError(f"{file} is larger than 1 MiB.", advice="Split it.")
    return text


def _bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_SIZE_LIMIT + 1)
