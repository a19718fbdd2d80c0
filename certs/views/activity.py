"""Activity: jobs with their steps as they happen, and who changed what."""

from dataclasses import dataclass
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from certs import selectors
from certs.domain import states
from certs.domain.roles import Right
from certs.models import BulkJob, Order
from certs.services import addresses
from certs.services.access import PORTAL, may, rights_of
from certs.services.by_hand import by_hand_awaited, by_hand_go_on, by_hand_look
from certs.services.explanations import order_explain, order_next_try
from certs.services.issuing import order_retry
from certs.services.orders import CANCELLABLE, order_cancel
from certs.services.trust import browser_warning
from certs.views import many
from certs.views.access import actor_of, may_use_last, right_required
from certs.views.configuration.arriving import rebind_notice
from certs.views.paging import Pages

PAGE = 50


@dataclass(frozen=True)
class Step:
    label: str
    state: str  # done, now, stopped, waiting
    words: str


@right_required(Right.READ)
@require_safe
def activity(request: HttpRequest) -> HttpResponse:
    found = selectors.orders_visible_to(actor_of(request))
    return render(request, "activity/jobs.html", {"page": Pages(found, PAGE).get_page(request.GET.get("page"))})


@right_required(Right.READ)
@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    found = selectors.audit_visible_to(actor_of(request))
    return render(request, "activity/changes.html", {"page": Pages(found, PAGE).get_page(request.GET.get("page"))})


@right_required(Right.READ)
@never_cache
@require_safe
def job(request: HttpRequest, pk: UUID) -> HttpResponse:
    order = selectors.orders_visible_to(actor_of(request)).filter(pk=pk).first()
    if order is not None:
        return render(request, "activity/job.html", job_context(request, order))
    if BulkJob.objects.filter(pk=pk).exists():
        return render(request, "activity/many.html", many.job_context(request, pk))
    # What is no order is a matter of the portal: a test of a challenge method, another address.
    lines = list(selectors.job_lines(pk)) if may(actor_of(request), Right.READ, PORTAL) else []
    if not lines or Order.objects.filter(pk=pk).exists():
        raise Http404
    return render(request, "activity/lines.html", {"lines": lines, "pk": pk})


@right_required(Right.READ)
@never_cache
@require_safe
def job_steps(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The fragment that the job's page asks for every second until the job has ended."""
    order = selectors.orders_visible_to(actor_of(request)).filter(pk=pk).first()
    if order is None:
        return render(request, "activity/_many.html", many.job_context(request, pk))
    return render(request, "activity/_job.html", job_context(request, order))


@right_required(Right.READ)
@never_cache
@require_safe
def job_records(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a person has to put in place, and what each server shows of it now: a part of the job's page, asked for
    every few seconds; without scripts a page of its own."""
    order = selectors.orders_visible_to(actor_of(request)).filter(pk=pk).first()
    if order is None:
        raise Http404
    part = request.headers.get("HX-Request") == "true"
    template = "activity/_records.html" if part else "activity/records.html"
    return render(request, template, {"order": order, "by_hand": by_hand_look(order), "part": part})


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.orders_visible_to)
@require_POST
def job_retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Try again what failed, with the same wish."""
    order = get_object_or_404(selectors.orders_visible_to(actor_of(request)), pk=pk)
    return redirect("job", pk=order_retry(order, actor=actor_of(request), use_last=may_use_last(request)).pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.orders_visible_to)
@require_POST
def job_cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    order = get_object_or_404(selectors.orders_visible_to(actor_of(request)), pk=pk)
    order_cancel(order, actor=actor_of(request))
    return redirect("job", pk=pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.orders_visible_to)
@require_POST
def job_records_told(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The records are in place, says a person, where the portal cannot see them."""
    order = get_object_or_404(selectors.orders_visible_to(actor_of(request)), pk=pk)
    by_hand_go_on(order, actor=actor_of(request))
    return redirect("job", pk=pk)


def job_context(request: HttpRequest, order: Order) -> dict[str, object]:
    """What `activity/_job.html` needs, on whatever page it stands."""
    context: dict[str, object] = {
        "order": order,
        "steps": order_steps(order),
        "lines": selectors.job_lines(order.pk),
        "ended": order.finished_at is not None,
        "by_hand": by_hand_awaited(order),
        "rights": rights_of(actor_of(request), order),
        "can_cancel": order.finished_at is None and order.state in CANCELLABLE,
    }
    if order.state == states.FAILED:
        context |= {"why": order_explain(order), "next_try": order_next_try(order)}
    if order.state == states.DONE and order.bind:
        context |= arrival(request, order)
    return context


def order_steps(order: Order) -> list[Step]:
    """The steps of `domain.states.ORDER_STEPS` as a person sees them: done, under way, stopped, or still to come."""
    ended = order.finished_at is not None or order.state in (states.FAILED, states.CANCELLED)
    reached = _reached(order)
    wanted = [step for step in states.ORDER_STEPS if order.bind or step[0] not in ("binding", "check")]
    steps = []
    for number, (_, label, _) in enumerate(wanted):
        if order.state == states.DONE and number == len(wanted) - 1 and order.bind and not order.served:
            steps.append(Step(label, "stopped", "not served" if order.served is False else "could not check"))
        elif order.state == states.DONE or number < reached:
            steps.append(Step(label, "done", "done"))
        elif number > reached:
            steps.append(Step(label, "waiting", "not reached" if ended else "to come"))
        elif ended:
            steps.append(Step(label, "stopped", states.ORDER.states[order.state].label))
        else:
            steps.append(Step(label, "now", "under way"))
    return steps


def _reached(order: Order) -> int:
    """The number of the step under way; for an order that failed, the step in which it did."""
    by_state = {state: number for number, step in enumerate(states.ORDER_STEPS) for state in step[2]}
    if order.state in by_state:
        return by_state[order.state]
    keys = [step[0] for step in states.ORDER_STEPS]
    last = selectors.job_lines(order.pk).exclude(step="").order_by("-id").first()
    return keys.index(last.step) if last is not None and last.step in keys else 0


def arrival(request: HttpRequest, order: Order) -> dict[str, object]:
    """The new HTTPS address, whether the browser will warn there, and whether this page came from there already.

    While another address is on trial the page leads there: only there it can be kept.
    """
    host = addresses.host_of(order.names)
    url = addresses.https_url(host)
    here = f"{request.scheme}://{request.get_host()}"
    return {
        "https_url": url,
        "host": host,
        "arrived": here == url,
        "warning": browser_warning(order.version, host),
        **rebind_notice(request, host),
    }
