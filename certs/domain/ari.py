"""What a CA suggests about a renewal (ARI, RFC 9773), as it is kept with the certificate: `Certificate.ari`.

Kept as JSON of ISO 8601 moments. Reading is lenient: what makes no sense is as if it were not there, so that the date
rule goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from certs.domain.renewal import ari_select

LONGEST_URL = 500


@dataclass(frozen=True)
class Suggestion:
    """Moments are aware UTC. Empty while the CA was not asked, or knows nothing of the certificate."""

    start: datetime | None = None
    end: datetime | None = None
    selected: datetime | None = None  # chosen once per window (RFC 9773 §4.2)
    retry_at: datetime | None = None  # not asked again before
    explanation: str = ""  # a page of the CA that says why
    trouble: str = ""  # why the last answer could not be used

    @classmethod
    def from_json(cls, stored: object) -> "Suggestion":
        if not isinstance(stored, dict):
            return cls()
        moments = {name: moment_read(stored.get(name)) for name in ("start", "end", "selected", "retry_at")}
        return cls(**moments, explanation=url_read(stored.get("explanation")), trouble=str(stored.get("trouble") or ""))

    def as_json(self) -> dict[str, Any]:
        moments = {name: getattr(self, name) for name in ("start", "end", "selected", "retry_at")}
        texts = {"explanation": self.explanation, "trouble": self.trouble}
        return {
            **{name: moment.isoformat() for name, moment in moments.items() if moment},
            **{name: text for name, text in texts.items() if text},
        }

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        return self.start, self.end

    def is_old(self, now: datetime) -> bool:
        return self.retry_at is None or self.retry_at <= now

    def answered(self, given: "Suggestion", random: Callable[[], float]) -> "Suggestion":
        """After a good answer: its window, with the time chosen before where the window is still the same."""
        if given.start is None or given.end is None:
            return given
        kept = self.selected if self.window == given.window else None
        return replace(given, selected=kept or ari_select(given.start, given.end, random))

    def failed(self, trouble: str, retry_at: datetime, *, unknown: bool) -> "Suggestion":
        """After a bad one: what was known stays, unless the CA says that it knows nothing of the certificate."""
        kept = Suggestion() if unknown else self
        return replace(kept, trouble=trouble, retry_at=retry_at)


def moment_read(text: object) -> datetime | None:
    """A stored moment; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(str(text)) if text else None
        return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def url_read(text: object) -> str:
    """A web address that may be shown as a link; else empty."""
    if not isinstance(text, str) or len(text) > LONGEST_URL or not text.isprintable() or " " in text:
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in {"https", "http"} and parts.netloc else ""
