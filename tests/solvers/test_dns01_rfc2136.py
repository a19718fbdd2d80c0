"""Dynamic updates against BIND: what stands in the zone afterwards, and what is said of every refusal."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import dns.message
import dns.rcode
import dns.tsig
import pytest

from certs.domain.errors import BinderyError, InputError, Unavailable
from certs.domain.options import OptionRefused, options_read, options_split
from certs.solvers.base import Site, Task
from certs.solvers.dns import PERSIST, digest
from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from certs.transports.dns import Resolver
from tests.harness.bind import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Bind
from tests.harness.dns import DnsServer
from tests.harness.need import need
from tests.harness.ports import LOOPBACK, free_port, has_ipv6, wait_until

RECORDS = {
    "one.test": ["_acme-challenge.delegated CNAME a1b2.two.test.", "_acme-challenge.kept TXT kept"],
    "two.test": [],
}
ACCOUNT_URL = "https://ca.test/account/1"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    need("named")
    with Bind(zones=RECORDS, records=RECORDS) as running:
        yield running


def options(bind: Bind, **changed: Any) -> Dns01Rfc2136.Options:
    given = {"server": LOOPBACK, "port": bind.port, "key": KEY, "secret": SECRET, "timeout": 3, **changed}
    return options_read(Dns01Rfc2136.Options, given)


def solver(bind: Bind, *, site: Site | None = None, **changed: Any) -> Dns01Rfc2136:
    return Dns01Rfc2136(options(bind, **changed), site or Site(resolvers=(bind.address,), authorities=(bind.address,)))


def task(name: str, token: str = "token", **rest: Any) -> Task:
    return Task(name, token, f"{token}.thumbprint", type="dns-01", account_url=ACCOUNT_URL, **rest)


def refused(bind: Bind, name: str = "refused.one.test", **changed: Any) -> BinderyError:
    with pytest.raises(BinderyError) as caught:
        solver(bind, **changed).present(task(name))
    for secret in (SECRET, SECRET.rstrip("="), "b" * 32, digest("token.thumbprint")):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_record_is_put_seen_and_taken_away(bind: Bind, transport: str) -> None:
    ours, asked = solver(bind, transport=transport), task(f"{transport}.one.test")
    name, value = f"_acme-challenge.{transport}.one.test", digest("token.thumbprint")
    assert ours.awaited(asked).startswith(f"Waiting until {bind.address}")

    data = ours.present(asked)
    assert bind.values(name) == {value}
    assert ours.awaited(asked) == ""
    evidence = ours.look(asked)
    assert evidence.right
    assert evidence.url == f"dns:{name}?type=TXT"
    assert evidence.curl == f"dig @{LOOPBACK} -p {bind.port} {name} TXT"

    ours.present(asked)  # once more, as after a kill
    assert bind.values(name) == {value}
    ours.clean(asked, data)
    assert bind.values(name) == set()
    ours.clean(asked, data)


def test_a_name_and_its_wildcard_stand_side_by_side(bind: Bind) -> None:
    ours = solver(bind)
    plain, wild = task("both.one.test", "plain"), task("both.one.test", "wild", wildcard=True)
    first, second = ours.present(plain), ours.present(wild)
    name = "_acme-challenge.both.one.test"
    assert bind.values(name) == {digest("plain.thumbprint"), digest("wild.thumbprint")}
    assert ours.awaited(plain) == ours.awaited(wild) == ""
    ours.clean(plain, first)
    assert bind.values(name) == {digest("wild.thumbprint")}
    ours.clean(wild, second)
    assert bind.values(name) == set()


def test_what_others_put_there_stays(bind: Bind) -> None:
    ours, asked = solver(bind), task("kept.one.test")
    ours.clean(asked, ours.present(asked))
    assert bind.values("_acme-challenge.kept.one.test") == {"kept"}


def test_an_alias_leads_the_record_into_the_zone_where_it_ends(bind: Bind) -> None:
    ours, asked = solver(bind), task("delegated.one.test")
    data = ours.present(asked)
    assert (data["zone"], data["name"]) == ("two.test", "a1b2.two.test")
    assert bind.values("a1b2.two.test") == {digest("token.thumbprint")}
    assert ours.awaited(asked) == ""
    ours.clean(asked, data)
    assert bind.values("a1b2.two.test") == set()


@pytest.mark.parametrize("name", ["killed.one.test", "delegated.one.test"])
def test_what_a_killed_present_left_is_cleaned_without_its_data(bind: Bind, name: str) -> None:
    solver(bind).present(task(name))
    solver(bind).clean(task(name), {})
    assert bind.values("_acme-challenge.killed.one.test") == set()
    assert bind.values("a1b2.two.test") == set()


def test_a_long_standing_record_is_written_whole_and_stays(bind: Bind) -> None:
    account = f"https://ca.test/{'a' * 300}"
    standing = Task("long.one.test", "", "", type=PERSIST, account_url=account, issuers=("ca.test",), wildcard=True)
    ours = solver(bind, challenge=PERSIST)
    ours.clean(standing, ours.present(standing))
    assert bind.values("_validation-persist.long.one.test") == {
        f"ca.test; accounturi={account}; policy=wildcard",
    }
    assert ours.awaited(standing) == ""
    assert ours.present(standing) == {}


def test_a_secondary_that_lags_is_named_until_it_has_caught_up(bind: Bind) -> None:
    with Bind(zones=("one.test",), primary=bind) as secondary:
        site = Site(resolvers=(bind.address,), authorities=(bind.address, secondary.address))
        ours, asked = solver(bind, site=site), task("lag.one.test")
        data = ours.present(asked)
        sentence = ours.awaited(asked)
        assert sentence == f"Waiting until {secondary.address} shows the TXT record _acme-challenge.lag.one.test."
        assert f"not at {secondary.address}" in ours.look(asked).seen
        assert not ours.look(asked).right
        secondary.notify()
        wait_until(lambda: ours.awaited(asked) == "", timeout=10, what="the secondary")
    ours.clean(asked, data)


def test_a_lagging_server_that_has_only_ipv6_is_found_and_named() -> None:
    if not has_ipv6():
        pytest.skip("left out: IPv6 on this machine")
    need("named")
    with (
        Bind(zones=("one.test",), listed={"one.test": (LOOPBACK, "::1")}) as primary,
        Bind(zones=("one.test",), primary=primary, addresses=("::1",), port=primary.port),
    ):
        ours, asked = solver(primary), task("six.one.test")
        ours.resolver = Resolver((primary.address,), port=primary.port)
        ours.present(asked)
        assert ours.awaited(asked) == (
            f"Waiting until ns2.one.test ([::1]:{primary.port}) shows the TXT record _acme-challenge.six.one.test."
        )


def test_a_key_that_the_server_does_not_know(bind: Bind) -> None:
    error = refused(bind, key="stranger")
    assert (error.code, error.message) == (
        "dns-update-key",
        f"The name server {LOOPBACK} does not know the key stranger with hmac-sha256 (BADKEY).",
    )


def test_an_algorithm_that_the_server_does_not_have_for_the_key(bind: Bind) -> None:
    assert refused(bind, algorithm="hmac-sha512").code == "dns-update-key"


def test_a_secret_that_is_wrong(bind: Bind) -> None:
    error = refused(bind, secret=OTHER_SECRET)
    assert error.code == "dns-update-key"
    assert "BADSIG" in error.message
    assert OTHER_SECRET not in str(error)


def test_a_clock_that_is_off(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    error = refused(bind)
    assert error.code == "dns-update-clock"
    assert "clock" in error.message


def test_a_key_that_may_not_change_the_zone(bind: Bind) -> None:
    error = refused(bind, key=OTHER_KEY, secret=OTHER_SECRET)
    assert "refuses to let the key reader change the zone one.test (REFUSED)" in error.message
    assert "update-policy" in error.advice


def test_an_update_without_a_key(bind: Bind) -> None:
    assert "refuses to let this machine change the zone" in refused(bind, key="", secret="").message


def test_a_server_that_has_not_the_zone(bind: Bind) -> None:
    with Bind(zones=("two.test",)) as other:
        error = refused(bind, port=other.port)
    assert "is not responsible for the zone one.test (NOTAUTH)" in error.message


def test_a_zone_that_is_set_is_taken_and_must_hold_the_name(bind: Bind) -> None:
    ours, asked = solver(bind, zone="One.Test."), task("fixed.one.test")
    data = ours.present(asked)
    assert data["record"] == {"zone": "one.test"}
    ours.clean(asked, data)
    error = refused(bind, name="delegated.one.test", zone="one.test")
    assert isinstance(error, InputError)
    assert "a1b2.two.test is outside the zone one.test" in error.message
    assert "NOTAUTH" in refused(bind, name="www.sub.one.test", zone="sub.one.test").message


def test_the_port_may_stand_with_the_server(bind: Bind) -> None:
    ours, asked = solver(bind, server=f"localhost:{bind.port}", port=53), task("port.one.test")
    ours.clean(asked, ours.present(asked))


def test_a_server_that_is_not_there(bind: Bind) -> None:
    gone = refused(bind, port=free_port())
    assert isinstance(gone, Unavailable)
    assert "Connection refused" in gone.message
    nameless = refused(bind, server="ns.invalid")
    assert isinstance(nameless, Unavailable)


def test_a_server_that_is_silent(bind: Bind) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        started = time.monotonic()
        error = refused(bind, port=silent.getsockname()[1], timeout=1)
        assert time.monotonic() - started < 3
    assert "did not answer an update within 1 s" in error.message
    assert "TCP" in error.advice


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SERVFAIL", "SERVFAIL"),
        ("NOTIMP", "takes no dynamic updates"),
        ("NOTZONE", "Set the zone"),
        ("YXRRSET", "YXRRSET"),
    ],
)
def test_other_refusals_are_said(bind: Bind, code: str, words: str) -> None:
    class Refusing(DnsServer):
        def answer(self, wire: bytes) -> bytes:
            response = dns.message.make_response(dns.message.from_wire(wire))
            response.set_rcode(dns.rcode.from_text(code))
            return response.to_wire()

    with Refusing() as server:
        error = refused(bind, port=server.port, key="", secret="")
    assert words in str(error)


def test_an_answer_that_is_not_signed_is_not_believed(bind: Bind) -> None:
    class Forging(DnsServer):
        def answer(self, wire: bytes) -> bytes:
            zone = wire[12 : wire.index(0, 12) + 5]
            return wire[:2] + bytes.fromhex("a800 0001 0000 0000 0000") + zone  # an update done, unsigned

    with Forging() as server:
        error = refused(bind, port=server.port)
    assert error.code == "dns-update-signature"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"secret": "not base64 at all!"}, "secret"),
        ({"secret": ""}, "secret"),
        ({"key": ""}, "key"),
        ({"key": "two..dots"}, "key"),
        ({"server": "dns://ns1.one.test"}, "server"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(bind: Bind, changed: dict[str, str], field: str) -> None:
    with pytest.raises(OptionRefused) as caught:
        Dns01Rfc2136(options(bind, **changed))
    assert caught.value.field == field
    assert "not base64 at all" not in str(caught.value)


def test_the_secret_is_kept_apart(bind: Bind) -> None:
    shown, hidden = options_split(options(bind))
    assert hidden == {"secret": SECRET}
    assert "secret" not in shown
