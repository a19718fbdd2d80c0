"""Certificates ➜ From certbot or acme.sh: where it is, what would be taken, what came of it."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.domain.errors import BinderyError
from certs.domain.roles import Right
from certs.forms.migration import MigrationForm
from certs.services.access import PORTAL
from certs.services.migration import HOMES, Deed, Line
from certs.services.migration_kept import migration_carry_out, migration_keep, migration_open
from certs.services.other_clients import other_client_words
from certs.transports.schedules import State
from certs.views.access import actor_of, right_required

_needed = right_required(Right.ACCOUNT, of=PORTAL)
# How a line is shown: its kind, and the words beside it before and after.
_SHOWN = {
    Deed.TAKE: ("ok", "to take", "taken"),
    Deed.NEWER: ("ok", "newer version to take", "newer version taken"),
    Deed.UPLOAD: ("warning", "to take without renewal", "taken without renewal"),
    Deed.HERE: ("unknown", "here already", "here already"),
    Deed.LEFT: ("warning", "not taken", "not taken"),
}
_HEADINGS = {"account": "Accounts", "certificate": "Certificates", "other": "What is not taken"}


@_needed
@require_http_methods(["GET", "HEAD", "POST"])
def migration(request: HttpRequest) -> HttpResponse:
    form = MigrationForm(request.POST, request.FILES) if request.method == "POST" else MigrationForm()
    if form.is_valid():
        given = form.cleaned_data["given"]
        kept = form.attempt(lambda: migration_keep(given, actor=actor_of(request)))
        if kept is not None:
            return redirect("migration-preview", pk=kept.pk)
    return render(request, "certificates/migration.html", {"form": form, "homes": HOMES})


@_needed
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request: HttpRequest, pk: UUID) -> HttpResponse:
    actor = actor_of(request)
    try:
        if request.method == "POST":
            plan, done = migration_carry_out(pk, request.POST.get("digest", ""), actor=actor)
        else:
            plan, done = migration_open(pk, actor=actor), []
    except BinderyError as error:
        messages.warning(request, str(error))
        return redirect(request.path if error.code == "changed" else "migration")
    lines = plan.lines
    if done:
        lines = [*(each.line for each in done), *plan.left_lines]
    words = other_client_words(list(plan.schedules))
    context = {
        "plan": plan,
        "done": bool(done),
        "groups": _groups(lines, after=bool(done)),
        "active": [text for state, text in words if state == State.ACTIVE],
        "unchecked": [text for state, text in words if state == State.UNKNOWN],
        "failed": sum(each.failed for each in done),
    }
    return render(request, "certificates/migration_preview.html", context)


def _groups(lines: list[Line], *, after: bool) -> list[tuple[str, list[tuple[str, str, Line]]]]:
    shown = [(_SHOWN[line.deed][0], _SHOWN[line.deed][2 if after else 1], line) for line in lines]
    found = [(heading, [row for row in shown if row[2].kind == kind]) for kind, heading in _HEADINGS.items()]
    return [(heading, rows) for heading, rows in found if rows]
