"""Who is believed, and how far: tables of what proxies and liars send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.errors import InputError
from certs.domain.forwarded import Believed, Said, address_read, believed, is_near, network_shown, proxies_parse

ONE = proxies_parse(["192.0.2.10"])
CHAIN = proxies_parse(["192.0.2.10", "198.51.100.0/24", "2001:db8:1::/48"])


def _client(chain: str, peer: str = "192.0.2.10") -> str:
    found = believed(peer, Said(chain=chain), CHAIN)
    assert found is not None
    return found.client


@pytest.mark.parametrize("peer", ["192.0.2.11", "203.0.113.9", "::1", "", "unix:", "2001:db8:2::1", "not-an-address"])
def test_nothing_of_a_peer_that_is_not_listed_is_believed(peer: str) -> None:
    assert believed(peer, Said("203.0.113.5", "https", "portal.example.com"), CHAIN) is None


def test_nobody_is_believed_without_a_list() -> None:
    assert believed("127.0.0.1", Said(proto="https"), ()) is None


def test_what_a_listed_proxy_says_holds() -> None:
    said = Said("203.0.113.5", "https", "portal.example.com:8443")
    assert believed("192.0.2.10", said, ONE) == Believed("203.0.113.5", "https", "portal.example.com:8443")
    assert believed("::ffff:192.0.2.10", said, ONE) is not None


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("", "192.0.2.10"),
        ("203.0.113.5", "203.0.113.5"),
        ("10.6.6.6, 203.0.113.5", "203.0.113.5"),  # the left part is the client's own invention
        ("10.6.6.6, 203.0.113.5, 198.51.100.7", "203.0.113.5"),
        ("203.0.113.5, 198.51.100.7, 2001:db8:1::9", "203.0.113.5"),
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.5:51234", "203.0.113.5"),
        ("[2001:db8:2::5]:51234", "2001:db8:2::5"),
        ("[2001:db8:2::5]", "2001:db8:2::5"),
        ("2001:db8:2::5", "2001:db8:2::5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("  203.0.113.5\t", "203.0.113.5"),
        ("203.0.113.5, unknown", "192.0.2.10"),
        ("203.0.113.5, ", "192.0.2.10"),
        (",", "192.0.2.10"),
        ("203.0.113.5, junk, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.5, _hidden, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.5, fe80::1%eth0", "192.0.2.10"),
        ("203.0.113.5, 198.51.100.007", "192.0.2.10"),
        ("203.0.113.5, 198.51.100.7:port", "192.0.2.10"),
        ("203.0.113.5, [198.51.100.7]", "192.0.2.10"),
        ('for="[2001:db8:2::5]"', "192.0.2.10"),
    ],
)
def test_the_client_is_the_first_that_is_not_a_proxy_of_ours_from_the_right(chain: str, client: str) -> None:
    assert _client(chain) == client


@pytest.mark.parametrize(
    ("proto", "chain", "scheme"),
    [
        ("https", "203.0.113.5", "https"),
        ("HTTPS", "203.0.113.5", "https"),
        ("http", "203.0.113.5", "http"),
        ("", "203.0.113.5", ""),
        ("wss", "203.0.113.5", ""),
        ("https;", "203.0.113.5", ""),
        ("https, http", "203.0.113.5", "http"),  # one proxy, which appended to what the client had sent
        ("https, http", "203.0.113.5, 198.51.100.7", "https"),  # two proxies of ours, each with its own line
        ("http, https, http", "203.0.113.5, 198.51.100.7", "https"),
        ("https", "203.0.113.5, 198.51.100.7", "https"),  # the inner one handed on what the outer one wrote
        ("https,", "203.0.113.5", ""),
    ],
)
def test_the_scheme_is_that_which_the_outermost_proxy_of_ours_saw(proto: str, chain: str, scheme: str) -> None:
    found = believed("192.0.2.10", Said(chain, proto), CHAIN)
    assert found is not None
    assert found.scheme == scheme


@pytest.mark.parametrize(
    ("host", "read"),
    [
        ("portal.example.com", "portal.example.com"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ("evil.example.net, portal.example.com", "portal.example.com"),  # Apache appends
        ("portal.example.com/path", ""),
        ("user@portal.example.com", ""),
        ("portal.example.com\r\nX: y", ""),
        ("a" * 300, ""),
        ("", ""),
    ],
)
def test_the_host_is_a_host_or_nothing(host: str, read: str) -> None:
    found = believed("192.0.2.10", Said("203.0.113.5", "https", host), CHAIN)
    assert found is not None
    assert found.host == read


@given(chain=st.text(max_size=200), proto=st.text(max_size=40), host=st.text(max_size=80))
def test_whatever_is_sent_the_answer_is_an_address_a_scheme_and_a_host(chain: str, proto: str, host: str) -> None:
    found = believed("192.0.2.10", Said(chain, proto, host), CHAIN)
    assert found is not None
    assert address_read(found.client) is not None
    assert found.scheme in ("", "http", "https")
    assert not set(found.host) & set(" \r\n,/@")


@given(left=st.lists(st.sampled_from(["203.0.113.5", "10.0.0.1", "192.0.2.10", "198.51.100.7", "junk"]), max_size=6))
def test_nothing_that_a_client_writes_before_the_proxy_appends_its_address_changes_who_it_is(left: list[str]) -> None:
    assert _client(", ".join([*left, "203.0.113.77"])) == "203.0.113.77"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
        (["10.0.0.0/8", "fd00::/8"], ["10.0.0.0/8", "fd00::/8"]),
        ([" 192.0.2.10 ", "192.0.2.10/32"], ["192.0.2.10"]),
        (["[2001:db8::1]"], ["2001:db8::1"]),
        (["::ffff:192.0.2.10"], ["192.0.2.10"]),
        (["", "  "], []),
    ],
)
def test_addresses_and_networks_are_listed_once_in_order(typed: list[str], shown: list[str]) -> None:
    assert [network_shown(network) for network in proxies_parse(typed)] == shown


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("0.0.0.0/0", "too much of the Internet"),
        ("::/0", "too much of the Internet"),
        ("128.0.0.0/1", "too much of the Internet"),
        ("::ffff:0:0/96", "too much of the Internet"),
        ("0.0.0.0", "no address that a proxy has"),
        ("224.0.0.1", "no address that a proxy has"),
        ("10.0.0.5/8", "inside 10.0.0.0/8"),
        ("proxy.example.com", "a name is not enough"),
        ("10.0.0.1:80", "neither an IP address nor a network"),
        ("10.0.0.0/33", "neither an IP address nor a network"),
        ("fe80::1%eth0", "zone"),
        ("*", "neither an IP address nor a network"),
        ("x" * 500, "neither an IP address nor a network"),
    ],
)
def test_what_is_no_proxy_is_refused_with_a_sentence(typed: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        proxies_parse(["192.0.2.10", typed])


def test_a_list_that_nobody_could_read_is_refused() -> None:
    with pytest.raises(InputError, match="64 is the most"):
        proxies_parse([f"192.0.2.{number}" for number in range(65)])


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.17.0.2", True),
        ("fd00::5", True),
        ("8.8.8.8", False),
        ("2a00:1450::1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_near_is_what_no_stranger_connects_from(peer: str, near: bool) -> None:
    assert is_near(peer) is near
