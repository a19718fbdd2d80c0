"""Challenges answered by a TXT record. A solver of this family only knows how one value is added and taken away.

dns-01: `_acme-challenge.NAME` holds the digest of the key authorization (RFC 8555 §8.4). dns-account-01: the same value
under a label of the account, so that several clients can prove one name at once (draft-ietf-acme-dns-account-label).
dns-persist-01: `_validation-persist.NAME` names the CA and our account and stays there: it is the owner's standing
consent, needs no change at a renewal, and ends when the owner takes it away (draft-ietf-acme-dns-persist-01, CA/Browser
Forum ballot SC-088).

Where the name is an alias (CNAME), the record is written where the alias ends, in the zone that is authoritative there.
Values are added and removed one by one, since `example.com` and `*.example.com` need two at one name.
"""

import base64
import hashlib
import re
import shlex
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from certs.domain.errors import BinderyError, ConflictError, InputError, Unavailable
from certs.domain.options import option
from certs.solvers.base import Evidence, Instruction, Sight, Site, Solver, Task
from certs.transports.dns import Resolver
from certs.transports.dns_answers import PORT, Answer, Found, Server, heard_of, names_of, troubles
from portal import clock

DNS, ACCOUNT, PERSIST = "dns-01", "dns-account-01", "dns-persist-01"
LOOK_SECONDS = 5.0
TTL = 60
_SHOWN = 100  # characters of a wrong value
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def challenge_option() -> Any:
    """For the Options of a solver: `challenge: str = challenge_option()`."""
    return option(
        "Challenge",
        default=DNS,
        choices=(
            (DNS, "dns-01: a new record for each certificate"),
            (ACCOUNT, "dns-account-01: the same, under a label of the account"),
            (PERSIST, "dns-persist-01: one record that stays"),
        ),
        help="Every CA offers dns-01; the others only where the CA has them.",
    )


def ttl_option(default: int = TTL) -> Any:
    """For the Options of a solver: `ttl: int = ttl_option()`."""
    return option("TTL", default=default, low=1, high=86400, help="Seconds that resolvers may keep the record.")


@dataclass(frozen=True)
class Record:
    """A TXT record as the CA looks for it, before any alias."""

    name: str
    value: str


@dataclass(frozen=True)
class Place:
    """Where it is written: the name where the aliases end, and its zone. Both without the final dot."""

    zone: str
    name: str


