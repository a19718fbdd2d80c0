"""Which names may be asked for on demand."""

import pytest

from certs.domain.errors import InputError, NameRefused
from certs.domain.on_demand import HOSTS_LIMIT, HostList, hosts_parse

HOSTS = HostList.of(hosts_parse(["a.example.com", "*.b.example.com", "bücher.example"]))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("a.example.com", True),
        ("x.b.example.com", True),
        ("xn--bcher-kva.example", True),
        ("b.example.com", False),
        ("y.x.b.example.com", False),
        ("b.a.example.com", False),
        ("example.com", False),
        ("com", False),
        ("", False),
        ("*.b.example.com", True),  # no server name: the service refuses it
    ],
)
def test_the_name_itself_or_a_direct_child(name: str, allowed: bool) -> None:
    assert HOSTS.allows(name) is allowed


def test_a_child_is_not_listed_by_itself() -> None:
    assert HOSTS.lists("a.example.com")
    assert not HOSTS.lists("x.b.example.com")


def test_an_empty_list_allows_nothing() -> None:
    assert not HostList()
    assert not HostList().allows("")
    assert not HostList().allows("a.example.com")


@pytest.mark.parametrize("host", ["192.0.2.7", "localhost", "https://a.example.com", "*", "*.com", "a_b.example.com"])
def test_what_no_ca_gives_cannot_be_listed(host: str) -> None:
    with pytest.raises(NameRefused):
        hosts_parse([host])


def test_a_list_has_an_end() -> None:
    with pytest.raises(InputError, match="at most"):
        hosts_parse(f"n{number}.example.com" for number in range(HOSTS_LIMIT + 1))
    assert hosts_parse(["B.example.com", "a.example.com ", "b.example.com", " "]) == ["a.example.com", "b.example.com"]
