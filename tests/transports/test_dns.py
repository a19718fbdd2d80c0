"""What the authoritative servers of real zones (BIND) say, and what is made of servers that say nothing."""

import socket
import time
from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from certs.domain.addresses import server_parse
from certs.domain.errors import InputError, Unavailable
from certs.transports.dns import Resolver
from certs.transports.dns_answers import CaaRecord, NoZone, Server, Zone
from certs.transports.dns_messages import query_send
from tests.harness.bind import Bind
from tests.harness.dns import DnsServer
from tests.harness.need import need
from tests.harness.ports import LOOPBACK, free_port, has_ipv6

NOBODY = "127.0.0.2"  # loopback, and nobody answers there
RECORDS = {
    "test": [],
    "one.test": [
        "www A 192.0.2.1",
        "www AAAA 2001:db8::1",
        "www TXT first",
        'www TXT "sec" "ond"',
        "outside CNAME www.two.test.",
        '@ CAA 0 issue "letsencrypt.org;validationmethods=dns-01"',
        '@ CAA 128 iodef "mailto:a@one.test"',
        "alias CNAME caa.two.test.",
        "dangling CNAME gone.nowhere.",
        "around CNAME about.two.test.",
        *(f"long TXT {letter * 250}" for letter in "abcdefgh"),
    ],
    "sub.one.test": ["_acme-challenge CNAME up.one.test."],
    "dark.test": ["www TXT first"],
    "two.test": [
        "www CNAME further.one.test.",
        "caa CAA 0 issue other.test",
        "about CNAME around.one.test.",
    ],
}


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    """The zones have the servers 127.0.0.1 and, where there is IPv6, ::1; dark.test has one where nobody answers."""
    need("named")
    addresses = (LOOPBACK, "::1") if has_ipv6() else (LOOPBACK,)
    with Bind(zones=RECORDS, records=RECORDS, addresses=addresses, listed={"dark.test": (LOOPBACK, NOBODY)}) as running:
        yield running


@pytest.fixture
def resolver(bind: Bind) -> Resolver:
    return Resolver((bind.address,), port=bind.port)


def test_the_zone_of_a_name_is_where_authority_begins(resolver: Resolver) -> None:
    assert resolver.zone("deep.www.one.test").name == "one.test"
    assert resolver.zone("deep.sub.one.test").name == "sub.one.test"
    assert resolver.zone("one.test").name == "one.test"


def test_every_server_is_asked_over_both_families(bind: Bind, resolver: Resolver) -> None:
    found = resolver.txt("WWW.one.test.")
    assert {each.server.address for each in found.said} == set(bind.addresses)
    assert all(each.values == ("first", "second") for each in found.said)


def test_a_server_that_cannot_be_reached_says_neither_yes_nor_no(resolver: Resolver) -> None:
    found = resolver.txt("www.dark.test")
    (unasked,) = found.unasked
    assert unasked.server.address == NOBODY
    assert unasked.trouble == "nobody answers there"
    assert not found.lacking(lambda value: value == "first")
    assert NOBODY not in {server.address for server in found.lacking(lambda value: value == "third")}


def test_aliases_are_followed_from_zone_to_zone(resolver: Resolver) -> None:
    found = resolver.txt("outside.one.test")
    assert (found.name, found.zone.name) == ("further.one.test", "one.test")
    assert found.aliases == ("outside.one.test", "www.two.test")
    assert not any(each.exists for each in found.said)


def test_an_alias_into_the_zone_above_does_not_move_its_own_zone(resolver: Resolver) -> None:
    """Its answer carries the SOA of the target's zone, which is above the alias as well."""
    assert resolver.zone("_acme-challenge.sub.one.test").name == "sub.one.test"
    assert resolver.txt("_acme-challenge.sub.one.test").name == "up.one.test"


def test_aliases_without_end_are_named(resolver: Resolver) -> None:
    with pytest.raises(InputError, match=r"around\.one\.test → about\.two\.test → around\.one\.test"):
        resolver.txt("around.one.test")


def test_no_resolver_is_asked_for_the_record_itself(bind: Bind) -> None:
    """It would remember that it is missing, and tell so a CA that asks the same one."""
    with Bind(zones=RECORDS, records=RECORDS) as recursive:
        resolver = Resolver((recursive.address,), port=bind.port)
        assert resolver.txt("_label._acme-challenge.www.one.test").said
        assert resolver.txt("outside.one.test").name == "further.one.test"
        asked = {line.split("query: ")[1].split()[0] for line in recursive.log.splitlines() if "query: " in line}
    assert "www.one.test" in asked
    assert not {name for name in asked if "_" in name or "outside" in name or "further" in name}


