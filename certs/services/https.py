"""Force SSL and HSTS: switched on only where they are proven to work, and never in the way of getting back.

Force SSL is on trial until somebody who came through it confirms; the trial ends by the clock, read by read, so that it
ends without any process that would have to end it. HSTS climbs `domain.hsts.STEPS`, each earned by a day of healthy
checks. `portal/scheme.py` carries out what `policy_read` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from certs.domain import hsts
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.roles import Right
from certs.models import Binding, Certificate, PortalState
from certs.services.access import Actor, needs
from certs.services.addresses import public_url
from certs.services.answering import answerer
from certs.services.arrivals import Arrival, arrival_require
from certs.services.events import audit_record
from certs.services.front import front_read
from certs.services.portal_state import state_get, state_update
from certs.services.reachability import reach_probe_all
from certs.services.trust import answering_of, server_names
from portal import clock


@dataclass(frozen=True)
class HttpsPolicy:
    """What every response has to obey. `redirect_to` is an origin or empty; an empty `hsts_header` is not sent."""

    redirect_to: str = ""
    hsts_host: str = ""
    hsts_header: str = ""


@dataclass(frozen=True)
class HstsStanding:
    """What stands against HSTS, and whether the CA is one that browsers trust. `blocking` are those of the obstacles
    that a look at port 80 cannot lift."""

    host: str
    obstacles: list[str]
    blocking: list[str]
    public: bool


def policy_read() -> HttpsPolicy:
    state = state_get()
    public = public_url()
    redirect_to = public if force_ssl_is_on(state) and public.startswith("https://") else ""
    return HttpsPolicy(redirect_to, state.hsts_host, _hsts_header(state, public))


# Force SSL


def force_ssl_is_on(state: PortalState) -> bool:
    """A trial that nobody confirmed in time is off, whether or not anything has tidied up since."""
    return state.force_ssl and (state.force_ssl_confirm_by is None or state.force_ssl_confirm_by > clock.now())


def force_ssl_just_now() -> bool:
    """As the database has it: asked before each page over plain HTTP, in one query."""
    wish = PortalState.objects.only("force_ssl", "force_ssl_confirm_by").filter(pk=1).first()
    return wish is not None and force_ssl_is_on(wish)


@needs(Right.SETTING)
def force_ssl_enable(arrival: Arrival, *, actor: Actor) -> None:
    """Begins the trial. Raises NotAllowed unless the request came over HTTPS by the public URL."""
    arrival_require(arrival)
    if force_ssl_is_on(state_get()):
        return
    until = clock.now() + timedelta(seconds=settings.FORCE_SSL_CONFIRM_SECONDS)
    with transaction.atomic():
        state_update(force_ssl=True, force_ssl_confirm_by=until)
        audit_record(actor, "https.force-on", public_url(), before={"force_ssl": False}, after={"force_ssl": "trial"})


@needs(Right.SETTING)
def force_ssl_confirm(arrival: Arrival, *, actor: Actor) -> None:
    """Ends the trial for good. Raises NotAllowed from elsewhere or when it is too late."""
    arrival_require(arrival)
    with transaction.atomic():
        confirmed = PortalState.objects.filter(pk=1, force_ssl=True, force_ssl_confirm_by__gt=clock.now()).update(
            force_ssl_confirm_by=None
        )
        if confirmed:
            audit_record(actor, "https.force-confirm", public_url(), after={"force_ssl": True})
            return
    if not force_ssl_is_on(state_get()):
        raise NotAllowed("Force SSL has returned to off: nobody confirmed it in time.", advice="Switch it on again.")


@needs(Right.SETTING)
def force_ssl_disable(*, actor: Actor) -> None:
    with transaction.atomic():
        before = state_get().force_ssl
        state_update(force_ssl=False, force_ssl_confirm_by=None)
        audit_record(actor, "https.force-off", before={"force_ssl": before}, after={"force_ssl": False})


def force_ssl_recheck() -> None:
    """Inside the transaction that changed the public URL: what was confirmed there is on trial again."""
    until = clock.now() + timedelta(seconds=settings.FORCE_SSL_CONFIRM_SECONDS)
    PortalState.objects.filter(pk=1, force_ssl=True).update(force_ssl_confirm_by=until)


# HSTS


def hsts_standing(*, probe: bool = False, look: bool = False) -> HstsStanding:
    """For the host of the public URL. With `probe`, port 80 is tried where the listener is elsewhere, with `look` a
    front is looked at (network)."""
    public = urlsplit(public_url())
    host = (public.hostname or "") if public.scheme == "https" else ""
    if not host:
        found = hsts.host_obstacles(host)
        return HstsStanding(host, found, found, False)
    there = answerer(host, look=look)
    port = _plain_port(host, there.http_port, probe=probe)
    situation = hsts.Situation(host, public.port or 443, port, there.answering)
    moment = clock.now()
    found = [*there.obstacles, *hsts.obstacles(situation, moment)]
    blocking = [*there.obstacles, *hsts.obstacles(replace(situation, http_port=80), moment)]
    return HstsStanding(host, found, blocking, there.is_public())


@needs(Right.SETTING)
def hsts_enable(arrival: Arrival, *, typed_host: str = "", actor: Actor) -> None:
    """Begins at five minutes. Raises NotAllowed with everything that stands against it, InputError (code `typed-host`)
    where a CA outside public trust asks for the host name to be typed."""
    arrival_require(arrival)
    standing = _standing_require()
    if not standing.public and _typed(typed_host) != standing.host:
        raise InputError(
            f"This certificate comes from a CA outside public trust, so HSTS could lock out every browser that does "
            f"not know it; it will last one day at most. Type {standing.host} to go on.",
            code="typed-host",
        )
    state = state_get()
    if state.hsts and state.hsts_host == standing.host:
        return
    moment = clock.now()
    with transaction.atomic():
        state_update(
            hsts=True,
            hsts_host=standing.host,
            hsts_step=0,
            hsts_limit=hsts.step_limit(public=standing.public),
            hsts_step_since=moment,
            hsts_checked_at=moment,
        )
        audit_record(actor, "https.hsts-on", standing.host, before=_shown(state), after=_shown(state_get()))


@needs(Right.SETTING)
def hsts_hasten(arrival: Arrival, *, typed_host: str, actor: Actor) -> None:
    """The next step now, without waiting for its day. Raises NotAllowed, InputError, ConflictError."""
    arrival_require(arrival)
    state = state_get()
    if not state.hsts:
        raise ConflictError("HSTS is off.", advice="Switch it on first.")
    standing = _standing_require()
    if standing.host != state.hsts_host:
        raise ConflictError(
            f"HSTS is on for {state.hsts_host}, not for {standing.host}.", advice="Switch it off first."
        )
    if _typed(typed_host) != standing.host:
        raise InputError(f"Type {standing.host} to go on.", code="typed-host")
    limit = hsts.step_limit(public=standing.public)
    if state.hsts_step >= limit:
        raise ConflictError(f"{hsts.STEPS[state.hsts_step].label} is the longest for this certificate.")
    _raise_step(state, limit, actor)


@needs(Right.SETTING)
def hsts_disable(*, actor: Actor) -> None:
    """Every browser that comes back in time is told to forget: max-age=0 for as long as one may remember."""
    state = state_get()
    if not state.hsts:
        return
    with transaction.atomic():
        state_update(hsts=False, hsts_clearing_until=_remembered_until(state))
        audit_record(actor, "https.hsts-off", state.hsts_host, before=_shown(state), after=_shown(state_get()))


def hsts_guard(changes: Mapping[str, Certificate | None]) -> None:
    """Before bindings change (server name -> certificate, None: no binding any more) while HSTS is on.

    Raises ConflictError where what then answers for the host is refused by browsers that remember.
    """
    state = state_get()
    if not state.hsts or front_read(state).on:  # then no binding decides what browsers see
        return
    bound: dict[str, Certificate | None] = {
        binding.server_name: binding.certificate for binding in Binding.objects.select_related("certificate__current")
    }
    after = {**bound, **changes}
    certificate = next((after[name] for name in server_names(state.hsts_host) if after.get(name)), None)
    version = certificate.current if certificate else None
    answering = answering_of(version, state.hsts_host) if version else None
    found = hsts.certificate_obstacles(hsts.Situation(state.hsts_host, 443, 80, answering), clock.now())
    if found:
        raise ConflictError(
            f"HSTS is on for {state.hsts_host}, and browsers that remember it would be locked out. {found[0]}",
            advice="Switch HSTS off first, under Configuration ➜ HTTPS.",
            code="hsts",
        )


def hsts_advance() -> None:
    """Called by the tick: count a healthy check, begin the day anew after an unhealthy one, raise a step earned."""
    _trial_tidy()
    state = state_get()
    if not state.hsts:
        return
    standing = hsts_standing(probe=True)
    limit = hsts.step_limit(public=standing.public)
    is_fine = standing.host == state.hsts_host and not standing.obstacles
    healthy = answerer(standing.host).is_served() if is_fine else False
    if healthy is None:  # could not check: neither a healthy check nor an unhealthy one
        return
    if not healthy:
        state_update(hsts_limit=limit, hsts_step_since=None, hsts_checked_at=None)
        return
    moment = clock.now()
    since = moment if hsts.day_restarts(state.hsts_checked_at, moment) else state.hsts_step_since or moment
    state_update(hsts_limit=limit, hsts_checked_at=moment, hsts_step_since=since)
    if hsts.step_is_earned(state.hsts_step, limit, since, moment):
        _raise_step(state, limit, "schedule")


@needs(Right.SETTING)
def https_reset(*, actor: Actor) -> None:
    """All of it off, from the shell: no more redirects, and browsers that get through are told to forget."""
    hsts_disable(actor=actor)
    force_ssl_disable(actor=actor)


def _hsts_header(state: PortalState, public: str) -> str:
    moment = clock.now()
    if not state.hsts:
        clearing = state.hsts_clearing_until is not None and state.hsts_clearing_until > moment
        return hsts.header_value(0) if clearing else ""
    parts, there = urlsplit(public), answerer(state.hsts_host, state)
    situation = hsts.Situation(state.hsts_host, parts.port or 443, 80, there.answering)
    if there.obstacles or hsts.certificate_obstacles(situation, moment):
        return ""  # browsers that remember refuse this certificate anyway; a longer memory would only make it worse
    if parts.hostname != state.hsts_host or parts.scheme != "https" or hsts.port_obstacles(situation):
        return hsts.header_value(0)  # https://host on 443 is not the portal any more: what remembers it must forget
    return hsts.header_value(hsts.STEPS[min(state.hsts_step, state.hsts_limit)].seconds)


def _standing_require() -> HstsStanding:
    standing = hsts_standing(probe=True, look=True)
    if standing.obstacles:
        raise NotAllowed(" ".join(standing.obstacles), advice="HSTS was not switched on.", code="hsts-obstacles")
    return standing


def _plain_port(host: str, port: int, *, probe: bool) -> int:
    """The port on which people reach plain HTTP: the listener's, or 80 where something forwards that to it."""
    if port == 80 or not probe:
        return port
    return 80 if reach_probe_all([host])[0].ok else port


