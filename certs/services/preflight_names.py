"""What one name needs for a certificate, looked at from here: its addresses, what answers there, its zone, its CAA.

Runs in threads: no database here. Each finding is added as soon as it is known, so that a look that runs out of time
keeps what it has.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from certs.acme.directories import DirectoryInfo
from certs.domain import caa as caa_rules
from certs.domain.budget import registered_domain
from certs.domain.destinations import address_is_public
from certs.domain.errors import AcmeFailure, BinderyError, InputError, Unavailable
from certs.domain.names import is_address
from certs.domain.preflight import NOBODY, OTHERS, OURS, Finding, Level, Seen, reach_judge
from certs.domain.proxies import proxy_named
from certs.models import AcmeAccount
from certs.services.handshakes import served_check
from certs.services.reachability import NO_CONNECTION, OK, ReachResult, reach_probe
from certs.transports.dns import Resolver
from certs.transports.dns_answers import Answer, Caa, Found, NoZone, Server, heard_of, names_of, troubles

HERE = "this server"
MOST_ADDRESSES = 12  # of one name


@dataclass(frozen=True)
class Target:
    """The CA to be asked, as an order would. `account` is the one that would order, where it is known."""

    directory_url: str
    account: AcmeAccount | None = None
    ca_bundle: str = ""
    allow_private: bool = False

    @classmethod
    def of(cls, account: AcmeAccount) -> "Target":
        return cls(account.directory_url, account, account.ca_bundle, account.allow_private)


@dataclass(frozen=True)
class Plan:
    """What the threads need. `fingerprints` are those that our listeners serve; `private`: the CA may be in
    the same private network, and so may the names."""

    target: Target
    label: str
    methods: frozenset[str]  # types of challenges that may be taken
    ports: tuple[int, ...]  # at which the portal itself must be found; any of them is enough
    resolver: Resolver
    fingerprints: frozenset[str]
    private: bool
    directory: "Future[DirectoryInfo]"
    until: float
    ask: ThreadPoolExecutor

    @property
    def account_url(self) -> str:
        return self.target.account.account_url if self.target.account else ""

    @property
    def dns_only(self) -> bool:
        return bool(self.methods) and all(method.startswith("dns-") for method in self.methods)

    def left(self) -> float:
        return max(0.0, self.until - time.monotonic())


def name_look(plan: Plan, name: str, out: list[Finding]) -> None:
    base = name.removeprefix("*.")
    if is_address(name):
        _reach(plan, name, [name], out)
        return
    caa = plan.ask.submit(plan.resolver.caa, base)
    if plan.dns_only or name.startswith("*."):
        _dns(plan, base, name, out)
    else:
        _reach(plan, name, _resolve(plan, name, out), out)
    out += _caa(plan, name, caa.result())


def _resolve(plan: Plan, name: str, out: list[Finding]) -> list[str]:
    """The addresses that the authoritative servers show."""
    try:
        a, aaaa = plan.resolver.addresses(name)
    except (Unavailable, InputError) as error:
        out.append(_unfound("resolve", name, error))
        return []
    if not a.said and not aaaa.said:
        return _resolve_instead(plan, name, (*a.unasked, *aaaa.unasked), out)
    addresses = [*aaaa.values, *a.values][:MOST_ADDRESSES]
    proof = _dns_proof(a, aaaa)
    if not addresses:
        missing = all(not answer.exists for answer in a.said)
        sentence = f"{name} does not exist in DNS." if missing else f"{name} has no address in DNS."
        advice = "Add an A or an AAAA record with the public address of this portal; one of them is enough."
        out.append(Finding("resolve", Level.ERROR, name, sentence, proof, advice))
    elif odd := [found for found in (a, aaaa) if found.values and _disagree(found)]:
        sentence = f"The name servers of {odd[0].zone.name} disagree about {name}."
        advice = "Wait until all of them have the same zone: a CA may ask any."
        out.append(Finding("resolve", Level.WARNING, name, sentence, proof, advice))
    else:
        through = f", through the alias {a.name}" if a.aliases else ""
        sentence = f"{name} has {'the address' if len(addresses) == 1 else 'the addresses'} {', '.join(addresses)}"
        out.append(Finding("resolve", Level.OK, name, f"{sentence}{through}.", proof))
    return addresses


def _resolve_instead(plan: Plan, name: str, unasked: Sequence[Answer], out: list[Finding]) -> list[str]:
    """What the resolvers show where no authoritative server answers from here; that is never taken for the truth."""
    heard = heard_of(plan.resolver.instead(name, "AAAA", "A"))
    addresses = [value for answer in heard for value in answer.values]
    addresses = list(dict.fromkeys(addresses))[:MOST_ADDRESSES]
    sentence = f"None of the authoritative name servers of {name} could tell {HERE} its addresses."
    if heard:
        known = f"{'the address' if len(addresses) == 1 else 'the addresses'} {', '.join(addresses)}"
        sentence = f"{name} has {known if addresses else 'no address'}. {_instead(answer.server for answer in heard)}"
    advice = f"To be sure, let {HERE} ask DNS servers on port 53. A CA that meets the same refuses the order."
    out.append(Finding("resolve", Level.UNKNOWN, name, sentence, troubles(unasked), advice))
    return addresses


def _instead(servers: Iterable[Server]) -> str:
    return (
        f"Asked of your resolver {names_of(servers)} instead of the zone's own servers, which do not answer from here: "
        "a cache may be older."
    )


def _unfound(code: str, name: str, error: BinderyError) -> Finding:
    """Behind a proxy a resolver often knows inside names only, so that it finds nothing says nothing."""
    variable, _ = proxy_named("https", os.environ)
    if isinstance(error, NoZone) and variable:
        advice = f"Your resolver may know names of your network only, since there is a proxy ({variable})."
        return Finding(code, Level.UNKNOWN, name, error.message, advice=f"{error.advice} {advice}")
    level = Level.ERROR if isinstance(error, InputError | NoZone) else Level.UNKNOWN
    return Finding(code, level, name, error.message, advice=error.advice)


def _disagree(found: Found) -> bool:
    return len({answer.values for answer in found.said}) > 1


def _dns_proof(*all_found: Found) -> str:
    words = []
    for found in all_found:
        groups: dict[tuple[str, ...], list[str]] = {}
        for answer in found.said:
            groups.setdefault(answer.values, []).append(str(answer.server))
        for values, servers in groups.items():
            many = f"{servers[0]} and {len(servers) - 1} more" if len(servers) > 1 else servers[0]
            words.append(f"{found.type} {', '.join(values) or 'none'}, says {many}")
    return "; ".join(words)


def _reach(plan: Plan, name: str, addresses: Sequence[str], out: list[Finding]) -> None:
    """Whether the portal itself answers at each address, at any one port that a challenge uses."""
    if not plan.ports:
        return
    asked = []
    for address in addresses:
        if plan.private or address_is_public(address):
            asked.append(address)
        else:
            out.append(_not_public(plan, name, address))
    results = [_port(plan, name, asked, port) for port in plan.ports]
    good = [all(one.level == Level.OK for one in findings) for findings in results]
    if True not in good or not asked:
        out += results[0]
        return
    out += results[good.index(True)]
    if not good[0]:
        advice = "The portal then proves it on another port; correct it all the same, for what asks port 80 only."
        out += [replace(one, level=Level.WARNING, advice=advice) for one in results[0] if one.level != Level.OK]


def _not_public(plan: Plan, name: str, address: str) -> Finding:
    kind = "AAAA" if ":" in address else "A"
    return Finding(
        "ipv6" if ":" in address else "ipv4",
        Level.ERROR,
        name,
        f"{name} is at {address}, which is not on the Internet: {plan.label} cannot reach it.",
        advice="Give it a public address, prove it by DNS, or permit private addresses if the CA is your own.",
        record="" if is_address(name) else f"{name}. {kind} {address}",
        elsewhere=True,
    )


def _port(plan: Plan, name: str, addresses: Sequence[str], port: int) -> list[Finding]:
    look: Callable[[str], Seen] = partial(_seen_http if port == 80 else _seen_tls, plan, name)
    futures = [(address, plan.ask.submit(look, address)) for address in addresses]
    wait([future for _, future in futures], timeout=plan.left())
    seen = [
        future.result() if future.done() else Seen(address, NOBODY, "no answer in time") for address, future in futures
    ]
    return reach_judge(name, seen, port, here=HERE)


def _seen_http(plan: Plan, name: str, address: str) -> Seen:
    result = reach_probe(name, address=address, allow_private=plan.private)
    who = OURS if result.outcome == OK else NOBODY if result.outcome == NO_CONNECTION else OTHERS
    return Seen(address, who, _http_words(result, address))


def _http_words(result: ReachResult, address: str) -> str:
    asked = f"GET {result.url} at {address}"
    if result.ok:
        return f"{asked}: our own answer" + (f", after a redirect to {result.last}" if result.last else "")
    seen = f" It begins: {result.seen[:120]}" if result.seen else ""
    return f"{asked}: {result.detail}{seen}"


def _seen_tls(plan: Plan, name: str, address: str) -> Seen:
    """Told by the certificate: what ends TLS in front of the portal could not pass on the challenge."""
    server_name = "" if is_address(name) else name
    result = served_check(address, settings.PROBE_TLS_PORT, server_name, "", timeout=4)
    if not result.fingerprint:
        return Seen(address, NOBODY, result.detail)
    words = f"TLS handshake at {address} for {name}: the certificate {result.fingerprint[:16]}…"
    if result.fingerprint in plan.fingerprints:
        return Seen(address, OURS, f"{words}, which this portal serves")
    return Seen(address, OTHERS, f"{words}, which this portal does not serve")


def _dns(plan: Plan, base: str, name: str, out: list[Finding]) -> None:
    """Whether the zone where the TXT record will stand can be asked."""
    asked = f"_acme-challenge.{base}"
    try:
        found = plan.resolver.txt(asked)
    except (Unavailable, InputError) as error:
        out.append(_unfound("dns", name, error))
        return
    place = f"{asked}, an alias of {found.name}," if found.aliases else asked
    if not found.said:
        sentence = f"None of the name servers of {found.zone.name}, where {place} stands, answered {HERE}."
        advice = (
            f"Check the delegation of the zone, and that {HERE} may ask DNS servers on port 53. If it may not, an "
            "order asks your resolvers instead, and goes on after five minutes at most."
        )
        out.append(Finding("dns", Level.UNKNOWN, name, sentence, troubles(found.unasked), advice))
    elif found.unasked:
        sentence = f"Not all name servers of {found.zone.name}, where {place} stands, answered {HERE}."
        advice = "A CA may ask any of them: repair or remove the silent ones."
        out.append(Finding("dns", Level.WARNING, name, sentence, troubles(found.unasked), advice))
    else:
        proof = ", ".join(sorted({str(answer.server) for answer in found.said}))
        sentence = f"All name servers of {found.zone.name}, where {place} stands, answer."
        out.append(Finding("dns", Level.OK, name, sentence, proof))


# CAA.

_WHY = {
    caa_rules.CRITICAL_TAG: "hold a critical property that no CA knows, so that none may issue",
    caa_rules.NOBODY: "let no CA issue",
    caa_rules.OTHER_CA: "let only other CAs issue",
    caa_rules.OTHER_ACCOUNT: "let only another account issue",
    caa_rules.OTHER_METHOD: "let it be proven only in another way",
    caa_rules.UNKNOWN_CA: "name CAs, and the CA does not say under which name it looks for itself",
}


def _caa(plan: Plan, name: str, caa: Caa) -> list[Finding]:
    found = _caa_judged(plan, name, caa)
    if not caa.instead:
        return found
    heard = {Level.OK: Level.UNKNOWN, Level.ERROR: Level.WARNING}
    said = _instead(caa.instead)
    return [replace(one, level=heard.get(one.level, one.level), sentence=f"{one.sentence} {said}") for one in found]


def _caa_judged(plan: Plan, name: str, caa: Caa) -> list[Finding]:
    if caa.trouble:
        sentence = f"The CAA records of {name} could not be asked."
        return [Finding("caa", Level.WARNING, name, sentence, caa.trouble, "A CA that meets the same must refuse.")]
    identities = _identities(plan)
    wildcard = name.startswith("*.")
    verdict = caa_rules.caa_judge(
        caa.records, wildcard=wildcard, identities=identities, account_url=plan.account_url, methods=plan.methods
    )
    proof = "; ".join(f'{caa.name} CAA {one.flags} {one.tag} "{one.value}"' for one in caa.records)
    proof = proof or f"no CAA record at {name.removeprefix('*.')} and above"
    line = partial(
        caa_rules.caa_record,
        caa.name or registered_domain(name),
        identities[0] if identities else "",
        account_url=plan.account_url,
        wildcard=wildcard,
    )
    if verdict.permitted:
        left = ", ".join(sorted(verdict.methods))
        only = f" Only {left} is permitted." if verdict.methods < plan.methods else ""
        lock = verdict.why == caa_rules.NO_RECORDS and bool(identities) and bool(plan.account_url)
        sentence = f"CAA lets {plan.label} issue for {name}.{only}"
        advice = "This record would let nobody but this account issue." if lock else ""
        return [Finding("caa", Level.OK, name, sentence, proof, advice, line(methods=plan.methods) if lock else "")]
    sentence = f"The CAA records for {name} {_WHY[verdict.why]}."
    level = Level.UNKNOWN if verdict.why == caa_rules.UNKNOWN_CA else Level.ERROR
    advice = f"Add this record at {caa.name}, beside or in place of those there." if identities else ""
    if verdict.why == caa_rules.OTHER_ACCOUNT and not plan.account_url:
        advice += " The address of this account is known once it is registered at the CA; it belongs into the record."
    if verdict.why == caa_rules.CRITICAL_TAG:
        return [Finding("caa", level, name, sentence, proof, "Remove the record with the critical property.")]
    return [Finding("caa", level, name, sentence, proof, advice, line(methods=plan.methods) if identities else "")]


def _identities(plan: Plan) -> tuple[str, ...]:
    """As the CA's directory gives them; none where it could not be asked."""
    try:
        return plan.directory.result(timeout=plan.left()).caa_identities
    except (AcmeFailure, InputError, TimeoutError):
        return ()
