import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certs import selectors
from certs.acme.client import MAC_ALGORITHMS
from certs.acme.directories import KNOWN, directory_label
from certs.domain.errors import InputError
from certs.domain.keys import SIZE_LIMIT
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.models import AcmeAccount
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    account_terms_accept,
    account_terms_new,
    account_trouble,
)
from certs.services.accounts import account_get_or_create, directory_read, external_account
from certs.services.directories import directory_named
from certs.services.organizations import organization_find


class Command(BinderyCommand):
    help = "Accounts at CAs: list them, register one, change its e-mail or its key, accept new terms, give it up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.set_defaults(does=self._list, json=False)
        does = parser.add_subparsers(title="what to do", metavar="")
        listing = does.add_parser("list", help="every account, with its state (the default)")
        json_argument(listing)
        listing.set_defaults(does=self._list)
        register = does.add_parser("register", help="register at a CA, now")
        register.add_argument("directory", metavar="CA", help=f"{', '.join(KNOWN)}, or the address of a directory")
        register.add_argument("--email", default="", metavar="ADDRESS", help="where the CA may write to")
        register.add_argument("--accept-terms", action="store_true", help="accept the terms of service of the CA")
        register.add_argument("--ca-bundle", default="", metavar="FILE", help="PEM of the roots to trust for it")
        register.add_argument("--allow-private-ca", action="store_true", help="it may be on a private address")
        register.add_argument("--organization", default="", metavar="NAME", help="whose certificates it serves")
        register.add_argument("--eab-kid", default="", metavar="ID", help="key ID of an external account")
        register.add_argument(
            "--eab-hmac-file",
            default="-",
            metavar="FILE",
            help="its HMAC key; by default standard input",
        )
        register.add_argument("--eab-algorithm", default="HS256", choices=list(MAC_ALGORITHMS), help="(HS256)")
        register.set_defaults(does=self._register)
        contacts = self._of_one(does, "contacts", "change the e-mail address that the CA has", self._contacts)
        contacts.add_argument(
            "--email", required=True, metavar="ADDRESS", help='where the CA may write to; "" for none'
        )
        self._of_one(does, "rollover", "give the account a new key", self._rollover)
        self._of_one(does, "terms", "accept the terms that the CA names now", self._terms)
        gone = self._of_one(does, "deactivate", "give the account up, for good and at the CA too", self._deactivate)
        gone.add_argument("--yes", action="store_true", help="it cannot be undone")

    def run(self, *args: Any, **options: Any) -> int | None:
        does: Callable[[dict[str, Any]], int | None] = options["does"]
        return does(options)

    def _of_one(self, does: Any, name: str, about: str, act: Callable[[dict[str, Any]], int | None]) -> ArgumentParser:
        parser: ArgumentParser = does.add_parser(name, help=about)
        parser.add_argument("account", metavar="ACCOUNT", help="its id, or its CA where it is the only one there")
        parser.set_defaults(does=act)
        return parser

    def _list(self, options: dict[str, Any]) -> None:
        rows = list(selectors.accounts_all())
        if options["json"]:
            self.print_json({"accounts": [_document(row) for row in rows]})
            return
        for row in rows:
            self.stdout.write(_line(row))
        if not rows:
            self.stdout.write("There is no account yet. The first order makes one by itself.")

    def _register(self, options: dict[str, Any]) -> None:
        url = directory_named(options["directory"])
        organization = organization_find(options["organization"]) if options["organization"] else None
        bundle = _read(options["ca_bundle"]) if options["ca_bundle"] else ""
        eab = None
        if options["eab_kid"]:
            # Never an argument: those stand in the list of processes.
            eab = external_account(options["eab_kid"], _read(options["eab_hmac_file"]), options["eab_algorithm"])
        info = directory_read(url, ca_bundle=bundle, allow_private=options["allow_private_ca"])
        if info.terms_url and not options["accept_terms"]:
            raise InputError(
                f"The terms of {directory_label(url)} have to be accepted.",
                advice=f"Read them at {info.terms_url}, then give --accept-terms.",
            )
        account = account_get_or_create(
            directory_url=url,
            email=options["email"].lower(),
            ca_bundle=bundle,
            allow_private=options["allow_private_ca"],
            terms_url=info.terms_url,
            eab=eab,
            organization=organization,
            actor=ACTOR,
        )
        account_register_now(account, actor=ACTOR)
        self.stdout.write(f"{account} is registered: {account.account_url}")

    def _contacts(self, options: dict[str, Any]) -> None:
        account = _find(options["account"])
        account_contacts(account, options["email"].lower(), actor=ACTOR)
        self.stdout.write(f"The CA writes to {account.email or 'nobody'} now.")

    def _rollover(self, options: dict[str, Any]) -> None:
        done = account_rollover(_find(options["account"]), actor=ACTOR)
        later = "The new key is made. It takes over as soon as the orders under way have ended."
        self.stdout.write("The account has a new key." if done else later)

    def _terms(self, options: dict[str, Any]) -> None:
        account = _find(options["account"])
        terms = account_terms_new(account)
        if not terms:
            self.stdout.write("The terms have not changed.")
            return
        account_terms_accept(account, terms, actor=ACTOR)
        self.stdout.write(f"Accepted: {terms}")

    def _deactivate(self, options: dict[str, Any]) -> None:
        account = _find(options["account"])
        if not options["yes"]:
            self.fail(f"{account} would be given up for good. Give --yes if you mean it.")
        account_deactivate(account, actor=ACTOR)
        self.stdout.write(f"{account} was given up.")


def _find(word: str) -> AcmeAccount:
    """By id, or by the CA's key, label or address. Raises InputError."""
    rows = list(selectors.accounts_all().filter(deactivated_at=None))
    url = KNOWN[word].url if word in KNOWN else word
    found = [row for row in rows if str(row.pk) == word] or [
        row for row in rows if url in {row.directory_url, directory_label(row.directory_url), row.email}
    ]
    if not found:
        raise InputError(f"There is no account “{word}”.", advice="`manage.py accounts` lists them.")
    if len(found) > 1:
        several = ", ".join(f"{row} ({row.pk})" for row in found)
        raise InputError(f"“{word}” fits several accounts: {several}.", advice="Give the id of the one you mean.")
    return found[0]


def _state(row: AcmeAccount) -> str:
    if row.deactivated_at is not None:
        return "given up"
    return "registered" if row.account_url else "not registered yet"


def _terms(row: AcmeAccount) -> str:
    if row.terms_agreed_at:
        return f"terms accepted {row.terms_agreed_at:%Y-%m-%d}"
    return "no terms" if row.account_url else "terms not accepted"


def _line(row: AcmeAccount) -> str:
    facts = [
        str(row.pk),
        directory_label(row.directory_url),
        row.email or "no e-mail",
        row.account_url or _state(row),
        _terms(row),
    ]
    facts += [f"external account {row.eab_kid}"] if row.eab_kid else []
    facts += ["given up"] if row.deactivated_at else [trouble] if (trouble := account_trouble(row)) else []
    return "  ".join(facts)


def _document(row: AcmeAccount) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "ca": directory_label(row.directory_url),
        "directory": row.directory_url,
        "email": row.email,
        "account": row.account_url,
        "state": _state(row),
        "terms": row.terms_url,
        "terms_accepted": row.terms_agreed_at.isoformat() if row.terms_agreed_at else None,
        "eab_kid": row.eab_kid,
        "trouble": "" if row.deactivated_at else account_trouble(row),
    }


def _read(path: str) -> str:
    try:
        return sys.stdin.read(SIZE_LIMIT) if path == "-" else Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", advice="Give the path of a text file.") from error
