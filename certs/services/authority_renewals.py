"""What the CA above a certificate means for its renewal."""

from dataclasses import dataclass
from datetime import timedelta

from certs.domain.alarms import BY_HAND_BEFORE
from certs.domain.profiles import BUILT_IN
from certs.models import Authority, Certificate

# A CA is renewed so early that what it signs is not cut short by its end.
CA_BEFORE_DAYS = 365
_GAIN = 10  # a renewal that adds less than this part of the lifetime is none


@dataclass(frozen=True)
class Above:
    """Of the CA that would sign the next version; all empty where it signs itself."""

    renewed: str = ""  # what happened to it since it signed this one
    needs_person: str = ""  # why it cannot sign by itself
    cut_short: bool = False  # the life of this one ended with that of its CA, as that was
    is_ca: bool = False

    def renew_before_days(self, usual: int) -> int:
        if self.is_ca:
            return max(usual, CA_BEFORE_DAYS)
        return max(usual, BY_HAND_BEFORE.days) if self.needs_person else usual


def above_of(row: Certificate) -> Above:
    """`row` with its authority, that one's certificate and current version; no query where they were read along."""
    own, authority = getattr(row, "own_authority", None), row.authority
    if own is not None and own.retired_at is not None:
        return Above(needs_person="It is retired: nothing is signed with it any more.", is_ca=True)
    if authority is None:
        # A root: its successor is to be trusted by hand everywhere, so a person begins it.
        locked = "It is offline: a person has to give its passphrase." if own is not None and own.offline else ""
        return Above(needs_person=locked, is_ca=own is not None)
    signer = authority.following
    return Above(
        renewed=_renewed(row, authority, signer),
        needs_person=_needs_person(row, signer),
        cut_short=_cut_short(row),
        is_ca=own is not None,
    )


def _renewed(row: Certificate, authority: Authority, signer: Authority) -> str:
    if signer.pk != authority.pk:
        return f"{signer} has taken over from {authority}."
    made, own = authority.certificate.current, row.current
    if made is None or own is None or made.created_at <= own.created_at:
        return ""
    return f"{authority} has a new certificate since."


def _needs_person(row: Certificate, signer: Authority) -> str:
    version, own = signer.certificate.current, row.current
    if signer.retired_at is not None:
        return f"{signer} is retired and nobody took over: issue it from another CA."
    if version is None or version.revoked_at is not None:
        return f"The certificate of {signer} is revoked: issue it from another CA."
    if signer.offline:
        return f"{signer} is offline: a person has to give its passphrase."
    if own is not None and version.not_after - own.not_after < own.lifetime / _GAIN:
        return f"{signer} ends at that time itself: renew that CA first."
    return ""


def _cut_short(row: Certificate) -> bool:
    version = row.current
    if version is None:
        return False
    profile = BUILT_IN.get(str(row.wish.get("profile", "")))
    days = row.wish.get("days") or (profile.usual_days if profile else 0)
    return bool(days) and version.lifetime < timedelta(days=int(days)) - timedelta(minutes=1)
