"""What ends TLS in front of the portal, and whether it is believed and does what it must."""

from collections.abc import Iterator

from certs.domain.diagnosis import Line, Situation, State, bad, fine, look, note
from certs.services.front import front_on_trial, front_read, front_silent
from certs.services.front_check import front_look, front_shown
from certs.services.front_notices import notice_suggested
from certs.services.portal_state import state_get

_PAGE = "Configuration ➜ TLS in front has the lines for nginx, Apache, HAProxy, Traefik and Ingress."
_STATES = {"ok": State.OK, "warning": State.NOTE, "danger": State.BAD, "unknown": State.UNKNOWN}


@look("public-url")
def tls_in_front(situation: Situation) -> Iterator[Line]:
    """Whether what ends TLS in front of the portal is believed, and says how requests came."""
    state = state_get()
    front, notice = front_read(state), notice_suggested(state)
    if notice is not None:
        yield note(
            "tls-in-front",
            f"A proxy at {notice.peer} seems to stand in front of the portal, and is not believed.",
            f"If TLS ends there: manage.py tls_in_front --on --trust {notice.peer}. Else Configuration ➜ TLS in front "
            "puts this away.",
            evidence=", ".join(notice.headers),
        )
    if not front.on:
        if notice is None:
            yield fine("tls-in-front", "TLS ends in the portal itself: no proxy is believed.")
        return
    listed = ", ".join(front.shown)
    if not front.listed:
        yield bad("tls-in-front", "TLS ends in front, but no proxy is listed, so none is believed.", _PAGE)
    elif front_silent(state):
        yield bad("tls-in-front", "A listed proxy hands requests on without X-Forwarded-Proto.", _PAGE, evidence=listed)
    elif front_on_trial(state):
        yield note(
            "tls-in-front", "TLS in front is on trial, and returns by itself unless it is kept.", evidence=listed
        )
    else:
        yield fine(
            "tls-in-front", "TLS ends in front of the portal, and the listed proxies are believed.", evidence=listed
        )


@look("public-url", seconds=16)
def front_serves(situation: Situation) -> Iterator[Line]:
    """Whether what ends TLS in front serves a good certificate and leads to this portal."""
    if not front_read().on:
        return
    seen = front_look()
    shown = front_shown(seen)
    mend = "" if shown.kind == "ok" else "Configuration ➜ TLS in front shows what was seen."
    yield Line("front-serves", _STATES[shown.kind], f"{shown.words[:1].upper()}{shown.words[1:].rstrip('.')}.", mend)
    if seen and seen.seen_at and not seen.reaches:
        yield bad("front-serves", f"{seen.origin} does not lead to this portal.", _PAGE, evidence=seen.answer)
