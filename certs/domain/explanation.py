"""Why an order failed, in one sentence, with the proof and the one thing to do.

What the CA says (RFC 8555 §6.7, with its sub-problems) is joined with what this server saw itself where the CA looked,
and with what it found out about the names. The first rule that fits speaks; the order of the rules is the order of
causes: what explains the others comes first.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Failure:
    """`evidence` is what was seen where the CA looked: {"name", "url", "curl", "seen", "right"}; `findings` what was
    found out about the names: {"code", "level", "name", "sentence", "proof", "advice", "record"}."""

    code: str
    message: str = ""
    advice: str = ""
    ca: str = "The CA"
    challenge: str = "http01"
    names: tuple[str, ...] = ()
    problem: Mapping[str, Any] | None = None
    evidence: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Mapping[str, Any]] = ()

    @property
    def name(self) -> str:
        """The name that it is about, as far as one is known."""
        told = [*self.evidence, *(finding for finding in self.findings if finding.get("level") == "error")]
        found = next((str(item["name"]) for item in told if item.get("name")), "")
        return found or next((name for name, _ in _subproblems(self.problem)), "") or (self.names or ("the name",))[0]

    @property
    def seen(self) -> str:
        return next((str(item.get("seen", "")) for item in self.evidence), "")

    @property
    def detail(self) -> str:
        return str((self.problem or {}).get("detail") or "")

    def finding(self, *codes: str) -> Mapping[str, Any] | None:
        bad = (finding for finding in self.findings if finding.get("level") == "error")
        return next((finding for finding in bad if finding.get("code") in codes), None)


@dataclass(frozen=True)
class Proof:
    """`who` saw it; `command` shows the same in the person's own shell."""

    who: str
    says: str
    command: str = ""


@dataclass(frozen=True)
class Explanation:
    cause: str
    action: str
    proofs: tuple[Proof, ...] = ()
    names: tuple[tuple[str, str], ...] = ()  # name, what the CA says of it: where it speaks of single names
    by_itself: bool = False  # there is nothing to do but wait
    record: str = ""  # what to put into DNS, verbatim
    elsewhere: tuple[str, ...] = ()  # names whose port 80 may lead to another machine

    @property
    def has_command(self) -> bool:
        return any(proof.command for proof in self.proofs)


@dataclass(frozen=True)
class Rule:
    """Applies to these codes ("" is any), where `fits` holds; {name}, {ca}, {detail} and the groups are filled in."""

    codes: tuple[str, ...]
    cause: str
    action: str
    fits: Callable[[Failure], Mapping[str, str] | None] = lambda failure: {}
    by_itself: bool = False


def explain(failure: Failure) -> Explanation:
    """Always has something to say: where no rule fits, the error's own words."""
    return replace(_explain(failure), elsewhere=_elsewhere(failure))


def _explain(failure: Failure) -> Explanation:
    for rule in RULES:
        if rule.codes and failure.code not in rule.codes:
            continue
        groups = rule.fits(failure)
        if groups is None:
            continue
        words = {"name": failure.name, "ca": failure.ca, "detail": failure.detail or failure.message, **groups}
        action = rule.action.format_map(words) if rule.action else failure.advice or _LOOK
        return Explanation(
            rule.cause.format_map(words),
            action,
            _proofs(failure),
            _subproblems(failure.problem),
            rule.by_itself,
            record=groups.get("record", ""),
        )
    return Explanation(failure.message, failure.advice or _LOOK, _proofs(failure), _subproblems(failure.problem))


def _elsewhere(failure: Failure) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(str(one["name"]) for one in failure.findings if one.get("elsewhere")))
    asked = failure.challenge in ("http01", "tlsalpn01") and failure.code in _NOT_REACHED
    return found or ((failure.name,) if asked and failure.name in failure.names else ())


def _finding(*codes: str) -> Callable[[Failure], Mapping[str, str] | None]:
    """The sentence, the advice and the record of a finding with one of these codes."""

    def fits(failure: Failure) -> Mapping[str, str] | None:
        found = failure.finding(*codes)
        if found is None:
            return None
        return {name: str(found.get(name) or "") for name in ("name", "sentence", "advice", "record")}

    return fits


def _seen(pattern: str) -> Callable[[Failure], Mapping[str, str] | None]:
    """What this server saw where the CA looked."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def fits(failure: Failure) -> Mapping[str, str] | None:
        match = compiled.search(failure.seen)
        return None if match is None else match.groupdict("")

    return fits


def _said(pattern: str) -> Callable[[Failure], Mapping[str, str] | None]:
    """What the CA says, sub-problems included."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def fits(failure: Failure) -> Mapping[str, str] | None:
        said = " ".join([failure.detail, failure.message, *(text for _, text in _subproblems(failure.problem))])
        match = compiled.search(said)
        return None if match is None else match.groupdict("")

    return fits


