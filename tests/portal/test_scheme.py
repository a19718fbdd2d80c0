from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import DjangoAssertNumQueries, Settings

from certs.models import AcmeAccount, Challenge, Order, User
from certs.services.arrivals import Arrival
from certs.services.https import force_ssl_confirm, force_ssl_enable, hsts_disable, hsts_enable
from certs.services.keys import key_create
from certs.services.reachability import CHALLENGE_PATH, probe_answer, probe_token
from portal.scheme import SchemePolicy
from tests.standing import HOST, URL, Ca, ca_make, certificate_bound, clock_move, stand

pytestmark = pytest.mark.django_db
HERE = Arrival(True, HOST)
Middleware = Callable[[HttpRequest], HttpResponse]


@pytest.fixture(autouse=True)
def standing(settings: Settings, tmp_path: Path) -> Ca:
    settings.TEST_CLOCK_FILE = tmp_path / "clock"
    ca = ca_make()
    settings.PUBLIC_ROOTS = ca.write_to(tmp_path / "roots.pem")
    stand()
    certificate_bound(ca, [HOST], days=10)
    return ca


@pytest.fixture
def middleware(monkeypatch: pytest.MonkeyPatch) -> Middleware:
    monkeypatch.setattr(SchemePolicy, "KEEP_SECONDS", 0.0)
    return SchemePolicy(lambda _: HttpResponse("page"))  # type: ignore[return-value]


def ask(path: str = "/", *, secure: bool = False, host: str = HOST, method: str = "GET") -> HttpRequest:
    return RequestFactory().generic(method, path, secure=secure, headers={"host": host})


def test_nothing_happens_while_all_is_off(middleware: Middleware) -> None:
    assert middleware(ask()).status_code == 200
    assert "Strict-Transport-Security" not in middleware(ask(secure=True)).headers


def test_force_ssl_leads_to_the_public_port(middleware: Middleware) -> None:
    stand(url=f"{URL}:9443", https=8443)
    force_ssl_enable(Arrival(True, f"{HOST}:9443"), actor="test")
    response = middleware(ask("/certificates/?q=a&b=%20c", host="192.0.2.1:8000"))
    assert response.status_code == 307
    assert response["Location"] == f"{URL}:9443/certificates/?q=a&b=%20c"
    assert response["Cache-Control"] == "no-store"
    assert middleware(ask(secure=True)).status_code == 200


@pytest.mark.parametrize("path", ["//evil.example.com/x", "/\\evil.example.com", "/@evil.example.com"])
def test_the_redirect_never_leaves_the_portal(middleware: Middleware, path: str) -> None:
    force_ssl_enable(HERE, actor="test")
    target = middleware(ask(path))["Location"]
    assert target.startswith(f"{URL}/")


@pytest.mark.parametrize("path", [f"{CHALLENGE_PATH}x", "/healthz", "/readyz", "/statusz", "/pki/crl/1", "/pki/ocsp"])
def test_plain_http_paths_are_left_alone(middleware: Middleware, path: str) -> None:
    force_ssl_enable(HERE, actor="test")
    hsts_enable(HERE, actor="test")
    assert middleware(ask(path)).status_code == 200
    assert "Strict-Transport-Security" not in middleware(ask(path, secure=True)).headers


@pytest.mark.parametrize("path", ["/.well-known/acme-challengex", "/healthzz", "/x/healthz"])
def test_what_only_looks_like_them_is_not(middleware: Middleware, path: str) -> None:
    force_ssl_enable(HERE, actor="test")
    assert middleware(ask(path)).status_code == 307


def test_the_header_is_for_its_host_over_https_only(middleware: Middleware) -> None:
    hsts_enable(HERE, actor="test")
    assert middleware(ask(secure=True))["Strict-Transport-Security"] == "max-age=300"
    assert middleware(ask(secure=True, host=f"{HOST.upper()}:443"))["Strict-Transport-Security"] == "max-age=300"
    for request in (ask(), ask(secure=True, host="192.0.2.1"), ask(secure=True, host=f"www.{HOST}")):
        assert "Strict-Transport-Security" not in middleware(request).headers
    hsts_disable(actor="test")
    assert middleware(ask(secure=True))["Strict-Transport-Security"] == "max-age=0"


def test_a_trial_ends_without_anything_running(middleware: Middleware) -> None:
    force_ssl_enable(HERE, actor="test")
    assert middleware(ask()).status_code == 307
    clock_move(seconds=121)
    assert middleware(ask()).status_code == 200


def test_the_policy_is_read_once_a_second(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    middleware = SchemePolicy(lambda _: HttpResponse("page"))
    middleware(ask(secure=True))
    with django_assert_num_queries(0):
        for _ in range(20):
            middleware(ask(secure=True))


def test_plain_http_is_redirected_at_once_in_a_process_that_did_not_switch_it_on() -> None:
    elsewhere = SchemePolicy(lambda _: HttpResponse("page"))
    assert elsewhere(ask()).status_code == 200
    force_ssl_enable(HERE, actor="test")
    assert elsewhere(ask()).status_code == 307


def test_force_ssl_and_hsts_on_and_the_certificate_expired_http_01_still_answers(standing: Ca) -> None:
    """The whole stack of middleware, as a CA meets it: any Host, plain HTTP, no redirect."""
    # An administrator exists, so that set-up is closed and nothing is let through for its sake.
    User.objects.create_superuser("alice@example.com", "x")
    force_ssl_enable(HERE, actor="test")
    force_ssl_confirm(HERE, actor="test")
    hsts_enable(HERE, actor="test")
    account = AcmeAccount.objects.create(directory_url="https://ca.example/dir", key=key_create("ec-p256"))
    certificate = certificate_bound(standing, [HOST], days=10)
    order = Order.objects.create(certificate=certificate, account=account, reason="due", names=[HOST])
    Challenge.objects.create(token="tok", order=order, name=HOST, key_authorization="tok.thumb")
    clock_move(days=30)
    client = Client()
    for host in (HOST, "unknown.example.org", "192.0.2.77"):
        response = client.get(f"{CHALLENGE_PATH}tok", headers={"host": host})
        assert (response.status_code, response.content) == (200, b"tok.thumb")
        assert "Strict-Transport-Security" not in response.headers
    token = probe_token()
    assert client.get(CHALLENGE_PATH + token).content.decode() == probe_answer(token)
    page = client.get("/", headers={"host": HOST})
    assert page.status_code == 307
