"""The environment's proxies: which of them a URL goes through, and what spares it."""

import pytest

from certs.domain.errors import InputError
from certs.domain.proxies import is_spared, proxy_for, proxy_parse

URL = "https://ca.example.com/directory"
P = "http://10.0.0.1:3128"


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"HTTPS_PROXY": P}, "HTTPS_PROXY"),
        ({"https_proxy": P}, "https_proxy"),
        ({"https_proxy": P, "HTTPS_PROXY": "http://other:1"}, "https_proxy"),
        ({"ALL_PROXY": P}, "ALL_PROXY"),
        ({"all_proxy": P, "HTTP_PROXY": "http://other:1"}, "all_proxy"),
        ({"HTTPS_PROXY": P, "ALL_PROXY": "http://other:1"}, "HTTPS_PROXY"),
        ({"HTTP_PROXY": P}, ""),
        ({"https_proxy": "", "HTTPS_PROXY": P}, ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "example.com"}, ""),
        ({"HTTPS_PROXY": P, "no_proxy": "example.com"}, ""),
        ({"HTTPS_PROXY": P, "no_proxy": "", "NO_PROXY": "example.com"}, "HTTPS_PROXY"),
        ({}, ""),
    ],
)
def test_which_variable_counts(environment: dict[str, str], variable: str) -> None:
    found = proxy_for(URL, environment)
    assert (found.variable if found else "") == variable
    assert found is None or (found.host, found.port) == ("10.0.0.1", 3128)


@pytest.mark.parametrize(
    ("no_proxy", "spared"),
    [
        ("ca.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("CA.Example.COM.", True),
        ("ca.example.com:443", True),
        ("ca.example.com:8443", False),
        ("*", True),
        ("one.test,, example.com", True),
        ("one.test example.com", True),
        ("a.example.com", False),
        ("ample.com", False),
        ("example", False),
        ("10.0.0.0/8", False),
        (".", False),
        ("", False),
    ],
)
def test_names_that_are_spared(no_proxy: str, spared: bool) -> None:
    assert is_spared(URL, no_proxy) is spared


@pytest.mark.parametrize(
    ("host", "no_proxy", "spared"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.9/8", True),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("110.1.2.3", "10.1.2.3", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "FD00::1", True),
        ("[fd00::1]", "[fd00::1]:443", True),
        ("[fd00::1]", "[fd00::1]:80", False),
        ("[fd00::1]", "10.0.0.0/8", False),
        ("[::1", "*.x", False),
    ],
)
def test_addresses_that_are_spared(host: str, no_proxy: str, spared: bool) -> None:
    assert is_spared(f"https://{host}/", no_proxy) is spared


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("proxy:3128", "proxy:3128 (HTTPS_PROXY)"),
        ("http://proxy", "proxy:80 (HTTPS_PROXY)"),
        ("https://proxy", "proxy:443 (HTTPS_PROXY)"),
        ("http://[fd00::1]:3128/", "[fd00::1]:3128 (HTTPS_PROXY)"),
        ("http://user:s3cret@proxy:3128", "proxy:3128 (HTTPS_PROXY)"),
        ("user:s3cret@proxy:3128", "proxy:3128 (HTTPS_PROXY)"),
    ],
)
def test_a_proxy_is_shown_without_its_password(value: str, shown: str) -> None:
    proxy = proxy_parse("HTTPS_PROXY", value)
    assert str(proxy) == shown
    assert "s3cret" not in repr(proxy)
    assert proxy.url.endswith(value)


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:s3cret@proxy:1080",
        "http://user:s3#cret@proxy:3128",
        "http://user:s3/cret@proxy:3128",
        "http://user:s3?cret@proxy:3128",
        "http://proxy:99999",
        "http://proxy:0",
        "http://:3128",
        "http://[",
        "ftp://proxy",
    ],
)
def test_what_names_no_proxy_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(InputError, match="HTTPS_PROXY") as caught:
        proxy_for(URL, {"HTTPS_PROXY": value})
    assert "s3" not in str(caught.value).replace("http://", "")