def test_a_record_in_a_zone_of_its_own_is_asked_there(bind: Bind) -> None:
    if not has_ipv6():
        pytest.skip("left out: IPv6 on this machine")
    child = "_acme-challenge.ref.one.test"
    above = {"one.test": [f"_acme-challenge.ref NS ns1.{child}.", "ns1._acme-challenge.ref AAAA ::1"]}
    with (
        Bind(zones=("one.test",), records=above) as parent,
        Bind(zones=(child,), records={child: ["@ TXT there"]}, addresses=("::1",), port=parent.port),
        Bind(zones=("one.test", child), listed={child: ("::1",)}) as recursive,
    ):
        found = Resolver((recursive.address,), port=parent.port).txt(child)
    assert found.zone.name == child
    assert found.values == ("there",)


def test_an_alias_to_nowhere_is_named(bind: Bind) -> None:
    with (
        DnsServer() as root,
        pytest.raises(NoZone, match=r"dangling\.one\.test is an alias \(CNAME\) of gone\.nowhere"),
    ):
        Resolver((root.address,), (bind.address,)).txt("dangling.one.test")


def test_addresses_come_from_the_authoritative_servers(resolver: Resolver) -> None:
    ipv4, ipv6 = resolver.addresses("www.one.test")
    assert ipv4.values == ("192.0.2.1",)
    assert ipv6.values == ("2001:db8::1",)
    assert resolver.addresses("nothing.one.test")[0].values == ()


def test_an_answer_too_long_for_udp_comes_by_tcp(resolver: Resolver) -> None:
    assert [value[0] for value in resolver.txt("long.one.test").values] == list("abcdefgh")


def test_caa_is_taken_from_the_nearest_name_that_has_any(resolver: Resolver) -> None:
    found = resolver.caa("*.deep.www.one.test")
    assert found.name == "one.test"
    assert set(found.records) == {
        CaaRecord(0, "issue", "letsencrypt.org;validationmethods=dns-01"),
        CaaRecord(128, "iodef", "mailto:a@one.test"),
    }


def test_caa_of_an_alias_is_that_of_its_target(resolver: Resolver) -> None:
    assert resolver.caa("alias.one.test").records == (CaaRecord(0, "issue", "other.test"),)


def test_caa_that_nobody_set_forbids_nothing(resolver: Resolver) -> None:
    found = resolver.caa("mail.two.test")
    assert (found.name, found.records, found.trouble) == ("", (), "")


def test_caa_above_an_inside_domain_is_not_missed(bind: Bind) -> None:
    """Where the resolver answers for the root, the names of an inside top-level domain have no zone above."""
    with DnsServer() as root:  # answers anything, and with no SOA
        found = Resolver((root.address,), (bind.address,)).caa("www.one.test")
        assert found.name == "one.test"
        found = Resolver((root.address,), (bind.address,)).caa("host.lan")
        assert (found.name, found.trouble) == ("", "")


def test_caa_of_aliases_without_end_is_trouble(resolver: Resolver) -> None:
    assert "never end" in resolver.caa("around.one.test").trouble


def test_caa_of_servers_that_cannot_be_asked_is_what_the_resolver_says_and_said_so(bind: Bind) -> None:
    resolver = Resolver((bind.address,), port=free_port())
    found = resolver.caa("www.one.test")
    assert found.name == "one.test"
    assert [str(each) for each in found.instead] == [f"{LOOPBACK}:{bind.port}"]
    free = resolver.caa("www.two.test")
    assert (free.name, free.trouble) == ("", "")
    assert free.instead


def test_caa_that_nobody_can_tell_is_trouble_and_no_permission() -> None:
    with DnsServer() as server:
        server.fail("www.one.test")
        resolver = Resolver((server.address,), port=free_port())
        resolver._zones["www.one.test"] = Zone("one.test", (Server("ns1", LOOPBACK, free_port()),))
        found = resolver.caa("www.one.test")
    assert not found.records
    assert not found.instead
    assert "nobody answers there" in found.trouble


def test_where_nobody_can_be_asked_instead_there_is_no_answer(bind: Bind) -> None:
    resolver = Resolver((bind.address, f"{LOOPBACK}:{free_port()}"), port=bind.port)
    heard, dead = resolver.instead("www.one.test", "A")
    assert (heard.values, dead.trouble) == (("192.0.2.1",), "nobody answers there")
    assert Resolver(("no-such-host.invalid",)).instead("www.one.test", "A") == ()


def test_authorities_are_asked_instead_and_only_for_what_they_hold(bind: Bind) -> None:
    inside = {"one.test": ["www TXT inside"]}
    with Bind(zones=("one.test",), records=inside) as other:
        resolver = Resolver((bind.address,), (other.address,), port=bind.port)
        assert resolver.txt("www.one.test").values == ("inside",)
        assert [str(server) for server in resolver.zone("www.one.test").servers] == [other.address]
        found = resolver.txt("caa.two.test")
        assert found.zone.name == "two.test"
        assert {each.server.address for each in found.said} == set(bind.addresses)


