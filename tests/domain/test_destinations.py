import ipaddress

import pytest

from certs.domain.destinations import address_is_public

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "2001:0:1:1::1",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1",
           "::ffff:1.1.1.1", "2a00::1%2"]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_the_inside_of_a_network_is_not_public(address: str) -> None:
    assert not address_is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_internet_is(address: str) -> None:
    assert address_is_public(address)


@pytest.mark.parametrize("inner", [each for each in INSIDE if ":" not in each])
@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::"])
def test_no_wrapper_makes_an_address_public(prefix: str, inner: str) -> None:
    wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(ipaddress.IPv4Address(inner)))
    assert not address_is_public(str(wrapped))


def test_what_is_no_address_is_no_answer() -> None:
    with pytest.raises(ValueError, match="localhost"):
        address_is_public("localhost")