class DnsSolver(Solver):
    """Subclasses give `label`, `Options` and the two abstract methods. Options may have `challenge` and `ttl`."""

    challenge_types: ClassVar[tuple[str, ...]] = (DNS, ACCOUNT, PERSIST)
    wildcards: ClassVar[bool] = True

    def __init__(self, options: Any = None, site: Site | None = None) -> None:
        super().__init__(options, site)
        # A zone is prepared for one of them (delegated, or with a standing record): never another one by itself.
        self.challenge_types = (getattr(self.options, "challenge", DNS),)  # type: ignore[misc]
        self.resolver = Resolver(self.site.resolvers, self.site.authorities)

    @abstractmethod
    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        """Add this one TXT value, leaving others at the name alone; there already is no error.

        `value` may be longer than the 255 bytes of one string. Returns JSON for `record_remove`. Raises BinderyError.
        """

    @abstractmethod
    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        """Take exactly this value away. `data` is what `record_add` returned, or empty; gone already is no error."""

    def zone_chosen(self, found: str, name: str) -> str:
        """The zone that is set for the method (`options.zone`), else the one found. Raises InputError (code "dns-zone")
        for a name outside of it."""
        wanted = str(self.options.zone).strip().rstrip(".").lower()
        if wanted and name != wanted and not name.endswith(f".{wanted}"):
            raise InputError(
                f"The record {name} is outside the zone {wanted} that is set for this method.",
                advice="Leave the zone of the method empty, or use another method for this name.",
                code="dns-zone",
            )
        return wanted or found

    def present(self, task: Task) -> dict[str, Any]:
        record = self.record(task)
        try:
            found = self.resolver.txt(record.name)
        except Unavailable as error:
            place = self._place_told(record.name, error)
        else:
            if task.type == PERSIST and self._stands(task, found):
                return {}
            place = _place(found)
        data = self.record_add(place.zone, place.name, record.value, getattr(self.options, "ttl", TTL))
        return {"zone": place.zone, "name": place.name, "value": record.value, "record": data}

    def awaited(self, task: Task) -> str:
        record = self.record(task)
        try:
            found = self.resolver.txt(record.name)
        except Unavailable as error:
            return error.message
        return awaited_sentence(found, record, self.accepts(task), self.resolver)

    def is_blind(self, task: Task) -> bool:
        """Behind a firewall, say, that lets no question of DNS out."""
        try:
            return not self.resolver.txt(self.record(task).name).said
        except Unavailable:
            return True

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        """A record of dns-persist-01 stays: the next renewal stands on it, and other orders may as well."""
        if task.type == PERSIST:
            return
        value = data.get("value") or self.record(task).value
        place = Place(data["zone"], data["name"]) if data.get("name") else self.place(task)
        self.record_remove(place.zone, place.name, value, data.get("record") or {})

    def look(self, task: Task) -> Evidence:
        try:
            record = self.record(task)
        except BinderyError as error:
            return Evidence(url="", curl="", seen=error.message)
        try:
            resolver = Resolver(self.site.resolvers, self.site.authorities, seconds=LOOK_SECONDS)
            found = resolver.txt(record.name)
        except BinderyError as error:
            return Evidence(url=_uri(record.name), curl=_dig(record.name), seen=error.message)
        accepts = self.accepts(task)
        if not found.said:
            return _look_instead(record.name, found, accepts, resolver)
        server = found.said[0].server
        right = not found.lacking(accepts)
        return Evidence(_uri(record.name), _dig(found.name, server), seen(found, accepts), right)

    def instructions(self, task: Task) -> tuple[Instruction, ...]:
        """The record for a person to put in place; only solvers that are `by_hand` show it."""
        record = self.record(task)
        try:
            found = self.resolver.txt(record.name)
        except BinderyError as error:
            return (Instruction("TXT record", record.name, record.value, trouble=str(error), blind=True),)
        accepts = self.accepts(task)
        done = not awaited_sentence(found, record, accepts, self.resolver)
        alias = record.name if found.name != record.name else ""
        sights = tuple(_sight(answer, accepts) for answer in found.answers)
        if not found.said:
            heard = self.resolver.instead(found.name, "TXT")
            sights += tuple(_sight(answer, accepts, "your resolver ") for answer in heard)
        return (Instruction("TXT record", found.name, record.value, done, alias, sights, blind=not found.said),)

    def record(self, task: Task) -> Record:
        """Raises InputError where the CA did not say what dns-persist-01 needs."""
        if task.type == PERSIST:
            return Record(f"_validation-persist.{task.name}", _consent(task))
        label = f"_{account_label(task.account_url)}._acme-challenge" if task.type == ACCOUNT else "_acme-challenge"
        return Record(f"{label}.{task.name}", digest(task.key_authorization))

    def place(self, task: Task) -> Place:
        """Raises Unavailable where the zone cannot be found, InputError for aliases without end."""
        return _place(self.resolver.txt(self.record(task).name))

    def _place_told(self, name: str, error: Unavailable) -> Place:
        """Where DNS cannot be asked but the method names its zone, the record is written there. Raises Unavailable."""
        zone = str(getattr(self.options, "zone", "")).strip().rstrip(".").lower()
        if zone and name.endswith(f".{zone}"):
            return Place(zone, name)
        if not hasattr(self.options, "zone"):
            raise error
        advice = f"{error.advice} Or set the zone of the method: then it need not be looked for.".strip()
        raise Unavailable(error.message, advice=advice, code=error.code) from error

    def accepts(self, task: Task) -> "_Accepts":
        return _Accepts(task, self.record(task).value)

    def _stands(self, task: Task, found: Found) -> bool:
        """Whether the consent is there already, at every server. An end that its owner set is never overridden."""
        accepts = self.accepts(task)
        if any(accepts(value) for value in found.values):
            return bool(found.said) and not found.lacking(accepts)
        until = max((ended for value in found.values if (ended := accepts.ended(value))), default=None)
        if until is not None:
            raise ConflictError(
                f"The record at {found.name} lets this account ask for {task.name} until {until:%Y-%m-%d %H:%M} UTC "
                "only, which has passed.",
                advice="Put a record with a later persistUntil in its place, or remove it and try again.",
                code="dns-persist-ended",
            )
        return False


