import pytest
from django.test import Client
from django.urls import reverse

from certs.models import User
from certs.services import addresses
from certs.services.bindings import binding_set
from certs.services.portal_state import state_update
from portal import plainhttp
from tests import stock

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


@pytest.fixture(autouse=True)
def alice() -> User:
    return stock.administrator("alice@example.com")


@pytest.fixture
def browser() -> Client:
    return Client()


def _status(browser: Client, host: str, path: str = LOGIN) -> int:
    return browser.get(path, headers={"host": host}).status_code


class TestPlainHttpPaths:
    @pytest.mark.parametrize("prefix", plainhttp.PREFIXES)
    def test_they_pass_by_host_check_log_in_and_cookies(self, browser: Client, prefix: str) -> None:
        response = browser.get(prefix, headers={"host": "no.such.host.example"})
        assert response.status_code in (200, 404, 503)
        assert "Location" not in response
        assert not response.cookies

    def test_what_is_unknown_below_a_prefix_is_404_and_nothing_else(self, browser: Client) -> None:
        response = browser.get("/pki/crl/nobody.crl")
        assert response.status_code == 404
        assert response.content == b"Not found.\n"

    @pytest.mark.parametrize("path", ["/healthzz", "/.well-known/", "/x/healthz", "//healthz", "/HEALTHZ"])
    def test_what_only_looks_like_one_is_a_page_like_any_other(self, browser: Client, path: str) -> None:
        assert _status(browser, "no.such.host.example", path) == 400


class TestAcceptedHosts:
    @pytest.mark.parametrize(
        "host", ["localhost", "127.0.0.1:8000", "[::1]:8443", "LOCALHOST", "localhost.", "127.0.0.1"]
    )
    def test_own_addresses_are_known(self, browser: Client, host: str) -> None:
        assert _status(browser, host) == 200

    def test_an_unknown_host_gets_a_page_that_names_the_fix(self, browser: Client) -> None:
        response = browser.get(LOGIN, headers={"host": "portal.example.com:8000"})
        page = response.content.decode()
        assert response.status_code == 400
        assert "manage.py allow_host portal.example.com" in page
        assert "BINDERY_ALLOWED_HOSTS" in page

    @pytest.mark.parametrize(
        "host",
        ["evil.example;rm -rf ~", "<script>", "a b", "a\x00b", "user@localhost", "localhost/x", "[::1", ":80", "x:y"],
    )
    def test_what_is_no_host_is_refused_and_not_repeated(self, browser: Client, host: str) -> None:
        response = browser.get(LOGIN, headers={"host": host})
        assert response.status_code == 400
        page = response.content.decode()
        assert "<script>" not in page
        assert "rm -rf" not in page

    def test_names_take_effect_without_a_restart(self, browser: Client) -> None:
        for host, accept in (
            ("public.example.com", lambda: state_update(public_url="https://public.example.com:8443")),
            ("extra.example.com", lambda: addresses.host_allow("extra.example.com", actor="test")),
            ("bound.example.com", lambda: binding_set("", stock.issued("bound.example.com"), actor="test")),
        ):
            assert _status(browser, host) == 400
            accept()
            assert _status(browser, host) == 200

    def test_a_wildcard_of_a_bound_certificate_covers_one_label(self, browser: Client) -> None:
        binding_set("", stock.uploaded("*.wild.example.com"), actor="test")
        assert _status(browser, "a.wild.example.com") == 200
        assert _status(browser, "a.b.wild.example.com") == 400
        assert _status(browser, "wild.example.com") == 400

    def test_hosts_of_the_environment(self, browser: Client, settings: object) -> None:
        settings.EXTRA_HOSTS = ["Env.example.com", "*.dev.example.com"]  # type: ignore[attr-defined]
        assert _status(browser, "env.example.com") == 200
        assert _status(browser, "x.dev.example.com") == 200

    def test_static_files_pass_so_that_the_page_has_its_looks(self, browser: Client) -> None:
        response = browser.get("/static/bindery.css", headers={"host": "no.such.host.example"})
        response.close()
        assert response.status_code == 200

    def test_links_never_follow_the_host_header(self, browser: Client) -> None:
        state_update(public_url="https://public.example.com")
        assert addresses.public_url() == "https://public.example.com"
        assert addresses.https_url() == "https://public.example.com"


class TestSecureCookies:
    GIVEN = {"login": "alice@example.com", "password": "a long pass phrase"}

    def test_over_https_every_cookie_is_secure_and_bound_to_the_host(self, browser: Client) -> None:
        response = browser.post(LOGIN, self.GIVEN, secure=True, headers={"host": "localhost:8443"})
        assert response.status_code == 302
        assert response.cookies
        for name, morsel in response.cookies.items():
            assert name.startswith("__Host-")
            assert morsel["secure"]
            assert morsel["path"] == "/"
            assert not morsel["domain"]
        session = response.cookies["__Host-bindery_session"]
        assert session["httponly"]
        assert session["samesite"] == "Lax"
        assert browser.get("/", secure=True, headers={"host": "localhost:8443"}).status_code == 200

    def test_over_plain_http_they_are_not_secure_and_have_other_names(self, browser: Client) -> None:
        response = browser.post(LOGIN, self.GIVEN)
        assert response.status_code == 302
        for name, morsel in response.cookies.items():
            assert not name.startswith("__Host-")
            assert not morsel["secure"]

    def test_a_log_in_over_https_does_not_stand_in_the_way_of_one_over_http(self, browser: Client) -> None:
        browser.post(LOGIN, self.GIVEN, secure=True)
        assert browser.get("/").status_code == 302  # the https session is not used over http
        assert browser.post(LOGIN, self.GIVEN).status_code == 302
        assert browser.get("/").status_code == 200
        assert browser.get("/", secure=True).status_code == 200

    def test_a_cookie_planted_over_http_is_not_believed_over_https(self, browser: Client, alice: User) -> None:
        browser.force_login(alice)
        assert browser.get("/").status_code == 200
        assert browser.get("/", secure=True).status_code == 302

    def test_log_out_removes_the_cookie_of_its_scheme(self, browser: Client) -> None:
        browser.post(LOGIN, self.GIVEN, secure=True)
        response = browser.post(reverse("account_logout"), secure=True)
        assert response.cookies["__Host-bindery_session"]["max-age"] == 0
        assert browser.get("/", secure=True).status_code == 302


@pytest.mark.parametrize(
    ("host", "path"), [("no.such.host.example", LOGIN), ("localhost", "/healthz"), ("localhost", "/no-such-page/")]
)
def test_every_answer_has_the_headers_that_keep_browsers_safe(browser: Client, host: str, path: str) -> None:
    headers = browser.get(path, headers={"host": host}).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/certificates/", "/activity/", "/help/"])
def test_no_cache_keeps_a_page(browser: Client, alice: User, path: str) -> None:
    browser.force_login(alice)
    kept = browser.get(path)["Cache-Control"]
    assert "no-store" in kept
    assert "private" in kept


def test_browsers_may_keep_static_files(browser: Client) -> None:
    response = browser.get("/static/bindery.css")
    assert "no-store" not in response["Cache-Control"]
    response.close()
