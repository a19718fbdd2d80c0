"""`manage.py token`: the secrets by which programs use the API."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from certs.domain.roles import Role
from certs.management.base import BinderyCommand, VerbCommand, json_argument
from certs.management.reporting import ACTOR
from certs.management.tables import table_lines, terminal_width
from certs.models import ApiToken
from certs.selectors import tokens_visible_to
from certs.services.organizations import department_find, organization_find
from certs.services.tokens import token_create, token_find, token_revoke, token_shown, token_state


class CreateVerb(BinderyCommand):
    help = "Make a token. Its secret is printed once, alone on standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="what it is for")
        parser.add_argument("--role", required=True, metavar="ROLE", help=f"what it may: {', '.join(Role)}")
        parser.add_argument("--tag", action="append", default=[], dest="tags", help="only certificates with this tag")
        parser.add_argument("--organization", default="", help="only what belongs to this organization")
        parser.add_argument("--department", default="", help="only what belongs to this department of it")
        parser.add_argument("--days", type=int, default=None, help="how long it works (until it is revoked)")
        parser.add_argument("--export", action="store_true", help="it may read private keys, too")
        json_argument(parser, "print one JSON document with the secret in it")

    def run(self, *args: Any, **options: Any) -> None:
        organization = organization_find(options["organization"]) if options["organization"] else None
        department = department_find(options["department"], organization) if options["department"] else None
        token, secret = token_create(
            options["name"],
            options["role"],
            organization=organization,
            department=department,
            tags=options["tags"],
            days=options["days"],
            can_export=options["export"],
            actor=ACTOR,
        )
        if options["json"]:
            self.print_json({**token_shown(token), "secret": secret})
            return
        until = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "until it is revoked"
        self.stderr.write(f"{token.name} works {until}. Its secret is shown only now:")
        self.stdout.write(secret)


class ListVerb(BinderyCommand):
    help = "List the tokens, without their secrets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        json_argument(parser, "print one JSON document instead of a table")

    def run(self, *args: Any, **options: Any) -> None:
        rows = list(tokens_visible_to(ACTOR))
        if options["json"]:
            self.print_json({"tokens": [token_shown(row) for row in rows]})
            return
        head = ("STATE", "ROLE", "EXPIRES", "LAST USED", "BEGINS", "SCOPE", "OWNER", "NAME")
        lines = table_lines(head, [_row(row) for row in rows], width=terminal_width())
        self.stdout.write(
            "\n".join(lines) if lines else "There is none. Make one: manage.py token create NAME --role …"
        )


class RevokeVerb(BinderyCommand):
    help = "End a token for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("token", metavar="TOKEN", help="its name or id")
        json_argument(parser, "print one JSON document instead of a sentence")

    def run(self, *args: Any, **options: Any) -> None:
        token = token_find(options["token"])
        token_revoke(token, actor=ACTOR)
        token.refresh_from_db()
        if options["json"]:
            self.print_json(token_shown(token))
            return
        self.stdout.write(f"{token.name} is revoked.")


class Command(VerbCommand):
    help = "Tokens for the API: make one, list them, revoke one."
    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {
        "create": CreateVerb,
        "list": ListVerb,
        "revoke": RevokeVerb,
    }


def _row(row: ApiToken) -> tuple[str, ...]:
    place = row.department or row.organization
    scope = " ".join([*([str(place)] if place else []), *(f"#{tag}" for tag in row.tags)])
    return (
        token_state(row),
        f"{row.role} + export" if row.can_export else row.role,
        f"{row.expires_at:%Y-%m-%d}" if row.expires_at else "never",
        f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never",
        row.hint,
        scope or "everything",
        str(row.owner or "-"),
        row.name,
    )
