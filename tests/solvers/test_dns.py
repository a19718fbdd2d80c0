"""The family of DNS solvers: names and values, what is waited for, and what is said of what is seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from certs.domain.errors import ConflictError, InputError, Unavailable
from certs.domain.options import options_of
from certs.solvers.base import Task
from certs.solvers.dns import (
    ACCOUNT,
    DNS,
    PERSIST,
    DnsSolver,
    account_label,
    challenge_option,
    digest,
    seen,
    ttl_option,
)
from certs.transports.dns import Resolver
from certs.transports.dns_answers import Answer, Found, Server, Zone
from portal import clock

ACCOUNT_URL = "https://example.com/acme/acct/ExampleAccount"
TASK = Task("one.test", "token", "token.thumbprint", type=DNS, account_url=ACCOUNT_URL)
STANDING = Task("one.test", "", "", type=PERSIST, account_url=ACCOUNT_URL, issuers=("ca.test", "ca2.test"))
CONSENT = f"ca.test; accounturi={ACCOUNT_URL}"
NS1 = Server("ns1.one.test", "192.0.2.1")
NS1_V6 = Server("ns1.one.test", "2001:db8::1")
NS2 = Server("ns2.one.test", "192.0.2.2")


class Notes(DnsSolver):
    """Writes nothing anywhere."""

    label: ClassVar[str] = "notes"

    @dataclass(frozen=True)
    class Options:
        ttl: int = ttl_option()
        challenge: str = challenge_option()

    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        self.added = (zone, name, value, ttl)
        return {"id": 7}

    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        self.removed = (zone, name, value, data)


class Answering:
    """Stands for the resolver: every server says what it is told to."""

    def __init__(self, *answers: Answer, aliases: tuple[str, ...] = (), cached: tuple[str, ...] = ()) -> None:
        self.answers = answers
        self.aliases = aliases
        self.cached = cached

    def txt(self, name: str) -> Found:
        end = "x.two.test" if self.aliases else name
        zone = Zone("two.test" if self.aliases else "one.test", tuple(each.server for each in self.answers))
        return Found(name, end, "TXT", zone, self.answers, (name, *self.aliases[1:]) if self.aliases else ())

    def instead(self, name: str, *types: str) -> tuple[Answer, ...]:
        return (Answer(Server("192.0.2.53", "192.0.2.53"), self.cached),)


def notes(*answers: Answer, challenge: str = DNS, **rest: Any) -> Notes:
    solver = Notes(Notes.Options(challenge=challenge))
    solver.resolver = Answering(*answers, **rest)  # type: ignore[assignment]
    return solver


def waiting(*answers: Answer, task: Task = TASK, **rest: Any) -> str:
    return notes(*answers, challenge=task.type, **rest).awaited(task)


def shown(*answers: Answer, task: Task = TASK) -> str:
    solver = notes(*answers, challenge=task.type)
    return seen(solver.resolver.txt(solver.record(task).name), solver.accepts(task))


def test_a_solver_answers_only_the_challenge_it_was_set_up_for() -> None:
    assert Notes(Notes.Options()).challenge_types == (DNS,)
    assert Notes(Notes.Options(challenge=PERSIST)).challenge_types == (PERSIST,)
    assert Notes.challenge_types == (DNS, ACCOUNT, PERSIST)


def test_shared_options_have_labels_and_bounds() -> None:
    ttl, challenge = options_of(Notes.Options)
    assert (ttl.label, ttl.default, ttl.low) == ("TTL", 60, 1)
    assert [value for value, _ in challenge.choices] == [DNS, ACCOUNT, PERSIST]


def test_dns_01_is_the_digest_under_the_name() -> None:
    record = notes().record(TASK)
    assert record.name == "_acme-challenge.one.test"
    # printf %s token.thumbprint | openssl dgst -sha256 -binary | basenc --base64url | tr -d =
    assert record.value == "61rBZ_4knHblO0MNoxFsXZ_eTFUHum0B6IVRbhvUn5I" == digest("token.thumbprint")


def test_dns_account_01_is_under_a_label_of_the_account() -> None:
    """The example of draft-ietf-acme-dns-account-label."""
    assert account_label(ACCOUNT_URL) == "ujmmovf2vn55tgye"
    task = Task("one.test", "token", "token.thumbprint", type=ACCOUNT, account_url=ACCOUNT_URL)
    record = notes(challenge=ACCOUNT).record(task)
    assert record.name == "_ujmmovf2vn55tgye._acme-challenge.one.test"
    assert record.value == digest("token.thumbprint")


def test_dns_persist_01_names_the_ca_and_the_account() -> None:
    record = notes(challenge=PERSIST).record(STANDING)
    assert (record.name, record.value) == ("_validation-persist.one.test", CONSENT)
    wild = Task("one.test", "", "", type=PERSIST, wildcard=True, account_url=ACCOUNT_URL, issuers=("ca.test",))
    assert notes().record(wild).value == f"{CONSENT}; policy=wildcard"


@pytest.mark.parametrize("missing", [{"account_url": ""}, {"issuers": ()}])
def test_dns_persist_01_needs_what_the_ca_says(missing: dict[str, Any]) -> None:
    given = {"account_url": ACCOUNT_URL, "issuers": ("ca.test",), **missing}
    with pytest.raises(InputError, match="standing record"):
        notes().record(Task("one.test", "", "", type=PERSIST, **given))


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (CONSENT, True),
        (f"CA2.test.;accounturi = {ACCOUNT_URL}; policy=wildcard", True),
        (f"{CONSENT}; persistUntil=9999999999", True),
        (f"{CONSENT}; persistUntil=1000000000", False),
        (f"{CONSENT}; future=1; accounturi={ACCOUNT_URL}", False),
        (f"{CONSENT};", False),
        (f"other.test; accounturi={ACCOUNT_URL}", False),
        (f"{CONSENT}2", False),
        ("ca.test", False),
        ("", False),
        (";;;=", False),
    ],
)
def test_which_standing_records_a_ca_takes(value: str, taken: bool) -> None:
    assert notes().accepts(STANDING)(value) is taken


def test_a_wildcard_needs_its_policy() -> None:
    wild = Task("one.test", "", "", type=PERSIST, wildcard=True, account_url=ACCOUNT_URL, issuers=("ca.test",))
    assert not notes().accepts(wild)(CONSENT)
    assert notes().accepts(wild)(f"{CONSENT}; policy=WildCard")


def test_present_writes_where_the_alias_ends_and_clean_takes_just_that_away() -> None:
    solver = notes(Answer(NS1), aliases=("_acme-challenge.one.test",))
    data = solver.present(TASK)
    assert solver.added == ("two.test", "x.two.test", digest("token.thumbprint"), 60)
    solver.clean(TASK, data)
    assert solver.removed == ("two.test", "x.two.test", digest("token.thumbprint"), {"id": 7})


def test_clean_without_data_finds_the_place_again() -> None:
    solver = notes(Answer(NS1), aliases=("_acme-challenge.one.test",))
    solver.clean(TASK, {})
    assert solver.removed == ("two.test", "x.two.test", digest("token.thumbprint"), {})


def test_a_standing_record_is_written_once_and_stays() -> None:
    solver = notes(Answer(NS1, ("something else",)), challenge=PERSIST)
    solver.clean(STANDING, solver.present(STANDING))
    assert solver.added == ("one.test", "_validation-persist.one.test", CONSENT, 60)
    assert not hasattr(solver, "removed")

    again = notes(Answer(NS1, (CONSENT,)), Answer(NS2, ("more", CONSENT)), challenge=PERSIST)
    assert again.present(STANDING) == {}
    assert not hasattr(again, "added")
    assert again.awaited(STANDING) == ""


def test_a_standing_record_at_some_servers_only_is_written_again() -> None:
    solver = notes(Answer(NS1, (CONSENT,)), Answer(NS2), challenge=PERSIST)
    solver.present(STANDING)
    assert solver.added[2] == CONSENT


def test_the_end_that_an_owner_set_is_never_overridden(move_clock: Callable[[float], None]) -> None:
    until = clock.now() + timedelta(hours=1)
    solver = notes(Answer(NS1, (f"{CONSENT}; persistUntil={int(until.timestamp())}",)), challenge=PERSIST)
    assert solver.present(STANDING) == {}
    move_clock(7200)
    with pytest.raises(ConflictError, match=rf"until {until:%Y-%m-%d %H:%M} UTC only"):
        solver.present(STANDING)
    assert not hasattr(solver, "added")
    renewed = notes(Answer(NS1, (f"{CONSENT}; persistUntil=1000000000", CONSENT)), challenge=PERSIST)
    assert renewed.present(STANDING) == {}


RIGHT = (digest("token.thumbprint"),)


def test_nothing_is_waited_for_once_every_server_shows_the_record() -> None:
    assert waiting(Answer(NS1, RIGHT), Answer(NS1_V6, ("other", *RIGHT)), Answer(NS2, RIGHT)) == ""


def test_the_servers_that_lag_are_named_with_their_addresses() -> None:
    assert (
        waiting(Answer(NS1), Answer(NS1_V6), Answer(NS2, RIGHT)) == "Waiting until ns1.one.test (192.0.2.1 and "
        "2001:db8::1) shows the TXT record _acme-challenge.one.test."
    )
    assert (
        waiting(Answer(NS1, ("old",)), Answer(NS2)) == "Waiting until ns1.one.test (192.0.2.1) and "
        "ns2.one.test (192.0.2.2) show the TXT record _acme-challenge.one.test."
    )


def test_many_servers_are_counted() -> None:
    many = [Answer(Server(f"ns{number}.one.test", f"192.0.2.{number}")) for number in range(1, 8)]
    assert "and 3 more show" in waiting(*many)


def test_a_server_that_could_not_be_asked_is_not_waited_for_but_named_with_the_others() -> None:
    unasked = Answer(NS1_V6, trouble="no way there over IPv6 from here")
    assert waiting(Answer(NS1, RIGHT), unasked) == ""
    assert waiting(Answer(NS1), unasked).endswith(
        "Could not be asked from here: ns1.one.test (2001:db8::1): no way there over IPv6 from here."
    )


def test_where_no_server_can_be_asked_the_resolvers_decide() -> None:
    unasked = Answer(NS1, trouble="no answer")
    assert waiting(unasked, cached=RIGHT) == ""
    sentence = waiting(unasked, cached=("old",))
    assert "No name server of one.test could be asked from here (ns1.one.test (192.0.2.1): no answer)" in sentence
    assert "192.0.2.53, asked instead, does not show it yet: a cache may be older" in sentence


def test_the_end_of_an_alias_is_named() -> None:
    assert "_acme-challenge.one.test (at x.two.test)" in waiting(Answer(NS1), aliases=("_acme-challenge.one.test",))


def test_dns_that_fails_is_waited_for_in_its_own_words() -> None:
    class Failing(Answering):
        def txt(self, name: str) -> Found:
            raise Unavailable("The zone of one.test cannot be found in DNS.")

    solver = Notes(Notes.Options())
    solver.resolver = Failing()  # type: ignore[assignment]
    assert solver.awaited(TASK) == "The zone of one.test cannot be found in DNS."


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((Answer(NS1, RIGHT),), "the name server of one.test shows the right value here"),
        ((Answer(NS1, RIGHT), Answer(NS2, RIGHT)), "all 2 name servers of one.test show the right value here"),
        ((Answer(NS1, RIGHT), Answer(NS2)), "not at ns2.one.test (192.0.2.2)"),
        ((Answer(NS1, ("old\x00value",)),), "another value: old value"),
        ((Answer(NS1),), "no TXT record there"),
        ((Answer(NS1, exists=False),), "the name does not exist"),
        ((Answer(NS1, trouble="no answer"),), "no name server of one.test could be asked from here"),
    ],
)
def test_what_is_seen_is_said(answers: tuple[Answer, ...], words: str) -> None:
    assert words in shown(*answers)


def test_looking_never_raises() -> None:
    evidence = Notes(Notes.Options()).look(Task("one.test", "", "", type=PERSIST))
    assert evidence.seen.startswith("The CA did not say")
    assert not evidence.right


def test_what_a_person_pastes_into_a_shell_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the zone chooses the names of its servers and the ends of its aliases."""
    evil = Answer(Server("`id`.test", "192.0.2.1"), RIGHT)
    monkeypatch.setattr(Resolver, "txt", lambda _, name: Answering(evil).txt(name))
    evidence = Notes(Notes.Options()).look(TASK)
    assert evidence.curl == "dig '@`id`.test' _acme-challenge.one.test TXT"
    assert evidence.right


@pytest.mark.parametrize(
    "end", ["-rf.two.test", "a/../b.two.test", "a b.two.test", "x\\;y.two.test", "$x.two.test", ""]
)
def test_an_alias_to_what_is_no_plain_name_is_not_followed_by_a_record(end: str) -> None:
    class Elsewhere(Answering):
        def txt(self, name: str) -> Found:
            return replace(super().txt(name), name=end)

    solver = Notes(Notes.Options())
    solver.resolver = Elsewhere(Answer(NS1))  # type: ignore[assignment]
    with pytest.raises(InputError, match="no record can be written"):
        solver.present(TASK)
    assert not hasattr(solver, "added")
