"""Activity ➜ Alarms: what is open, what was, and who has seen it."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs import selectors
from certs.domain.roles import Right
from certs.services.alarms import alarms_see, alarms_standing
from certs.views.access import actor_of, right_required

PAGE = 50
OPEN_MOST = 200


@right_required(Right.READ)
@require_safe
def alarms(request: HttpRequest) -> HttpResponse:
    found = selectors.alarms_visible_to(actor_of(request))
    standing = alarms_standing(found)
    over = found.exclude(cleared_at=None)
    context = {
        "open": standing[:OPEN_MOST],
        "count": standing.count(),
        "unseen": standing.filter(seen_at=None).exists(),
        "page": Paginator(over, PAGE).get_page(request.GET.get("page")),
        "told": selectors.channels_visible_to(actor_of(request)).filter(enabled=True).exists(),
    }
    return render(request, "activity/alarms.html", context)


@right_required(Right.ALARM_SEE, of=selectors.alarms_visible_to)
@require_POST
def seen(request: HttpRequest, pk: UUID) -> HttpResponse:
    alarm = get_object_or_404(selectors.alarms_visible_to(actor_of(request)), pk=pk)
    alarms_see([alarm], actor=actor_of(request))
    return redirect("alarms")


@right_required(Right.ALARM_SEE)
@require_POST
def seen_all(request: HttpRequest) -> HttpResponse:
    found = selectors.alarms_visible_to(actor_of(request))
    count = alarms_see(alarms_standing(found), actor=actor_of(request))
    messages.success(request, f"{count} alarm{'s' * (count != 1)} marked as seen. They stay open until they are over.")
    return redirect("alarms")
