"""How a request came in: what may be switched on depends on having come over HTTPS by the public URL."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from certs.domain.errors import NotAllowed
from certs.services.addresses import public_url, url_make


@dataclass(frozen=True)
class Arrival:
    """How a request came in: over TLS or not, and its host as the browser wrote it, with the port if any."""

    secure: bool
    host: str

    @property
    def origin(self) -> str:
        parts = urlsplit(f"//{self.host}")
        return url_make("https" if self.secure else "http", parts.hostname or "", parts.port)


def public_url_arrival(arrival: Arrival) -> bool:
    """Whether the request itself came over HTTPS by the public URL."""
    return arrival.secure and arrival.origin == public_url()


def arrival_require(arrival: Arrival) -> None:
    """Raises NotAllowed with the way to get there."""
    public = public_url()
    if not public.startswith("https://"):
        raise NotAllowed(
            f"The public URL is {public}, which is not HTTPS.",
            advice="Set it under Configuration ➜ Bindings once the portal answers over HTTPS.",
            code="arrival",
        )
    if not public_url_arrival(arrival):
        raise NotAllowed(
            f"This page was opened as {arrival.origin}; only from {public} is it proven that HTTPS works for you.",
            advice=f"Open {public}, then try again.",
            code="arrival",
        )