def _raise_step(state: PortalState, limit: int, actor: Actor) -> None:
    moment, step = clock.now(), state.hsts_step + 1
    with transaction.atomic():
        raised = PortalState.objects.filter(pk=1, hsts=True, hsts_step=state.hsts_step).update(
            hsts_step=step, hsts_limit=limit, hsts_step_since=moment, hsts_checked_at=moment
        )
        if raised:
            audit_record(actor, "https.hsts-step", state.hsts_host, before=_shown(state), after=_shown(state_get()))


def _trial_tidy() -> None:
    """The row says what already holds by the clock."""
    with transaction.atomic():
        ended = PortalState.objects.filter(pk=1, force_ssl=True, force_ssl_confirm_by__lte=clock.now()).update(
            force_ssl=False, force_ssl_confirm_by=None
        )
        if ended:
            audit_record("schedule", "https.force-returned", before={"force_ssl": "trial"}, after={"force_ssl": False})


def _remembered_until(state: PortalState) -> object:
    until = clock.now() + timedelta(seconds=hsts.STEPS[state.hsts_step].seconds)
    return max(until, state.hsts_clearing_until) if state.hsts_clearing_until else until


def _typed(text: str) -> str:
    return text.strip().lower().rstrip(".")


def _shown(state: PortalState) -> dict[str, object]:
    return {"hsts": state.hsts, "host": state.hsts_host, "max_age": hsts.STEPS[state.hsts_step].label}
