"""The names of the portal, from outside as far as this server sees it: A, AAAA and CAA, ports 80 and 443."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from urllib.parse import urlsplit

from django.conf import settings

from certs.domain.diagnosis import Line, Situation, State, bad, fine, look, note, unknown
from certs.domain.names import is_address
from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, Binding, Certificate, ChallengeMethod
from certs.selectors import certificates_all
from certs.services.addresses import LOOPBACK, public_url, url_make
from certs.services.portal_state import state_get
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from certs.services.reachability import NO_ADDRESS, OTHER, private_allowed, reach_probe
from certs.services.self_probe import portal_asked
from certs.transports.dns import Resolver

MOST = 12  # names; a look at more would not end in time
_ROWS = 1000  # certificates, besides those that are bound, among which these names are
_STATES = {Level.OK: State.OK, Level.UNKNOWN: State.UNKNOWN, Level.WARNING: State.NOTE, Level.ERROR: State.BAD}


@dataclass(frozen=True)
class _Order:
    """Names that would be asked for alike."""

    account: AcmeAccount
    method: ChallengeMethod | None
    certificate: Certificate
    names: tuple[str, ...]


def line_of(finding: Finding) -> Line:
    mend = "\n".join(filter(None, (finding.advice, finding.record)))
    mend = mend if finding.level != Level.OK else ""
    return Line(
        finding.code if finding.code == "clock" else f"names-{finding.code}",
        _STATES[finding.level],
        finding.sentence,
        mend,
        finding.proof,
    )


@look("names", seconds=18)
def names(situation: Situation) -> Iterator[Line]:
    """Whether the CA would find the names of the certificates."""
    orders, left_out = _orders()
    until = time.monotonic() + 15
    for number, order in enumerate(orders):
        seconds = (until - time.monotonic()) / (len(orders) - number)
        found = preflight_run(
            order.names,
            Target.of(order.account),
            method=order.method,
            certificate=order.certificate,
            seconds=max(2.0, seconds),
        )
        yield from (line_of(finding) for finding in found if finding.name)  # the CA itself has lines of its own
    if left_out:
        yield unknown("names-time", f"At least {left_out} more names were not looked at: that would take too long.")


@look("names", seconds=8)
def public_name(situation: Situation) -> Iterator[Line]:
    """Whether the public URL's name is in DNS."""
    host = _public_host()
    looked_at = {name for order in _orders()[0] for name in order.names}
    if not host and not looked_at:
        yield unknown("public-name", "There is no name to look at: no certificate has one, the public URL neither.")
    if not host or host in looked_at:
        return
    resolver = Resolver(tuple(settings.DNS_RESOLVERS), tuple(settings.DNS_AUTHORITIES), 6.0)
    a, aaaa = resolver.addresses(host)
    found = [*aaaa.values, *a.values]
    if found:
        yield fine("public-name", f"{host} is in DNS.", evidence=", ".join(found))
    elif a.said or aaaa.said:
        mend = f"Add an A or an AAAA record for {host} with the public address of this portal."
        yield bad("public-name", f"{host} has no address in DNS.", mend)
    else:
        yield unknown("public-name", f"No name server told the addresses of {host}.")


@look("names", seconds=8)
def public_port_80(situation: Situation) -> Iterator[Line]:
    """Whether port 80 of the public name leads to this portal."""
    host = _public_host()
    if not host:
        return
    result = reach_probe(host, allow_private=private_allowed())
    if result.ok:
        sentence = f"Port 80 of {host} leads to this portal, as seen from this server."
        yield fine("public-port-80", sentence, evidence=f"GET {result.url}")
    elif result.outcome == OTHER:
        mend = (
            "Let what answers there pass /.well-known/acme-challenge/ on to the portal "
            "(Configuration ➜ Let's Encrypt ➜ Configure has the line), or prove the names by DNS."
        )
        sentence = f"Port 80 of {host} leads to something else than this portal."
        yield note("public-port-80", sentence, mend, evidence=result.detail)
    elif result.outcome == NO_ADDRESS:
        yield unknown("public-port-80", result.detail)
    else:
        sentence = f"Nothing answered on port 80 of {host}, asked from this server."
        yield unknown("public-port-80", sentence, _HAIRPIN.format(port=80), evidence=result.detail)


@look("names", seconds=8)
def public_port_443(situation: Situation) -> Iterator[Line]:
    """Whether port 443 of the public name leads to this portal."""
    host = _public_host()
    if not host:
        return
    url = url_make("https", host, settings.PROBE_TLS_PORT)
    asked = portal_asked(url, seconds=6)
    if asked.ok:
        yield fine("public-port-443", f"Port 443 of {host} leads to this portal, as seen from this server.")
    elif asked.ok is False:
        mend = "Correct the record or the port forward, unless the portal is meant to be on another port."
        sentence = f"Port 443 of {host} leads to something else than this portal."
        yield note("public-port-443", sentence, mend, evidence=asked.detail)
    else:
        sentence = f"Nothing answered on port 443 of {host}, asked from this server."
        yield unknown("public-port-443", sentence, _HAIRPIN.format(port=443), evidence=asked.detail)


_HAIRPIN = (
    "If this server cannot reach its own public address (many routers do not allow it), this says nothing. "
    "Else open port {port} in the firewall, and forward it to the portal."
)


def _public_host() -> str:
    """A name that DNS may know; "" for a guess, an address and this machine's own names."""
    if not (settings.PUBLIC_URL or state_get().public_url):
        return ""
    host = urlsplit(public_url()).hostname or ""
    return "" if is_address(host) or host in LOOPBACK or "." not in host else host


def _orders() -> tuple[list[_Order], int]:
    """At most MOST names, those of bound certificates first, and how many are left out."""
    rows = certificates_all().filter(auto_renew=True, account__isnull=False, account__deactivated_at=None)
    rows = rows.select_related(None).select_related("account", "challenge_method").order_by()
    bound = Binding.objects.values("certificate")
    groups: dict[tuple[object, object], list[Certificate]] = defaultdict(list)
    room, left_out = MOST, 0
    for row in chain(rows.filter(pk__in=bound), rows.exclude(pk__in=bound)[:_ROWS]):
        if len(row.names) > room:
            left_out += len(row.names)
            continue
        room -= len(row.names)
        groups[row.account_id, row.challenge_method_id].append(row)
    return [_together(group) for group in groups.values()], left_out


def _together(group: Sequence[Certificate]) -> _Order:
    first = group[0]
    account = first.account
    if account is None:
        raise ValueError("chosen by its account")
    every = tuple(dict.fromkeys(name for row in group for name in row.names))
    return _Order(account, first.challenge_method, first, every)
