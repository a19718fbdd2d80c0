"""Whether a certificate is what it says, as far as can be told from here: key, dates, names, chain, revocation, and
what is served. What could not be looked at is neither right nor wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from certs.domain.certinfo import certificate_info, covers, is_issued_by, is_self_signed
from certs.domain.errors import BinderyError
from certs.domain.pem import pair_check
from certs.models import Certificate, CertificateVersion, PrivateKey
from certs.services.chains import chain_of
from certs.services.keys import key_is_here, key_open
from certs.services.register import issued_of
from certs.services.served import served_now
from portal import clock


class State(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "could not check"


@dataclass(frozen=True)
class Check:
    """`code` is one of: certificate, dates, key, names, chain, revoked, served."""

    code: str
    state: State
    text: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "state": str(self.state), "text": self.text}


def certificate_verify(certificate: Certificate, *, served: bool = True) -> list[Check]:
    """Of its current version. With `served`, our own listener is asked where it is bound (network, loopback)."""
    version = certificate.current
    if version is None:
        pair = [] if certificate.request_pem else list(_key(certificate.key))
        return pair or [Check("certificate", State.UNKNOWN, "There is no certificate yet.")]
    found = [
        *_dates(version),
        *_key(version.key, version),
        *_names(certificate, version),
        *_chain(version),
        _revoked(version),
    ]
    if served and certificate.bindings.exists():
        result = served_now(certificate)
        state = {True: State.OK, False: State.WRONG, None: State.UNKNOWN}[result.ok]
        found.append(Check("served", state, result.detail))
    return found


def worst_state(checks: list[Check]) -> State:
    states = {check.state for check in checks}
    return next((state for state in (State.WRONG, State.UNKNOWN) if state in states), State.OK)


def _dates(version: CertificateVersion) -> Iterator[Check]:
    now = clock.now()
    if version.not_after <= now:
        yield Check("dates", State.WRONG, f"It expired on {version.not_after:%Y-%m-%d %H:%M} UTC.")
    elif version.not_before > now:
        yield Check("dates", State.WRONG, f"It is not valid before {version.not_before:%Y-%m-%d %H:%M} UTC.")
    else:
        yield Check("dates", State.OK, f"Valid until {version.not_after:%Y-%m-%d %H:%M} UTC.")


def _key(row: PrivateKey | None, version: CertificateVersion | None = None) -> Iterator[Check]:
    """Without a version it is a key pair."""
    if row is None:
        return  # only trusted: there is none to fit
    if row.compromised_at is not None:
        yield Check("key", State.WRONG, "Its private key is compromised.")
    if row.locked or not key_is_here(row):
        where = "has a passphrase of its own" if row.locked else f"is held {row.get_held_display()}"
        yield Check("key", State.UNKNOWN, f"Its private key {where}.")
        return
    try:
        key = key_open(row)
        if version is not None:
            pair_check(version.leaf, key)
    except BinderyError as error:
        yield Check("key", State.WRONG, str(error))
        return
    yield Check("key", State.OK, f"Its private key ({row.key_type}) is here{' and fits' if version else ''}.")


def _names(certificate: Certificate, version: CertificateVersion) -> Iterator[Check]:
    """What was wished for, and what it is bound to, has to be in it."""
    info = certificate_info(version.leaf)
    bound = certificate.bindings.exclude(server_name="").values_list("server_name", flat=True)
    wanted = sorted({*certificate.names, *bound})
    missing = [name for name in wanted if not covers(info, name)]
    if missing:
        yield Check("names", State.WRONG, f"It does not hold {', '.join(missing)}.")
    elif wanted:
        yield Check(
            "names",
            State.OK,
            "It holds the name wanted." if len(wanted) == 1 else f"It holds all {len(wanted)} names wanted.",
        )


def _chain(version: CertificateVersion) -> Iterator[Check]:
    """Each signed by the next, none of them expired, up to a root that is known here: our own, uploaded or public."""
    try:
        chain = chain_of(version)
    except BinderyError as error:
        yield Check("chain", State.WRONG, str(error))
        return
    path = [chain.leaf, *chain.intermediates, *([chain.root] if chain.root else [])]
    for issued, issuer in pairwise(path):
        if not is_issued_by(issued, issuer):
            subject = certificate_info(issued).subject or "The certificate"
            yield Check("chain", State.WRONG, f"{subject} is not signed by {certificate_info(issuer).subject}.")
            return
    expired = [each for each in path[1:] if each.not_valid_after_utc <= clock.now()]
    if expired:
        yield Check("chain", State.WRONG, f"{certificate_info(expired[0]).subject} above it has expired.")
    elif is_self_signed(path[-1]):
        about = "It signs itself." if len(path) == 1 else f"It leads to {certificate_info(path[-1]).subject}."
        yield Check("chain", State.OK, about)
    else:
        yield Check("chain", State.UNKNOWN, f"{certificate_info(path[-1]).issuer} above it is not known here.")


def _revoked(version: CertificateVersion) -> Check:
    if version.revoked_at is not None:
        why = f" ({version.revocation_reason})" if version.revocation_reason else ""
        return Check("revoked", State.WRONG, f"It was revoked on {version.revoked_at:%Y-%m-%d %H:%M} UTC{why}.")
    if version.self_signed:
        return Check("revoked", State.OK, "It signs itself, so nobody can revoke it.")
    if issued_of(version) is not None:
        return Check("revoked", State.OK, "Our own CA has not revoked it.")
    if version.revocation_trouble or version.revocation_checked_at is None:
        return Check(
            "revoked", State.UNKNOWN, version.revocation_trouble or "Its CA's list has not been looked at yet."
        )
    return Check("revoked", State.OK, f"Not in its CA's list of {version.revocation_checked_at:%Y-%m-%d %H:%M} UTC.")
