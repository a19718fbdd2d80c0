"""Whether CAA records let a CA issue for us, and the record that lets exactly us (RFC 8659, RFC 8657). Pure.

A CA finds the relevant record set by climbing from the name towards the top-level domain; that is
`certs.transports.dns.Resolver.caa`. Here the set is judged as a CA must judge it.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

ISSUE, ISSUE_WILD = "issue", "issuewild"
CRITICAL = 128  # RFC 8659 §4.1
# Tags that CAs know, so that their critical flag forbids nothing: RFC 8659 §4, and the CAA registry of IANA.
KNOWN_TAGS = frozenset({ISSUE, ISSUE_WILD, "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"})
_ISSUER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_TAG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*")


class Record(Protocol):
    @property
    def flags(self) -> int: ...
    @property
    def tag(self) -> str: ...  # lower-case
    @property
    def value(self) -> str: ...


@dataclass(frozen=True)
class Property:
    """A value of issue or issuewild. `issuer` is lower-case, empty where nobody is named; `usable` False: malformed."""

    issuer: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    usable: bool = True

    def given(self, tag: str) -> list[str]:
        return [value for name, value in self.parameters if name == tag]


@dataclass(frozen=True)
class Verdict:
    """`why` is one of the codes below; `methods` are those of the ways asked about that the records leave open."""

    permitted: bool
    why: str
    methods: frozenset[str] = field(default_factory=frozenset)


NO_RECORDS = "no-records"  # nothing about our kind of certificate: every CA may issue
NAMED = "named"
CRITICAL_TAG = "critical"  # something that a CA must understand and does not
NOBODY = "nobody"  # the records name no CA at all
OTHER_CA = "other-ca"
OTHER_ACCOUNT = "other-account"
OTHER_METHOD = "other-method"
UNKNOWN_CA = "unknown-ca"  # the CA does not say under which names it is meant


def caa_judge(
    records: Iterable[Record],
    *,
    wildcard: bool,
    identities: Collection[str],
    account_url: str,
    methods: Collection[str],
) -> Verdict:
    """`records` are the relevant set, `identities` the CA's `caaIdentities`, `methods` the challenges it may take.

    Where several records stand against us, the one that is nearest to letting us in gives the reason.
    """
    records = list(records)
    if any(record.flags & CRITICAL and record.tag not in KNOWN_TAGS for record in records):
        return Verdict(False, CRITICAL_TAG)
    tags = {record.tag for record in records}
    tag = ISSUE_WILD if wildcard and ISSUE_WILD in tags else ISSUE
    found = [property_parse(record.value) for record in records if record.tag == tag]
    if not found:
        return Verdict(True, NO_RECORDS, frozenset(methods))
    ours = {identity.lower().rstrip(".") for identity in identities}
    named = [each for each in found if each.issuer in ours]
    if not named:
        issuers = any(each.issuer for each in found)
        return Verdict(False, NOBODY if not issuers else OTHER_CA if ours else UNKNOWN_CA)
    mine = [each for each in named if _is_account(each, account_url)]
    if not mine:
        return Verdict(False, OTHER_ACCOUNT)
    left = frozenset(method for method in methods for each in mine if _is_method(each, method))
    return Verdict(True, NAMED, left) if left else Verdict(False, OTHER_METHOD)


def property_parse(text: str) -> Property:
    """RFC 8659 §4.2. What does not follow the grammar names nobody, so that it lets nobody in."""
    issuer, _, rest = text.strip(" \t").partition(";")
    issuer = issuer.strip(" \t")
    if issuer and not _ISSUER.fullmatch(issuer.rstrip(".")):
        return Property(usable=False)
    parameters = []
    for part in filter(None, (each.strip(" \t") for each in rest.split(";"))):
        tag, equals, value = (each.strip(" \t") for each in part.partition("="))
        if not equals or not _TAG.fullmatch(tag) or not _VALUE.fullmatch(value):
            return Property(usable=False)
        parameters.append((tag.lower(), value))
    return Property(issuer.lower().rstrip("."), tuple(parameters))


def caa_record(
    name: str, identity: str, *, account_url: str = "", methods: Iterable[str] = (), wildcard: bool = False
) -> str:
    """The line for a zone file that lets this CA issue; only for the account, only by the methods, where given."""
    parts = [identity]
    parts += [f"accounturi={account_url}"] if account_url else []
    parts += [f"validationmethods={','.join(sorted(methods))}"] if methods else []
    return f'{name}. CAA 0 {ISSUE_WILD if wildcard else ISSUE} "{"; ".join(parts)}"'


def _is_account(property_: Property, account_url: str) -> bool:
    """RFC 8657 §3: exactly the URI; one that is there twice can be met by nobody."""
    given = property_.given("accounturi")
    return not given or (len(given) == 1 and bool(account_url) and given[0] == account_url)


def _is_method(property_: Property, method: str) -> bool:
    """RFC 8657 §4."""
    given = property_.given("validationmethods")
    return not given or (len(given) == 1 and method in given[0].split(","))
