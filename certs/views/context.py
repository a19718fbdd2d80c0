"""What the base layout shows on every page: the navigation, and the banners of what a person should know.

Everything is worked out only when the layout is rendered: a fragment or a file costs nothing, and neither does anybody
who has not logged in. A page costs one row of settings and one of identity, a look for a binding, for alarms and for
channels in trouble, and the worker's sign of life.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from certs.domain.alarms import Level
from certs.domain.forwarded import NOT_BELIEVED
from certs.domain.roles import Right
from certs.models import Binding, Channel, User
from certs.selectors import alarms_visible_to
from certs.services.access import may, rights_of
from certs.services.alarms import alarms_standing
from certs.services.bindings import bindings_default_only_placeholder
from certs.services.client_auth import Presented
from certs.services.container import volume_risk
from certs.services.front import front_read
from certs.services.front_notices import notice_suggested
from certs.services.identity import ALARM as IDENTITY
from certs.services.identity import identity_held, identity_is_trial
from certs.services.portal_state import state_get
from certs.services.queue import worker_alive
from certs.views.client_certificates import presented_of
from portal import home


@dataclass(frozen=True)
class Page:
    label: str
    url: str
    current: bool
    exact: bool


@dataclass(frozen=True)
class Banner:
    """`kind` is ok, info, warning or danger; the action is a link (`url`) or a button (`post_url`)."""

    kind: str
    title: str
    text: str
    code: str = ""
    action: str = ""
    url: str = ""
    post_url: str = ""


_PAGES = (
    ("Home", "home"),
    ("Certificates", "certificates"),
    ("Authorities", "authorities"),
    ("Configuration", "configuration"),
    ("Activity", "activity"),
    ("Help", "help"),
)


_ALARMS = 100  # are counted


class Shell:
    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.version = settings.VERSION

    @cached_property
    def pages(self) -> list[Page]:
        path = self._request.path
        return [
            Page(
                label,
                url := reverse(name),
                current=path == url or (url != "/" and path.startswith(url)),
                exact=path == url,
            )
            for label, name in _PAGES
        ]

    @cached_property
    def client_certificate(self) -> Presented | None:
        return presented_of(self._request)

    @cached_property
    def only_placeholder(self) -> bool:
        return bindings_default_only_placeholder()

    @cached_property
    def banners(self) -> list[Banner]:
        user = self._request.user
        if not isinstance(user, User):
            return []
        found = [self._held(), self._worker(), self._volume(), self._alarms(), self._insecure(), self._placeholder()]
        if self._may_set:
            found += [self._channels(), self._front(), self._key_ring(), self._import_offer(), self._import_error()]
        return [banner for banner in found if banner is not None]

    @cached_property
    def _may_set(self) -> bool:
        return may(self._request.user, Right.SETTING)

    @cached_property
    def _state(self) -> Any:
        return state_get()

    @cached_property
    def _is_home(self) -> bool:
        return self._request.path == reverse("home")

    def _held(self) -> Banner | None:
        """On every page, until a person has said which portal goes on; of a copy for trying it stays."""
        held = identity_held()
        if not held or self._request.path == reverse("take-over"):
            return None
        title = "This portal may be a copy: it orders nothing."
        if identity_is_trial():
            title, held = "This is a copy for trying.", "It serves what it has. It orders, renews and revokes nothing."
        if not self._may_set:
            return Banner("danger", title, held)
        return Banner("danger", title, held, action="Say which portal goes on", url=reverse("take-over"))

    def _worker(self) -> Banner | None:
        if worker_alive():
            return None
        return Banner(
            "danger",
            "The worker is not running.",
            "The portal keeps serving; renewals and orders wait until it is back.",
            action="What to do",
            url=f"{reverse('help')}#worker",
        )

    def _alarms(self) -> Banner | None:
        """What nobody has seen yet; a dead worker and a portal that is held have banners of their own."""
        unseen = (
            alarms_standing(alarms_visible_to(self._request.user))
            .filter(seen_at=None)
            .exclude(key__in=["worker", IDENTITY])
        )
        found = list(unseen.values_list("level", "subject")[:_ALARMS])
        if not found or self._request.path == reverse("alarms"):
            return None
        level, subject = found[0]
        count = f"{len(found)} alarms" if len(found) < _ALARMS else f"{_ALARMS} alarms or more"
        return Banner(
            "danger" if level >= Level.URGENT else "warning",
            "An alarm is open." if len(found) == 1 else f"{count} are open.",
            subject,
            action="Look",
            url=reverse("alarms"),
        )

    def _channels(self) -> Banner | None:
        failing = Channel.objects.filter(enabled=True, failures__gt=0).only("name", "last_trouble").first()
        if failing is None:
            return None
        return Banner(
            "danger",
            f"Alarms do not get through by {failing.name}.",
            failing.last_trouble,
            action="Notifications",
            url=reverse("notifications"),
        )

    def _insecure(self) -> Banner | None:
        # The welcome page speaks of this itself.
        if self._request.is_secure() or (self._is_home and self.only_placeholder):
            return None
        text = "What you type here can be read on the way."
        if self._request.META.get(NOT_BELIEVED):
            return Banner(
                "warning",
                "The portal cannot see whether this connection uses TLS.",
                "A proxy says that it does, and is not on the list of those that are believed.",
                action="TLS in front",
                url=reverse("front"),
            )
        if self.only_placeholder:
            return Banner(
                "warning", "This connection does not use TLS.", text, action="Set up TLS", url=reverse("home")
            )
        return Banner("warning", "This connection does not use TLS.", text, action="Use HTTPS", url=reverse("go"))

    def _placeholder(self) -> Banner | None:
        if self._is_home or not self.only_placeholder or not self._request.is_secure():
            return None
        if front_read(self._state).on:  # then nobody meets it
            return None
        return Banner(
            "warning",
            "HTTPS answers with a placeholder.",
            "Browsers warn of it until a certificate is bound.",
            action="Choose one",
            url=reverse("home"),
        )

    def _volume(self) -> Banner | None:
        risk = volume_risk()
        return Banner("danger", "Not on a volume.", f"{risk.text} {risk.mend}") if risk else None

    def _front(self) -> Banner | None:
        """A proxy on this machine or in an inner network that looks like the end of TLS, and is not believed."""
        notice = notice_suggested(self._state)
        if notice is None or settings.TLS_IN_FRONT_LOCKED or self._request.path == reverse("front"):
            return None
        return Banner(
            "info",
            f"A proxy at {notice.peer} seems to stand in front of the portal.",
            f"It sends {', '.join(notice.headers)}, which the portal does not believe. If TLS ends there, believe it: "
            "the change is on trial at first. Else Configuration ➜ TLS in front puts this notice away.",
            action=f"Believe {notice.peer}",
            post_url=reverse("front-trust", args=[notice.peer]),
        )

    def _key_ring(self) -> Banner | None:
        place = home.key_ring_place()
        if self._state.ring_saved_at is not None or not place:
            return None
        return Banner(
            "warning",
            "Save a copy of the key ring.",
            "Without it no private key in the database can be read, and no database backup holds it. It is",
            code=place,
            action="I have a safe copy",
            post_url=reverse("ring-saved"),
        )

    def _import_offer(self) -> Banner | None:
        offered = self._state.import_offer_id
        if offered is None or Binding.objects.filter(certificate=offered).exists():
            return None
        return Banner(
            "info",
            "A certificate was found in the data directory.",
            "It was taken in, but not bound, since another certificate is.",
            action="Look at it",
            url=reverse("certificate", args=[offered]),
        )

    def _import_error(self) -> Banner | None:
        if not self._state.import_error:
            return None
        return Banner("warning", "server.crt and server.key:", self._state.import_error)


def portal(request: HttpRequest) -> dict[str, Any]:
    """`rights`: what the person may somewhere, or as a whole; a page about one thing gives its own."""
    return {"shell": Shell(request), "rights": SimpleLazyObject(lambda: rights_of(request.user))}
