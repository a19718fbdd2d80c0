"""Where names lead, hop by hop, and what a server there needs: the look that explains, and that proves a change."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from certs.domain.errors import NameRefused
from certs.domain.names import NameRules, name_parse
from certs.domain.roles import Right
from certs.services.access import may
from certs.services.elsewhere import MOST_NAMES, names_look
from certs.views.access import actor_of, right_required

_RULES = NameRules(dotless=True, address=True)


@right_required(Right.CERTIFICATE_ADD)
@never_cache
@require_POST
def where(request: HttpRequest) -> HttpResponse:
    """`name` may be repeated. A fragment for a page that asks for one, else a page of its own. Stores nothing.

    Who sets up the portal and ticks that private addresses are permitted may see what answers there.
    """
    try:
        names = [name_parse(name, _RULES) for name in request.POST.getlist("name")[:MOST_NAMES]]
        trouble = "" if names else "No name was given."
    except NameRefused as error:
        names, trouble = [], str(error)
    private = "allow_private_ca" in request.POST and may(actor_of(request), Right.SETTING)
    found = names_look(list(dict.fromkeys(names)), allow_private=private) if names else []
    part = request.headers.get("HX-Request") == "true"
    template = "includes/wheres.html" if part else "configuration/where.html"
    return render(request, template, {"wheres": found, "trouble": trouble})