class _Accepts:
    """Whether the CA would take a TXT value for this task."""

    def __init__(self, task: Task, value: str) -> None:
        self._task = task
        self._value = value

    def __call__(self, value: str) -> bool:
        if self._task.type != PERSIST:
            return value == self._value
        return self._ours(value) and not self.ended(value)

    def ended(self, value: str) -> datetime | None:
        """The end of a consent that would fit and is past; None for any other value."""
        until = _parameters(value).get("persistuntil", "") if self._task.type == PERSIST and self._ours(value) else ""
        if not (until.isascii() and until.isdigit()):
            return None
        try:
            moment = datetime.fromtimestamp(int(until), UTC)
        except (ValueError, OverflowError, OSError):
            return None  # centuries away
        return moment if moment <= clock.now() else None

    def _ours(self, value: str) -> bool:
        parameters = _parameters(value)
        issuer = value.partition(";")[0].strip().lower().rstrip(".")
        return (
            issuer in self._task.issuers
            and parameters.get("accounturi") == self._task.account_url
            and (not self._task.wildcard or parameters.get("policy", "").lower() == "wildcard")
        )


def _sight(answer: Answer, accept: Any, whose: str = "") -> Sight:
    server = f"{whose}{answer.server}"
    if answer.trouble:
        return Sight(server, None, f"could not be asked from here: {answer.trouble}")
    if any(accept(value) for value in answer.values):
        return Sight(server, True, "shows it")
    return Sight(server, False, "shows another value" if answer.values else "does not show it yet")


def _look_instead(name: str, found: Found, accept: Any, resolver: Resolver) -> Evidence:
    """No authoritative server answers from here: what the resolvers show, and that it is only theirs."""
    heard = heard_of(resolver.instead(found.name, "TXT"))
    shown = [each for each in heard if any(accept(value) for value in each.values)]
    words = seen(found, accept)
    if heard:
        what = "shows the right value" if shown else "does not show the value"
        asked = names_of(each.server for each in shown or heard)
        words += f"; {asked}, asked instead, {what}: a cache may be older"
    server = (shown or heard)[0].server if heard else None
    return Evidence(_uri(name), _dig(found.name, server), words, bool(shown))


def digest(key_authorization: str) -> str:
    """RFC 8555 §8.4."""
    return base64.urlsafe_b64encode(hashlib.sha256(key_authorization.encode()).digest()).decode().rstrip("=")


def account_label(account_url: str) -> str:
    """16 letters and digits: base32 of the first ten bytes of SHA-256 (draft-ietf-acme-dns-account-label §3.1)."""
    return base64.b32encode(hashlib.sha256(account_url.encode()).digest()[:10]).decode().lower()


def awaited_sentence(found: Found, record: Record, accept: Any, resolver: Resolver) -> str:
    """Names the servers that do not show the record yet; "" when every server that can be asked does."""
    what = f"the TXT record {record.name}" + (f" (at {found.name})" if found.aliases else "")
    if not found.said:
        return _awaited_of_resolvers(found, what, accept, resolver)
    lacking = found.lacking(accept)
    if not lacking:
        return ""
    note = f" Could not be asked from here: {troubles(found.unasked)}." if found.unasked else ""
    return f"Waiting until {_names(lacking)} {_show(lacking)} {what}.{note}"


