import pytest
from pytest_django import Settings

from certs.management import announcement
from certs.management.announcement import Addresses, address_lines, addresses_here, link_lines

pytestmark = pytest.mark.django_db
EVERY = ["0.0.0.0", "::"]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.services.addresses.local_addresses", lambda: ["127.0.0.1", "172.17.0.1", "192.0.2.7"])
    monkeypatch.setattr("certs.services.addresses._outgoing", lambda *_: "192.0.2.7")


def listen(settings: Settings, addresses: list[str]) -> Addresses:
    settings.HTTP_ADDRESSES = settings.HTTPS_ADDRESSES = addresses
    return addresses_here()


def test_on_all_addresses_it_names_the_machine_too(settings: Settings) -> None:
    addresses = listen(settings, EVERY)
    here, elsewhere = address_lines(addresses)
    assert here.startswith("Bindery is up: http://localhost:")
    assert elsewhere.startswith("From other machines: http://192.0.2.7:")
    links = [line for line in link_lines(addresses, "abc") if line.endswith("/setup/abc/")]
    assert [link.split("//")[0] for link in links] == ["http:", "https:", "https:"]
    assert links[2].startswith("https://192.0.2.7:")


def test_on_one_address_there_is_nothing_to_add(settings: Settings) -> None:
    assert len(address_lines(listen(settings, ["127.0.0.1"]))) == 1
    assert len(address_lines(listen(settings, ["192.0.2.7"]))) == 1


def test_the_public_url_says_enough(settings: Settings) -> None:
    settings.PUBLIC_URL = f"https://portal.example.com:{settings.HTTPS_PORT}"
    addresses = listen(settings, EVERY)
    assert address_lines(addresses)[0].startswith("Bindery is up: http://portal.example.com:")
    assert len(address_lines(addresses)) == 1


def test_behind_a_forwarded_port_only_the_public_url_is_printed(settings: Settings) -> None:
    settings.PUBLIC_URL, settings.HTTP_PORT, settings.HTTPS_PORT = "https://portal.example.com", 8080, 8443
    addresses = listen(settings, EVERY)
    printed = "\n".join([*address_lines(addresses), *link_lines(addresses, "abc")])
    assert "Bindery is up: https://portal.example.com/\n" in printed
    assert "https://portal.example.com/setup/abc/" in printed
    assert "8080" not in printed
    assert "8443" not in printed
    settings.HTTPS_PORT = 443
    assert (
        "http://portal.example.com:8080/ and https://portal.example.com/" in address_lines(listen(settings, EVERY))[0]
    )


def test_ipv6_stands_in_brackets_where_there_is_no_ipv4(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    own = ["127.0.0.1", "::1", "2001:db8::7"]
    monkeypatch.setattr("certs.services.addresses.local_addresses", lambda: own)
    monkeypatch.setattr("certs.services.addresses._outgoing", lambda *_: "")
    assert "http://[2001:db8::7]:" in address_lines(listen(settings, EVERY))[1]
    own.append("192.0.2.7")
    assert "http://192.0.2.7:" in address_lines(listen(settings, EVERY))[1]
    assert "http://[2001:db8::7]:" in address_lines(listen(settings, ["::"]))[1]


def test_a_machine_without_a_network_has_no_such_line(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr("certs.services.addresses.local_addresses", lambda: ["127.0.0.1", "::1"])
    assert len(address_lines(listen(settings, EVERY))) == 1
    assert "from another machine" not in " ".join(link_lines(announcement.addresses_here(), "abc"))
