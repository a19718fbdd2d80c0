"""Configuration ➜ TLS in front: the setting with its trial, who was noticed, what is served, what to put there."""

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.domain.errors import NotAllowed
from certs.domain.fronts import challenges_filled, fronts_filled
from certs.forms.front import FrontForm
from certs.models import PortalState
from certs.selectors import Shown
from certs.services.addresses import host_is_accepted, public_url
from certs.services.export import export_place
from certs.services.front import Front, front_change, front_on_trial, front_read, front_silent
from certs.services.front_check import Seen, front_look, front_shown, front_version
from certs.services.front_notices import notice_dismiss, notices_read
from certs.services.front_trial import front_confirm
from certs.services.https import force_ssl_is_on
from certs.services.links import session_link_make
from certs.services.portal_state import state_get
from certs.services.trust import version_answering
from certs.services.upstreams import Upstreams, upstreams
from certs.views.access import actor_of, administrator_required, portal_required
from certs.views.configuration.arriving import arrival_of, handed_on
from portal import clock


@portal_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def front(request: HttpRequest) -> HttpResponse:
    return _change(request) if request.method == "POST" else _page(request, FrontForm(front=front_read()))


@administrator_required
def _change(request: HttpRequest) -> HttpResponse:
    form = FrontForm(request.POST, front=front_read())
    if form.is_valid():
        changed = form.attempt(lambda: front_change(**form.cleaned_data, actor=actor_of(request)))
        if changed is False:
            messages.info(request, "Nothing to change: it is so already.")
        if changed is not None:
            return _onwards(request) if changed else redirect("front")
    return _page(request, form)


@administrator_required
@require_POST
def trust(request: HttpRequest, peer: str) -> HttpResponse:
    """One click, for a proxy that was noticed on this machine or in an inner network; others have to be typed."""
    notice = next((one for one in notices_read() if one.peer == peer and one.near), None)
    if notice is None:
        raise NotAllowed(
            f"{peer} was not noticed on this machine or in an inner network.",
            advice="Type its address under Configuration ➜ TLS in front, if you know that it is yours.",
        )
    front_change(on=True, proxies=[*front_read().shown, peer], actor=actor_of(request))
    return _onwards(request)


@administrator_required
@require_POST
def dismiss(request: HttpRequest, peer: str) -> HttpResponse:
    notice_dismiss(peer, actor=actor_of(request))
    messages.success(request, f"{peer} is not suggested again.")
    return redirect("front")


@administrator_required
@require_POST
def go(request: HttpRequest) -> HttpResponse:
    """To the public URL with the session."""
    return _going(request, public_url())


@administrator_required
@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    by = handed_on(request)
    front_confirm(arrival_of(request), through=by is not None and by.says_scheme, actor=actor_of(request))
    on = front_read().on
    messages.success(request, "Kept: what the listed proxies say is believed." if on else "Kept: no proxy is believed.")
    return redirect("front")


@portal_required
@never_cache
@require_safe
def look(request: HttpRequest) -> HttpResponse:
    """A fragment: what the public URL shows just now."""
    return render(request, "configuration/_front_seen.html", seen_context(front_look()))


def seen_context(seen: Seen | None) -> dict[str, object]:
    return {"seen": seen, "seen_shown": front_shown(seen), "seen_version": front_version(seen) if seen else None}


def shown(state: PortalState) -> Shown:
    found = front_read(state)
    if not found.on:
        return Shown("unknown", "off")
    if front_on_trial(state):
        return Shown("warning", "on trial")
    if not found.listed:
        return Shown("warning", "on, but no proxy is listed, so none is believed")
    return Shown("ok", f"on, {', '.join(found.shown[:3])}{' …' if len(found.shown) > 3 else ''} believed")


def _onwards(request: HttpRequest) -> HttpResponse:
    """A browser that speaks HTTPS with a front is another one to the portal from now on: its session goes with it."""
    origin = request.META.get("HTTP_ORIGIN", "")
    parts = urlsplit(origin)
    through = parts.scheme == "https" and (handed_on(request) is not None or not request.is_secure())
    if through and host_is_accepted(parts.hostname or ""):
        return _going(request, origin)
    return redirect("front")


def _going(request: HttpRequest, url: str) -> HttpResponse:
    token = session_link_make(actor_of(request), reverse("front"))
    link = url + reverse("session", args=[token])
    return render(request, "configuration/front_going.html", {"url": url, "link": link})


def _page(request: HttpRequest, form: FrontForm) -> HttpResponse:
    state, now, by, arrival = state_get(), front_read(), handed_on(request), arrival_of(request)
    url = public_url()
    until = state.front_confirm_by
    left = max(0, round((until - clock.now()).total_seconds())) if until else 0
    adopts = not settings.PUBLIC_URL and not url.startswith("https://")
    needs_arrival = now.on or force_ssl_is_on(state) or state.hsts
    arrived = arrival.secure and (arrival.origin == url or adopts)
    context = {
        "form": form,
        "state": state,
        "front": now,
        "shown": shown(state),
        "on_trial": front_on_trial(state),
        "trial_left": left,
        "may_confirm": arrived and (by is not None or not now.on) if needs_arrival else True,
        "adopts": arrival.origin if adopts and now.on and arrival.secure else "",
        "public_url": url,
        "public_is_https": url.startswith("https://"),
        "by": by,
        "here": arrival.origin,
        "client": request.META.get("REMOTE_ADDR", ""),
        "notices": notices_read(state),
        "silent": front_silent(state),
        "locked": settings.TLS_IN_FRONT_LOCKED and settings.TRUSTED_PROXIES_LOCKED,
        **_snippets(now, url),
    }
    return render(request, "configuration/front.html", context)


def _snippets(now: Front, url: str) -> dict[str, object]:
    parts = urlsplit(url)
    name = parts.hostname if parts.hostname and "." in parts.hostname else "portal.example.com"
    version = version_answering(name)
    certificate = version.certificate if version and not version.self_signed else None
    exported = export_place(certificate) if certificate else None
    directory = exported or f"/etc/ssl/{name}"
    there = upstreams()
    upstream = _upstream(now, there)
    return {
        "name": name,
        "publish": there.publish,
        "fronts": fronts_filled(
            name=name, upstream=upstream, certificate=f"{directory}/fullchain.pem", key=f"{directory}/privkey.pem"
        ),
        "challenges": challenges_filled(name=name, upstream=upstream),
        "exported": certificate if exported else None,
        "directory": directory,
    }


def _upstream(now: Front, there: Upstreams) -> str:
    """Where the front reaches plain HTTP: as a server of this machine unless all that is listed is elsewhere."""
    is_here = not now.listed or any(network.is_loopback for network in now.listed)
    return there.own if is_here else there.others