def seen(found: Found, accept: Any) -> str:
    """What the authoritative servers show, for a person."""
    alias = f"{' → '.join([*found.aliases, found.name])}: " if found.aliases else ""
    if not found.said:
        return f"{alias}no name server of {found.zone.name} could be asked from here: {troubles(found.unasked)}"
    lacking = found.lacking(accept)
    count = len(found.said)
    if not lacking:
        shown = f"all {count} name servers of {found.zone.name} show"
        if count == 1:
            shown = f"the name server of {found.zone.name} shows"
        return f"{alias}{shown} the right value here; the CA did not see it"
    if len(lacking) < count:
        return f"{alias}the right value at some name servers, but not at {_names(lacking)}"
    if found.values:
        return f"{alias}another value: {_printable(', '.join(found.values))}"
    exists = any(each.exists for each in found.said)
    return f"{alias}{'no TXT record there' if exists else 'the name does not exist'}"


def _place(found: Found) -> Place:
    """Raises InputError for an end of an alias that is no plain name: it goes into commands, addresses and files."""
    if not _NAME.fullmatch(found.name):
        raise InputError(
            f"The alias (CNAME) {found.asked} ends at “{_printable(found.name)}”, where no record can be written.",
            advice="Correct the CNAME record.",
            code="dns-alias",
        )
    return Place(found.zone.name, found.name)


def _awaited_of_resolvers(found: Found, what: str, accept: Any, resolver: Resolver) -> str:
    """Where port 53 is closed for all but a resolver, the resolver's word is the best there is."""
    answers = resolver.instead(found.name, "TXT")
    if any(accept(value) for each in answers for value in each.values):
        return ""
    heard = heard_of(answers)
    asked = f"{names_of(each.server for each in heard)}, asked instead, does not show it yet: a cache may be older"
    return (
        f"Waiting until {what} is seen. No name server of {found.zone.name} could be asked from here "
        f"({troubles(found.unasked)}), and {asked if heard else 'no resolver answers either'}."
    )


def _consent(task: Task) -> str:
    """The issue-value (RFC 8659 §4.2) that lets our account ask for the name."""
    if not task.issuers or not task.account_url:
        raise InputError(
            f"The CA did not say under which name it looks for a standing record of {task.name}.",
            advice="Choose dns-01 for this CA.",
            code="dns-persist-issuer",
        )
    policy = "; policy=wildcard" if task.wildcard else ""
    return f"{task.issuers[0]}; accounturi={task.account_url}{policy}"


def _parameters(value: str) -> dict[str, str]:
    """Tag -> value, tags in lower case; {} for what a CA refuses to read."""
    found: dict[str, str] = {}
    for piece in value.split(";")[1:]:
        tag, equals, rest = piece.partition("=")
        tag = tag.strip().lower()
        if not equals or not tag or tag in found:
            return {}
        found[tag] = rest.strip()
    return found


def _names(servers: tuple[Server, ...]) -> str:
    """Names with their addresses, for a sentence: "ns1.example.com (192.0.2.1 and 2001:db8::1)"; at most four."""
    by_name: dict[str, list[Server]] = {}
    for server in servers:
        by_name.setdefault(server.name, []).append(server)
    words = []
    for name, group in by_name.items():
        places = " and ".join(server.where for server in group)
        words.append(places if name == group[0].address else f"{name} ({places})")
    if len(words) > 4:
        words = [*words[:4], f"{len(words) - 4} more"]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _show(servers: tuple[Server, ...]) -> str:
    return "shows" if len({server.name for server in servers}) == 1 else "show"


def _uri(name: str) -> str:
    """RFC 4501."""
    return f"dns:{name}?type=TXT"


def _dig(name: str, server: Server | None = None) -> str:
    """Quoted: names come out of other people's zones, and the command is pasted into a shell."""
    where = [] if server is None else [f"@{server.name}"]
    port = [] if server is None or server.port == PORT else ["-p", str(server.port)]
    return shlex.join(["dig", *where, *port, name, "TXT"])


def _printable(text: str) -> str:
    words = "".join(letter if letter.isprintable() else " " for letter in text)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"