def _address_said(failure: Failure) -> Mapping[str, str] | None:
    """The address that the CA went to without getting an answer, as Boulder and pebble put it."""
    for text in (failure.detail, *(text for _, text in _subproblems(failure.problem)), failure.message):
        for match in _WENT_TO.finditer(text):
            try:
                return {"address": str(ipaddress.ip_address(match["address"]))}
            except ValueError:
                continue
    return None


def _by(kind: str, then: Callable[[Failure], Mapping[str, str] | None]) -> Callable[[Failure], Any]:
    return lambda failure: then(failure) if failure.challenge.startswith(kind) else None


def _always(failure: Failure) -> Mapping[str, str]:
    return {}


_WENT_TO = re.compile(
    r"(?:^|[\s\[])(?P<address>[0-9a-f.:]*[0-9a-f])\]?(?::\d+)?: (?:Fetching \S+: )?"
    r"(?:connect: |i/o )?(?:connection refused|connection reset|time-?out|no route|network is unreachable)",
    re.IGNORECASE,
)
_LOOK = "Look at the CA's answer below."
_NOT_REACHED = ("acme-connection", "acme-unauthorized", "acme-incorrectResponse", "acme-tls", "acme-dns")
_OPEN_80 = "Let port 80 of {name} reach this portal from the Internet: look at firewall and port forwarding."