def test_authorities_that_are_down_are_not_passed_over(bind: Bind) -> None:
    gone = f"{LOOPBACK}:{free_port()}"
    with pytest.raises(Unavailable, match=f"{gone}: nobody answers there"):
        Resolver((bind.address,), (gone,), port=bind.port).txt("www.one.test")


def test_a_server_without_the_zone_does_not_count(bind: Bind) -> None:
    with Bind(zones=("two.test",)) as lame:
        found = Resolver((bind.address,), (bind.address, lame.address)).txt("www.one.test")
    assert [(each.server.port, each.trouble) for each in found.unasked] == [(lame.port, "it says REFUSED")]
    assert not found.lacking(lambda value: value == "first")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """host:port of each server that a question was sent to."""
    found: list[str] = []

    def send(query: dns.message.Message, server: Server, deadline: float) -> dns.message.Message:
        found.append(server.where)
        return query_send(query, server, deadline)

    monkeypatch.setattr("certs.transports.dns.query_send", send)
    return found


def test_a_silent_server_is_waited_for_once(bind: Bind, resolver: Resolver, sent: list[str]) -> None:
    resolver.txt("www.dark.test")
    (unasked,) = resolver.txt("www.dark.test").unasked
    assert unasked.trouble == "nobody answers there"
    assert sent.count(f"{NOBODY}:{bind.port}") == 1


def test_an_answer_from_a_cache_is_not_authoritative() -> None:
    with DnsServer() as server:
        server.authoritative = False
        resolver = Resolver(("127.0.0.1",), (server.address,))
        resolver._zones["one.test"] = _zone(server)
        (answer,) = resolver.ask("one.test", "A").answers
    assert answer.trouble == "it is not responsible for the zone"


def test_behind_a_closed_port_the_resolvers_tell_of_the_alias(bind: Bind) -> None:
    resolver = Resolver((bind.address,), port=free_port())
    found = resolver.txt("alias.one.test")
    assert found.name == "caa.two.test"
    assert not found.said
    (answer,) = resolver.recursive("www.one.test", "TXT")
    assert answer.values == ("first", "second")


def test_silent_servers_end_within_the_time_allowed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        address = f"{LOOPBACK}:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(Unavailable, match="could not be asked"):
            Resolver((address,), (address, address, address), seconds=0.5).txt("www.one.test")
        assert time.monotonic() - started < 5


def test_a_server_older_than_edns_is_asked_without() -> None:
    class Old(DnsServer):
        def answer(self, wire: bytes) -> bytes:
            query = dns.message.from_wire(wire)
            if query.edns < 0:
                return super().answer(wire)
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.FORMERR)
            return response.to_wire()

    with Old() as server:
        resolver = Resolver((server.address,))
        resolver._zones["one.test"] = _zone(server)
        assert resolver.ask("one.test", "A").values == (LOOPBACK,)


def test_a_name_without_a_zone_is_unavailable() -> None:
    with DnsServer() as server, pytest.raises(Unavailable, match=r"zone of .* cannot be found"):
        Resolver((server.address,)).zone("www.one.test")


def test_resolvers_that_fail_are_named_and_the_next_one_is_asked(bind: Bind) -> None:
    with DnsServer() as server:
        for name in ("www.one.test", "one.test", "ns1.one.test", "ns2.one.test", "ns3.one.test"):
            server.fail(name)
        with pytest.raises(Unavailable, match=f"{server.address}: it says SERVFAIL"):
            Resolver((server.address,)).zone("www.one.test")
        assert Resolver((server.address, bind.address), port=bind.port).zone("www.one.test").name == "one.test"


def test_a_resolver_that_is_down_is_asked_last(bind: Bind, sent: list[str]) -> None:
    down = f"{LOOPBACK}:{free_port()}"
    resolver = Resolver((down, bind.address), port=bind.port)
    assert resolver.txt("www.one.test").said
    assert resolver.txt("caa.two.test").said
    assert sent.count(down) == 1


def test_a_resolver_that_was_down_is_asked_again(bind: Bind) -> None:
    resolver = Resolver((f"{LOOPBACK}:{(port := free_port())}",), port=bind.port)
    with pytest.raises(Unavailable, match="nobody answers there"):
        resolver.zone("www.one.test")
    with Bind(zones=RECORDS, records=RECORDS, port=port):
        assert resolver.txt("www.one.test").said


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        (" [2001:db8::53]:5353 ", ("2001:db8::53", 5353)),
        ("ns1.example.com", ("ns1.example.com", 53)),
        ("ns1.example.com:54", ("ns1.example.com", 54)),
    ],
)
def test_servers_as_people_write_them(text: str, parsed: tuple[str, int]) -> None:
    assert server_parse(text, 53) == parsed


@pytest.mark.parametrize(
    "text", ["", ":53", "host:", "host:0", "host:65536", "host:x", "a b", "[::1", "[]:53", "udp://h"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a server"):
        server_parse(text, 53)


def _zone(server: DnsServer) -> Zone:
    return Zone("one.test", (Server("ns1.one.test", LOOPBACK, server.port),))
