import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from certs.domain.errors import InputError, NameRefused
from certs.models import AuditEvent, Listener
from certs.services import addresses
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("portal.example.com", "portal.example.com"),
        ("Portal.Example.COM.:8443", "portal.example.com"),
        ("[::1]:8443", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("[::1", ""),
        ("a:b", ""),
        ("a:99999", ""),
        ("u@h", ""),
        ("h/p", ""),
        ("h?q", ""),
        ("h#f", ""),
    ],
)
def test_the_host_of_a_header(header: str, host: str) -> None:
    assert addresses.host_normalize(header) == host


@given(st.text(max_size=80))
def test_no_header_breaks_it(header: str) -> None:
    host = addresses.host_normalize(header)
    assert host == host.lower()
    assert not set(host) & set("/?#@")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://portal.example.com", "https://portal.example.com"),
        (" https://Portal.example.com:443/ ", "https://portal.example.com"),
        ("http://portal.example.com:80", "http://portal.example.com"),
        ("http://192.0.2.7:8000", "http://192.0.2.7:8000"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_public_address_in_its_plain_form(text: str, url: str) -> None:
    assert addresses.url_parse(text) == url


@pytest.mark.parametrize(
    "text", ["", "portal", "ftp://x.example", "https://", "https://x.example/a", "https://x:y", "https://*.x.example"]
)
def test_what_is_no_address_of_a_portal_is_said(text: str) -> None:
    with pytest.raises(InputError):
        addresses.url_parse(text)


@pytest.mark.django_db
class TestAddresses:
    def test_the_environment_wins_over_the_page_over_the_guess(self, settings: Settings) -> None:
        assert addresses.public_url().startswith("http://")
        state_update(public_url="https://page.example.com")
        assert addresses.public_url() == "https://page.example.com"
        settings.PUBLIC_URL = "https://env.example.com/"
        assert addresses.public_url() == "https://env.example.com"

    def test_the_https_address_has_the_port_people_reach(self) -> None:
        Listener.objects.create(node=node_name(), protocol="https", port=8443, addresses=["::"])
        state_update(public_url="http://portal.example.com:8000")
        assert addresses.https_url() == "https://portal.example.com:8443"
        state_update(public_url="https://portal.example.com")  # a forwarded port
        assert addresses.https_url() == "https://portal.example.com"
        assert addresses.https_url("other.example.com") == "https://other.example.com:8443"
        assert addresses.https_url("::1") == "https://[::1]:8443"
        Listener.objects.update(port=443)
        assert addresses.https_url("other.example.com") == "https://other.example.com"

    def test_a_host_is_allowed_and_taken_back_with_an_audit_event(self) -> None:
        assert addresses.host_allow("Extra.Example.com", actor="command line") == "extra.example.com"
        addresses.host_allow("extra.example.com", actor="command line")
        assert state_get().extra_hosts == ["extra.example.com"]
        assert addresses.host_is_accepted("extra.example.com")
        addresses.host_disallow("extra.example.com", actor="command line")
        assert not addresses.host_is_accepted("extra.example.com")
        assert AuditEvent.objects.filter(action__startswith="host.").count() == 3

    @pytest.mark.parametrize("name", ["", "https://x.example", "a b", "*.example.com", "x/y"])
    def test_what_is_no_host_is_refused(self, name: str) -> None:
        with pytest.raises(NameRefused):
            addresses.host_allow(name, actor="command line")
        assert state_get().extra_hosts == []

    def test_a_star_in_the_environment_switches_the_check_off(self, settings: Settings) -> None:
        settings.EXTRA_HOSTS = ["*"]
        assert addresses.host_is_accepted("anything.example")
        assert not addresses.host_is_accepted("")


@pytest.mark.parametrize("given", ["https://Portal.Example.com/", "https://portal.example.com:443"])
def test_the_environment_s_address_is_compared_in_its_plain_form(settings: Settings, given: str) -> None:
    settings.PUBLIC_URL = given
    assert addresses.public_url() == "https://portal.example.com"


@pytest.mark.parametrize("given", ["portal.example.com", "https://portal.example.com:99999", "https://a.example/x"])
def test_an_address_of_the_environment_that_cannot_be_used_names_the_variable(given: str) -> None:
    with pytest.raises(InputError, match="BINDERY_PUBLIC_URL cannot be used"):
        addresses.public_url_given(given)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["*.one.test", "one.test"], "one.test"),
        (["*.example.com"], "portal.example.com"),
        (["*.one.test"], ""),
        (["a.test", "b.test"], "a.test"),
        ([], ""),
    ],
)
def test_a_wildcard_is_no_address_to_go_to(settings: Settings, names: list[str], host: str) -> None:
    settings.PUBLIC_URL = "https://portal.example.com"
    assert addresses.host_of(names) == host
