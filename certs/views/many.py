"""Certificates ➜ many at once: chosen on the list, looked at, then done by the queue; and how far it is."""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods, require_safe

from certs import selectors
from certs.domain.errors import BinderyError, InputError
from certs.domain.roles import Right
from certs.forms.many import ASKED, ManyForm, SureForm
from certs.models import BulkJob, User
from certs.services.bulk import MOST, bulk_ask, bulk_preview
from certs.services.filters import filters_read
from certs.services.lists import certificates_csv
from certs.services.search import certificates_keys
from certs.views.access import actor_of, right_required
from portal import clock

PAGE = 100
SHOWN = 100  # of a preview: each is looked at while the person waits
EXPORT = "export"
# What the headings and buttons say.
VERBS = {
    "tag": "Change the tags of",
    "renew": "Renew",
    "revoke": "Revoke",
    "delete": "Delete",
    "import": "Import",
}
_FOR_GOOD = {"revoke", "delete"}  # the number is typed


@dataclass(frozen=True)
class Chosen:
    """Which certificates: those that were ticked, or all that the filters of `query` find."""

    keys: list[UUID]
    ticked: list[str]
    query: str

    @property
    def words(self) -> str:
        return f"{len(self.keys):,} certificate{'' if len(self.keys) == 1 else 's'}"


@right_required(Right.READ)
@require_http_methods(["GET", "POST"])
def many(request: HttpRequest) -> HttpResponse:
    """Without `step` what the list sent, “look” with what is to be known, “do” once it was seen."""
    actor, action = actor_of(request), request.POST.get("action", "")
    back = _list_url(request.POST.get("query", ""))
    if action not in {*VERBS, EXPORT} - {"import"}:
        return redirect(back)
    try:
        chosen = _chosen(request, actor)
    except BinderyError as error:
        messages.error(request, str(error))
        return redirect(back)
    if action == EXPORT:
        return _file(certificates_csv(chosen.keys, viewer=actor))
    step = request.POST.get("step", "")
    form = ManyForm(request.POST if step or action not in ASKED else None, action=action)
    context = {"form": form, "action": action, "verb": VERBS[action], "chosen": chosen, "back": back}
    if form.is_valid():
        digest, expected = _digest(action, form.options, chosen.keys), str(len(chosen.keys))
        confirm = SureForm(request.POST if step == "do" else None, expected=expected, typed=action in _FOR_GOOD)
        if confirm.is_bound and request.POST.get("digest") != digest:
            messages.warning(request, "This is not what was shown. Look again at what would happen.")
        elif confirm.is_valid():
            job = form.attempt(lambda: bulk_ask(action, chosen.keys, options=form.options, actor=actor))
            if job is not None:
                return redirect("job", pk=job.pk)
        context |= {"digest": digest, "confirm": confirm, **_preview(form, action, chosen.keys, actor)}
    return render(request, "certificates/many.html", context)


def _preview(form: ManyForm, action: str, keys: list[UUID], actor: User) -> dict[str, Any]:
    lines = form.attempt(lambda: bulk_preview(action, keys[:SHOWN], options=form.options, actor=actor))
    if lines is None:
        return {}
    bad = sum(not line.ok for line in lines)
    return {"lines": lines, "bad": bad, "beyond": len(keys) - len(lines), "is_vain": bad == len(keys)}


@right_required(Right.READ)
@require_safe
def jobs(request: HttpRequest) -> HttpResponse:
    found = selectors.jobs_visible_to(actor_of(request)).select_related("requested_by", "token").defer("results")
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    rows = [(job, job_title(job)) for job in page]
    return render(request, "activity/many_jobs.html", {"page": page, "rows": rows})


def job_context(request: HttpRequest, pk: UUID) -> dict[str, Any]:
    """What `activity/_many.html` needs. Raises Http404."""
    job = selectors.jobs_visible_to(actor_of(request)).select_related("requested_by", "token").filter(pk=pk).first()
    if job is None:
        raise Http404
    only = request.GET.get("only") == "failed"
    lines = [line for line in job.results if not (only and line["ok"])]
    return {
        "job": job,
        "title": job_title(job),
        "ended": job.finished_at is not None,
        "tried": job.done + job.failed,
        "page": Paginator(lines, PAGE).get_page(request.GET.get("page")),
        "only_failed": only,
    }


def job_title(job: BulkJob) -> str:
    return f"{VERBS.get(job.action, job.action)} {job.total:,} certificate{'' if job.total == 1 else 's'}"


def _chosen(request: HttpRequest, actor: User) -> Chosen:
    """Raises InputError where none is meant, or more than one job takes."""
    query = request.POST.get("query", "")
    if request.POST.get("which") == "found":
        keys, ticked = certificates_keys(actor, filters_read(QueryDict(query)), MOST + 1), list[str]()
    else:
        ticked = list(dict.fromkeys(request.POST.getlist("ticked")))
        keys = [UUID(word) for word in ticked if _is_id(word)]
        if not keys:
            raise InputError("No certificate was ticked.", advice="Tick some, or choose all that were found.")
    if len(keys) > MOST:
        raise InputError(
            f"These are more than {MOST:,} certificates, which one job takes at most.",
            advice="Narrow the search, and go on with the rest afterwards.",
        )
    if not keys:
        raise InputError("No certificate is found any more.", advice="Search again.")
    return Chosen(keys, ticked, query)


def _is_id(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True


def _digest(action: str, options: dict[str, Any], keys: list[UUID]) -> str:
    """Of what was looked at: what is done is what was seen."""
    return hashlib.sha256(repr([action, sorted(options.items()), keys]).encode()).hexdigest()


def _list_url(query: str) -> str:
    return f"{reverse('certificates')}{'?' if query else ''}{QueryDict(query).urlencode()}"


def _file(text: str) -> HttpResponse:
    name = f"certificates-{clock.now():%Y-%m-%d}.csv"
    headers = {"Content-Disposition": content_disposition_header(as_attachment=True, filename=name) or "attachment"}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)
