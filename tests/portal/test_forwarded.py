"""What a proxy says, as it reaches pages: believed from listed peers only, and gone otherwise."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.core.internal.httpkit import get_client_ip
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from certs.models import AuditEvent, PortalState, User
from certs.services.arrivals import Arrival
from certs.services.front import front_change, front_read
from certs.services.front_notices import notices_read
from certs.services.https import force_ssl_enable
from certs.services.portal_state import state_get, state_update
from portal import clock, forwarded, loops
from portal.forwarded import ForwardedHeaders, handed_on
from tests import stock

pytestmark = pytest.mark.django_db
NEAR = "10.0.0.7"
FAR = "9.9.9.9"
LOGIN = "/accounts/login/"
HOST = "portal.example.com"
TOLD = {"x-forwarded-for": "198.51.100.4", "x-forwarded-proto": "https", "x-forwarded-host": HOST}
SPOOFED = {
    **TOLD,
    "forwarded": "for=198.51.100.4;proto=https;host=portal.example.com",
    "via": "1.1 proxy",
    "x-real-ip": "198.51.100.4",
    "x-forwarded-port": "443",
    "x-forwarded-ssl": "on",
    "x-forwarded-prefix": "/evil",
    "x-scheme": "https",
    "front-end-https": "on",
    "cf-connecting-ip": "198.51.100.4",
}


@pytest.fixture(autouse=True)
def alice() -> User:
    return stock.administrator("alice@example.com")


@pytest.fixture
def browser() -> Client:
    return Client()


class Seen:
    """The end of the chain: what was left of the request."""

    def __init__(self) -> None:
        self.middleware = ForwardedHeaders(self)  # type: ignore[arg-type]  # the request is what is looked at

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.request = request
        return HttpResponse("page")

    def ask(self, peer: str = NEAR, path: str = "/", *, secure: bool = False, **headers: str) -> HttpRequest:
        given: dict[str, Any] = {"host": "127.0.0.1:8000", **{name.replace("_", "-"): v for name, v in headers.items()}}
        self.middleware(RequestFactory().get(path, secure=secure, headers=given, REMOTE_ADDR=peer))
        return self.request


@pytest.fixture
def seen() -> Seen:
    return Seen()


def listed(*proxies: str) -> None:
    front_change(on=True, proxies=proxies or (NEAR,), actor="test", trial=False)


def _is_untouched(request: HttpRequest, peer: str) -> bool:
    left = [name for name in request.META if "FORWARD" in name or "VIA" in name or "REAL_IP" in name]
    return (
        left == []
        and (request.META["REMOTE_ADDR"], request.is_secure(), request.get_host()) == (peer, False, "127.0.0.1:8000")
        and get_client_ip(request) == peer
        and handed_on(request) is None
    )


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", NEAR, FAR])
def test_off_nothing_is_believed_and_nothing_is_left(seen: Seen, peer: str) -> None:
    assert _is_untouched(seen.ask(peer, **SPOOFED), peer)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.8", FAR])
def test_on_nothing_is_believed_of_others(seen: Seen, peer: str) -> None:
    listed()
    assert _is_untouched(seen.ask(peer, **SPOOFED), peer)


def test_a_listed_proxy_is_believed_with_three_headers_and_no_other(seen: Seen) -> None:
    listed()
    request = seen.ask(**SPOOFED)
    assert request.META["REMOTE_ADDR"] == get_client_ip(request) == "198.51.100.4"
    assert (request.is_secure(), request.get_host(), request.get_port()) == (True, HOST, "80")
    assert not [name for name in request.META if "FORWARDED" in name or name.startswith("HTTP_X_")]
    found = handed_on(request)
    assert found is not None
    assert (found.peer, found.says_scheme) == (NEAR, True)


def test_plain_http_to_the_front_is_plain_http_even_where_it_is_encrypted_again(seen: Seen) -> None:
    listed()
    assert not seen.ask(secure=True, x_forwarded_proto="http").is_secure()
    assert seen.ask(secure=True, x_forwarded_proto="https").is_secure()
    assert seen.ask(secure=True, x_forwarded_for=FAR).is_secure()


@pytest.mark.parametrize("host", ["a b", "evil/x", "user@evil", ""])
def test_a_host_that_is_none_leaves_the_one_of_the_request(seen: Seen, host: str) -> None:
    listed()
    assert seen.ask(x_forwarded_proto="https", x_forwarded_host=host).get_host() == "127.0.0.1:8000"


def test_the_setting_counts_with_the_next_request(seen: Seen) -> None:
    assert not seen.ask(**TOLD).is_secure()
    listed()
    assert seen.ask(**TOLD).is_secure()
    listed("10.9.9.9")
    assert not seen.ask(**TOLD).is_secure()
    front_change(on=False, proxies=[NEAR], actor="test", trial=False)
    assert not seen.ask(**TOLD).is_secure()


def test_the_environment_decides(seen: Seen, settings: Settings) -> None:
    settings.TLS_IN_FRONT_LOCKED = settings.TLS_IN_FRONT = settings.TRUSTED_PROXIES_LOCKED = True
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert seen.ask(**TOLD).is_secure()
    settings.TLS_IN_FRONT = False
    assert not seen.ask(**TOLD).is_secure()


def test_without_a_database_nobody_is_believed_and_pages_are_answered(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed()

    def broken() -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(forwarded, "front_read", broken)
    assert _is_untouched(seen.ask(**SPOOFED), NEAR)


class TestThePortalBehindIt:
    def test_cookies_are_those_of_https_and_a_log_in_works(self, browser: Client) -> None:
        listed()
        ask = {**TOLD, "host": "127.0.0.1:8000"}
        state_update(extra_hosts=[HOST])
        page = browser.get(LOGIN, headers=ask, REMOTE_ADDR=NEAR)
        assert all(name.startswith("__Host-") for name in page.cookies)
        assert all(morsel["secure"] for morsel in page.cookies.values())

    def test_a_host_that_is_not_ours_is_refused_from_a_listed_proxy_too(self, browser: Client) -> None:
        listed()
        headers = {**TOLD, "x-forwarded-host": "evil.example.net", "host": "127.0.0.1:8000"}
        assert browser.get(LOGIN, headers=headers, REMOTE_ADDR=NEAR).status_code == 400

    def test_failed_log_ins_are_counted_for_the_client_behind_the_proxy(self, settings: Settings) -> None:
        settings.ACCOUNT_RATE_LIMITS = {"login_failed": "2/m/ip"}
        listed()

        def is_refused(peer: str, client: str, number: int = 0) -> bool:
            wrong = {"login": f"{client}-{number}@example.com", "password": "wrong"}
            headers = {"host": "127.0.0.1:8000", "x-forwarded-for": client}
            return b"Too many" in Client().post(LOGIN, wrong, headers=headers, REMOTE_ADDR=peer).content

        assert [is_refused(NEAR, "198.51.100.4", number) for number in range(3)] == [False, False, True]
        assert not is_refused(NEAR, "198.51.100.5")
        # Another address in each request does not help who is not listed.
        assert [is_refused(FAR, f"198.51.100.{number}") for number in (10, 11, 12)] == [False, False, True]

    def test_a_form_from_https_is_taken_before_the_portal_knows_of_its_front(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        state_update(extra_hosts=[HOST])

        def status(origin: str, host: str = HOST) -> int:
            page = browser.get(LOGIN, headers={"host": host})
            token = page.context["csrf_token"]
            data = {"login": "a@example.com", "password": "wrong", "csrfmiddlewaretoken": str(token)}
            return browser.post(LOGIN, data, headers={"host": host, "origin": origin}).status_code

        assert status(f"https://{HOST}") == 200
        assert status(f"https://{HOST}:8443") == 403
        assert status("https://evil.example.net") == 403
        assert status("null") == 403
        state_update(public_url="https://portal.example.org")
        assert status("https://portal.example.org", "127.0.0.1:8000") == 200


class TestForceSsl:
    @pytest.fixture(autouse=True)
    def forced(self) -> None:
        state_update(public_url=f"https://{HOST}", extra_hosts=["127.0.0.1"])
        force_ssl_enable(Arrival(True, HOST), actor="test")

    @staticmethod
    def _ask(browser: Client, **headers: str) -> HttpResponse:
        given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return browser.get(LOGIN, headers=given, REMOTE_ADDR=NEAR)  # type: ignore[return-value]

    def test_only_what_came_to_the_front_by_plain_http_is_sent_away(self, browser: Client) -> None:
        listed()
        assert self._ask(browser, x_forwarded_proto="https").status_code == 200
        answer = self._ask(browser, x_forwarded_proto="http")
        assert (answer.status_code, answer["Location"]) == (307, f"https://{HOST}{LOGIN}")

    @pytest.mark.parametrize("headers", [{"x_forwarded_for": FAR}, {"x_forwarded_proto": "junk"}, {}])
    def test_a_front_that_does_not_say_how_is_sent_nowhere_and_it_is_noted(
        self, browser: Client, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forwarded, "_silent", forwarded.Minutely())
        listed()
        assert self._ask(browser, **headers).status_code == 200
        assert state_get().front_silent_at is not None

    def test_a_front_that_is_not_believed_ends_in_a_page_and_not_in_a_circle(self, browser: Client) -> None:
        found = [self._ask(browser, **TOLD) for _ in range(loops.MOST + 1)]
        assert [answer.status_code for answer in found] == [307] * loops.MOST + [400]
        assert b"manage.py tls_in_front" in found[-1].content
        assert LOGIN.encode() not in found[-1].content  # a path may be a link that works once
        looks = browser.get("/static/logo.svg", headers={"host": HOST})
        looks.close()
        assert looks.status_code == 200
        assert all(answer.cookies[loops.COOKIE]["max-age"] == loops.SECONDS for answer in found[:-1])
        browser.cookies.clear()  # as after ten seconds
        assert self._ask(browser).status_code == 307

    def test_who_arrives_is_counted_anew(self, browser: Client) -> None:
        for _ in range(loops.MOST + 2):
            assert self._ask(browser).status_code == 307
            assert browser.get(LOGIN, headers={"host": HOST}, secure=True).cookies[loops.COOKIE]["max-age"] == 0

    @pytest.mark.parametrize("value", ["", "99", "-1", "x", "٣", "5;Secure"])
    def test_what_is_no_count_counts_as_none(self, value: str) -> None:
        assert loops.count({loops.COOKIE: value}) == 0


class TestNotices:
    def test_who_looks_like_a_proxy_is_remembered_with_the_names_of_its_headers(self, browser: Client) -> None:
        browser.get(LOGIN, headers={**TOLD, "host": "localhost"}, REMOTE_ADDR=NEAR)
        (notice,) = notices_read()
        assert (notice.peer, notice.near, notice.is_telling) == (NEAR, True, True)
        assert list(notice.headers) == ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]

    def test_a_stranger_cannot_crowd_out_the_proxy_nor_write_more_than_once_a_minute(self, seen: Seen) -> None:
        for number in range(1, 10):
            seen.ask(f"9.9.9.{number}", **TOLD)
        seen.ask(**TOLD)
        assert [notice.peer for notice in notices_read()] == [NEAR, "9.9.9.1"]

    def test_so_many_are_kept_and_no_more(self) -> None:
        for number in range(1, 12):
            Seen().ask(f"9.9.9.{number}", **TOLD)
            Seen().ask(f"10.0.0.{number}", **TOLD)
        assert sorted(state_get().front_noticed) == sorted(
            f"{net}.{number}" for net in ("10.0.0", "9.9.9") for number in (8, 9, 10, 11)
        )

    def test_requests_for_others_do_not_take_the_turn_of_one_for_this_portal(self, seen: Seen) -> None:
        seen.ask(host="nobody.example.net", **TOLD)
        assert notices_read() == []
        seen.ask(**TOLD)
        assert [notice.peer for notice in notices_read()] == [NEAR]

    @pytest.mark.parametrize("host", ["nobody.example.net", "", "a b"])
    def test_who_does_not_ask_for_this_portal_is_not_remembered(self, browser: Client, host: str) -> None:
        browser.get(LOGIN, headers={**TOLD, "host": host}, REMOTE_ADDR=NEAR)
        assert notices_read() == []

    def test_neither_is_who_is_listed_or_sends_nothing(self, browser: Client) -> None:
        browser.get(LOGIN, REMOTE_ADDR=NEAR)
        listed()
        browser.get(LOGIN, headers={**TOLD, "x-forwarded-host": "localhost"}, REMOTE_ADDR=NEAR)
        assert state_get().front_noticed == {}

    def test_a_visitors_own_proxy_is_no_front(self, seen: Seen) -> None:
        seen.ask(via="1.1 squid", x_forwarded_for="10.1.1.1")
        (notice,) = notices_read()
        assert not notice.is_telling

    def test_it_is_forgotten_after_a_week(self, seen: Seen) -> None:
        seen.ask(**TOLD)
        noticed = state_get().front_noticed
        noticed[NEAR]["at"] = (clock.now() - timedelta(days=8)).isoformat()
        state_update(front_noticed=noticed)
        assert notices_read() == []


def test_the_setting_costs_one_query_and_none_without_headers(seen: Seen, django_assert_num_queries: Any) -> None:
    listed()
    with django_assert_num_queries(1):
        seen.ask(**TOLD)
    with django_assert_num_queries(0):
        seen.ask()
    assert AuditEvent.objects.filter(action="front.change").count() == 1
    assert PortalState.objects.count() == 1
    assert front_read().on


def test_nothing_else_of_the_portal_believes_a_proxy(settings: Settings) -> None:
    """Django and allauth have switches of their own for that; those of gunicorn are tried in `server/`."""
    assert settings.MIDDLEWARE[0] == "portal.forwarded.ForwardedHeaders"
    assert settings.SECURE_PROXY_SSL_HEADER is None
    assert not settings.USE_X_FORWARDED_HOST
    assert not settings.USE_X_FORWARDED_PORT
    assert not hasattr(settings, "ALLAUTH_TRUSTED_PROXY_COUNT")
    assert not hasattr(settings, "ALLAUTH_TRUSTED_CLIENT_IP_HEADER")