RULES: tuple[Rule, ...] = (
    # What explains everything after it.
    Rule(_NOT_REACHED, "{sentence}", "{advice}", _finding("ipv6", "ipv4", "port-443")),
    Rule((*_NOT_REACHED, "acme-caa"), "{sentence}", "{advice}", _finding("caa")),
    Rule(("acme-dns", "acme-unauthorized", "acme-connection"), "{sentence}", "{advice}", _finding("resolve", "dns")),
    Rule(
        ("acme-dns",),
        "The public DNS does not know {name}.",
        "Make an A or AAAA record for {name} that leads to this portal.",
        _said(r"NXDOMAIN|no valid A records|no such host"),
    ),
    Rule(
        ("acme-dns", "acme-dnssec"),
        "The zone of {name} is broken: its name servers fail, or its DNSSEC does not hold.",
        "Have the DNS provider correct the zone; the public name servers must answer for {name} without an error.",
        _said(r"SERVFAIL|DNSSEC|looking up"),
    ),
    # dns-01.
    Rule(
        _NOT_REACHED,
        "The CA did not find the TXT record for {name}.",
        "Try again; if it fails so once more, look whether every name server of the zone shows the record.",
        _by("dns", _said(r"No TXT record found|NXDOMAIN")),
    ),
    Rule(
        _NOT_REACHED,
        "The TXT record for {name} holds another value than the CA expects.",
        "Remove old values of that record, and see that no other program writes it.",
        _by("dns", _said(r"Incorrect TXT record")),
    ),
    # http-01.
    Rule(
        _NOT_REACHED,
        "Port 80 of {name} leads elsewhere: {target}.",
        "Let http://{name}/.well-known/acme-challenge/ reach this portal before any redirect.",
        _by("http01", _seen(r"a redirect to (?P<target>\S+)")),
    ),
    Rule(
        _NOT_REACHED,
        "Another ACME client answers on port 80 of {name}.",
        "Switch that client off for {name}, or let the challenge path reach this portal.",
        _by("http01", _seen(r"answer of another account")),
    ),
    Rule(
        _NOT_REACHED,
        "Something else answers on port 80 of {name}: {what}",
        "Let the path /.well-known/acme-challenge/ of {name} reach this portal; below is how.",
        _by("http01", _seen(r"^(?P<what>HTTP \d+ (with something else: .*|without a body))")),
    ),
    Rule(
        _NOT_REACHED,
        "Nothing answers on port 80 of {name}.",
        _OPEN_80,
        _by("http01", _seen(r"refused")),
    ),
    Rule(
        _NOT_REACHED,
        "Port 80 of {name} does not answer in time: a firewall is in the way, or the address is another machine's.",
        _OPEN_80,
        _by("http01", _seen(r"no answer|timed? ?out|unreachable|no route")),
    ),
    Rule(
        _NOT_REACHED,
        "{ca} found {name} at {address}, and nothing answered there on port 80.",
        "If {address} is this portal's, open port 80 there in firewall and port forwarding; if not, correct the A or "
        "AAAA record.",
        _by("http01", _address_said),
    ),
    Rule(
        _NOT_REACHED,
        "From here the portal answers rightly; from the Internet it is not reached.",
        "{name} must lead to this portal from outside, too: look at the public DNS and the firewall in front of it.",
        _by("http01", _seen(r"the right answer")),
    ),
    Rule(
        _NOT_REACHED,
        "This server cannot find {name} in its DNS, and the CA did not reach it either.",
        "See that the public DNS has an A or AAAA record for {name}, and that it leads to this portal.",
        _by("http01", _seen(r"cannot find the name")),
    ),
    # tls-alpn-01.
    Rule(
        _NOT_REACHED,
        "Port 443 of {name} is not this portal's HTTPS: {what}",
        "Let port 443 of {name} reach this portal's HTTPS unchanged: a proxy that ends TLS cannot pass this on.",
        lambda failure: {"what": failure.seen or failure.detail} if failure.challenge == "tlsalpn01" else None,
    ),
    Rule(("acme-connection",), "The CA could not connect to {name}.", _OPEN_80, _always),
    Rule(("acme-caa",), "A CAA record of {name} does not allow {ca}.", "", _always),
    # The CA, and our account there.
    Rule(
        ("acme-rateLimited",),
        "A limit of {ca} is reached: {detail}",
        "Nothing: it is tried again by itself when the limit allows it. Asking earlier would gain nothing.",
        _always,
        by_itself=True,
    ),
    Rule(
        ("acme-proxy",),
        "{detail}",
        "Correct HTTPS_PROXY or NO_PROXY and restart the portal, or have the proxy permit the way.",
        _always,
    ),
    Rule(
        ("acme-untrusted",),
        "{detail}",
        "If your company inspects TLS, give its root certificate by BINDERY_CA_BUNDLE and restart the portal. If it is "
        "your own CA, give its root with the account: Configuration ➜ CA accounts.",
        _always,
    ),
    Rule(
        ("acme-unreachable", "acme-no-answer", "acme-host", "acme-serverInternal", "acme-retry", "acme-waiting"),
        "{ca} could not be reached or had trouble of its own.",
        "Nothing: it is tried again by itself. If it lasts, look whether this machine may connect to the directory.",
        _always,
        by_itself=True,
    ),
    Rule(
        ("private-address",),
        "The directory of {ca} is on a private address, which is not allowed.",
        "If it is your own CA, allow it: tick “The directory is on a private address” in the form.",
        _always,
    ),
    Rule(
        ("acme-rejectedIdentifier", "acme-unsupportedIdentifier"),
        "{ca} does not issue for {name}: {detail}",
        "Look at the spelling of the name. If it is right, ask another CA.",
        _always,
    ),
    Rule(
        ("acme-userActionRequired", "acme-terms"),
        "{ca} has new terms of service.",
        "Read them and accept them: Configuration ➜ CA accounts.",
        _always,
    ),
    Rule(
        ("acme-externalAccountRequired",),
        "{ca} gives certificates only to accounts made on its own site.",
        "Take key identifier and HMAC key from that site and give them with the account: Configuration ➜ CA accounts.",
        _always,
    ),
    Rule(
        ("pair", "names", "expired", "certificate-refused"),
        "{ca} sent a certificate that is not what was ordered. It was not taken.",
        "Report this to the CA. What is bound stays bound.",
        _always,
    ),
    Rule(
        ("fault",),
        "A fault of this portal stopped the order.",
        "Look at the log below; if Try again ends the same way, report it with the log.",
        _always,
    ),
)


def _proofs(failure: Failure) -> tuple[Proof, ...]:
    said = failure.detail or str((failure.problem or {}).get("type", "")).rsplit(":", 1)[-1]
    proofs = [Proof(failure.ca, said)] if said else []
    for item in failure.evidence:
        if item.get("seen"):
            where = f"{item['url']}: " if item.get("url") else ""
            proofs.append(Proof("This server", f"{where}{item['seen']}", str(item.get("curl") or "")))
    for finding in failure.findings:
        # Of records that may or may not forbid this CA it is told only where the CA says that they do.
        beside = (finding.get("code"), finding.get("level")) == ("caa", "unknown") and failure.code != "acme-caa"
        if finding.get("level") in ("error", "warning", "unknown") and finding.get("proof") and not beside:
            about = f"{finding['name']}: " if finding.get("name") else ""
            proofs.append(Proof("This server", f"{about}{finding['proof']}"))
    return tuple(dict.fromkeys(proofs))


def _subproblems(problem: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """RFC 8555 §6.7.1; what does not have the expected shape is left out."""
    items = (problem or {}).get("subproblems")
    found = []
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, Mapping):
            continue
        identifier = item.get("identifier")
        name = str(identifier.get("value") or "") if isinstance(identifier, Mapping) else ""
        found.append((name, str(item.get("detail") or str(item.get("type", "")).rsplit(":", 1)[-1])))
    return tuple(found)
