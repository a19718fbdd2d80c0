"""Configuration ➜ Challenges: how a CA is shown that names are ours. Set up once, tested, used by certificates."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.errors import BinderyError
from certs.domain.options import Option, options_of
from certs.domain.roles import Right
from certs.forms.base import ConfirmForm
from certs.forms.methods import MethodForm, TestForm
from certs.forms.people import WhereForm
from certs.models import ChallengeMethod
from certs.services.access import may, require, rights_of
from certs.services.challenges import solver_kinds
from certs.services.method_tests import method_is_testable, method_is_testing, method_test_begin
from certs.services.methods import (
    certificates_named,
    method_certificates,
    method_create,
    method_delete,
    method_kind,
    method_shown,
    method_update,
)
from certs.services.queue import worker_alive
from certs.solvers.base import Solver
from certs.views.access import actor_of, right_required
from certs.views.configuration.accounts import organizations_to_set_up


@right_required(Right.READ)
@require_safe
def methods(request: HttpRequest) -> HttpResponse:
    rows = [
        {
            "method": row,
            "label": _label(row),
            "used": method_certificates(row),
            "testable": method_is_testable(row.kind),
        }
        for row in selectors.methods_visible_to(actor_of(request))
    ]
    return render(request, "configuration/methods.html", {"rows": rows})


@right_required(Right.ACCOUNT)
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The kind, then what its other options hang on, then the options: each by a plain address."""
    if "kind" not in request.GET:
        kinds = [{"kind": kind, **_about(solver)} for kind, solver in solver_kinds().items()]
        return render(request, "configuration/methods_kind.html", {"kinds": kinds})
    kind = request.GET["kind"]
    solver = method_kind(kind)
    chosen = _chosen(request, solver, {})
    context: dict[str, Any] = {"kind": kind, **_about(solver)}
    if solver.chooser and not chosen:
        return render(request, "configuration/methods_choose.html", {**context, "choice": _choice(solver)})
    data = request.POST if request.method == "POST" else None
    form = MethodForm(data, solver=solver, chosen=chosen)
    where = WhereForm(data, organizations=organizations_to_set_up(request))
    if form.is_valid() and where.is_valid():
        made = form.attempt(
            lambda: method_create(
                kind=kind,
                name=form.cleaned_data["name"],
                given=form.given,
                organization=where.chosen,
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(request, f"{made.name} is set up.")
            return redirect("method", pk=made.pk)
    return render(
        request, "configuration/methods_new.html", {**context, "form": form, "where": where, "chosen": chosen}
    )


@right_required(Right.READ)
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def method(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    if request.method != "POST" and not may(actor_of(request), Right.ACCOUNT, row):
        return render(request, "configuration/method.html", _page(request, row))
    return _edit(request, row)


def _edit(request: HttpRequest, row: ChallengeMethod) -> HttpResponse:
    require(actor_of(request), Right.ACCOUNT, row)
    solver = method_kind(row.kind)
    chosen = _chosen(request, solver, row.options)
    same = not solver.chooser or chosen.get(solver.chooser) == row.options.get(solver.chooser)
    if solver.chooser and "choose" in request.GET:
        context = {"method": row, "kind": row.kind, "choice": _choice(solver), **_about(solver)}
        return render(request, "configuration/methods_choose.html", context)
    form = MethodForm(
        request.POST if request.method == "POST" else None,
        solver=solver,
        chosen=chosen,
        stored=row.options,
        secrets=method_shown(row)["secrets"] if same else (),
        initial={"name": row.name},
    )
    if form.is_valid():
        given = form.given
        affected = form.attempt(
            lambda: method_update(
                row, actor=actor_of(request), name=form.cleaned_data["name"], given=given, forget=form.forget
            )
        )
        if affected is not None:
            whom = f"This affects the next renewal of {certificates_named(affected)}." if affected else ""
            messages.success(request, f"{row.name} is changed. {whom}".strip())
            return redirect("method", pk=row.pk)
        row.refresh_from_db()
    return render(
        request, "configuration/method.html", {**_page(request, row), "form": form, "chosen": chosen, "same": same}
    )


@right_required(Right.ACCOUNT, of=selectors.methods_visible_to)
@require_POST
def test(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    form = TestForm(request.POST)
    if form.is_valid():
        begun = form.attempt(lambda: method_test_begin(row, form.cleaned_data["dns_name"], actor=actor_of(request)))
        if begun is not None:
            if not worker_alive():
                messages.warning(request, "The test is queued, but no worker is running; it begins when one is back.")
            return redirect("method", pk=pk)
    messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    return redirect("method", pk=pk)


@right_required(Right.READ)
@never_cache
@require_safe
def tested(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The fragment that the page asks for every second while a test is under way."""
    return render(request, "configuration/_method_tested.html", _tested(_visible(request, pk)))


@right_required(Right.ACCOUNT, of=selectors.methods_visible_to)
@require_POST
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    form = ConfirmForm(request.POST, expected=row.name)
    if not form.is_valid():
        messages.error(request, f"Nothing was deleted: type {row.name} to confirm.")
        return redirect("method", pk=pk)
    try:
        method_delete(row, actor=actor_of(request))
    except BinderyError as error:
        messages.error(request, str(error))
        return redirect("method", pk=pk)
    messages.success(request, f"{row.name} was deleted.")
    return redirect("methods")


def methods_shown(request: HttpRequest) -> selectors.Shown:
    """For the card on the page Configuration."""
    rows = list(selectors.methods_visible_to(actor_of(request)))
    failed = [row.name for row in rows if row.test_ok is False]
    if failed:
        return selectors.Shown("danger", f"the test failed: {', '.join(failed[:3])}")
    if not rows:
        return selectors.Shown("unknown", "by the portal itself")
    return selectors.Shown("ok", f"{len(rows)} method{'' if len(rows) == 1 else 's'}")


def _visible(request: HttpRequest, pk: UUID) -> ChallengeMethod:
    return get_object_or_404(selectors.methods_visible_to(actor_of(request)), pk=pk)


def _chosen(request: HttpRequest, solver: type[Solver], stored: dict[str, Any]) -> dict[str, str]:
    """What the other options hang on, from the address, else as stored; {} where the kind has no such choice."""
    if not solver.chooser:
        return {}
    word = request.GET.get(solver.chooser, "") or str(stored.get(solver.chooser, ""))
    known = {value for value, _ in _choice(solver).choices}
    return {solver.chooser: word} if word in known else {}


def _choice(solver: type[Solver]) -> Option:
    return next(each for each in options_of(solver.options_for({})) if each.name == solver.chooser)


def _label(row: ChallengeMethod) -> str:
    solver = solver_kinds().get(row.kind)
    return solver.label if solver else f"{row.kind} (not in this version)"


_PROVES = {
    (True, False): "Proves names and wildcards, no IP addresses.",
    (False, True): "Proves names and IP addresses, no wildcards.",
    (True, True): "Proves names, wildcards and IP addresses.",
    (False, False): "Proves names; neither wildcards nor IP addresses.",
}


def _about(solver: type[Solver]) -> dict[str, Any]:
    return {
        "label": solver.label,
        "about": " ".join((solver.__doc__ or "").split()),
        "proves": _PROVES[solver.wildcards, solver.addresses],
        "hooks_dir": settings.HOOKS_DIR if solver.runs_programs else "",
    }


def _page(request: HttpRequest, row: ChallengeMethod) -> dict[str, Any]:
    solver = method_kind(row.kind)
    about = options_of(solver.options_for(row.options))
    choices = {each.name: dict(each.choices) for each in about}
    shown = [
        (each.label, choices[each.name].get(str(value), value))
        for each in about
        if not each.secret and (value := row.options.get(each.name)) not in (None, "")
    ]
    return {
        "method": row,
        "rights": rights_of(actor_of(request), row),
        "shown": shown,
        "secrets": [each.label for each in about if each.secret and each.name in method_shown(row)["secrets"]],
        "used": method_certificates(row),
        "chooser": next((each.label for each in about if each.name == solver.chooser), ""),
        "confirm": ConfirmForm(expected=row.name),
        **_about(solver),
        **_tested(row),
    }


def _tested(row: ChallengeMethod) -> dict[str, Any]:
    return {
        "method": row,
        "testable": method_is_testable(row.kind),
        "testing": method_is_testing(row),
        "lines": selectors.job_lines(row.test_job) if row.test_job else [],
        "ended": not method_is_testing(row),
        "test_form": TestForm(),
    }
