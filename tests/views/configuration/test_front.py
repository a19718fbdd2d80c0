"""Configuration ➜ TLS in front, and the banner that leads there."""

import pytest
from django.test import Client
from pytest_django import Settings

from certs.models import AuditEvent, User
from certs.services.front import front_change, front_read
from certs.services.front_notices import notice_add, notices_read
from certs.services.links import setup_link_make
from certs.services.portal_state import state_get, state_update
from portal import clock

pytestmark = pytest.mark.django_db
PAGE = "/configuration/tls-in-front/"
NEAR, FAR = "10.0.0.7", "9.9.9.9"
TELLING = ["X-Forwarded-For", "X-Forwarded-Proto"]
FRONT = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.4"}


def _page(client: Client, path: str = PAGE, **headers: str) -> str:
    return client.get(path, headers=headers).content.decode()


def test_it_is_switched_on_for_a_trial_and_kept_through_the_front(client: Client) -> None:
    state_update(public_url="https://localhost")
    client.post(PAGE, {"on": "on", "proxies": "127.0.0.1\r\n10.0.0.0/8, 127.0.0.1"})
    assert front_read().shown == ["10.0.0.0/8", "127.0.0.1"]
    assert "On trial" in _page(client)
    direct = client.post(PAGE + "confirm/")
    assert direct.status_code == 403
    assert "Open the portal by the front" in direct.content.decode()
    through = {"host": "localhost", **FRONT}
    assert "Keep it" in _page(client, **through)
    client.post(PAGE + "confirm/", headers=through)
    assert state_get().front_confirm_by is None
    assert "10.0.0.0/8, 127.0.0.1 believed" in _page(client, "/configuration/")
    assert "198.51.100.4" in _page(client, **through)


def test_the_public_url_is_taken_over_where_it_was_not_https(client: Client) -> None:
    front_change(on=True, proxies=["127.0.0.1"], actor="test")
    through = {"host": "localhost", **FRONT}
    assert "with https://localhost as the public URL" in _page(client, **through)
    client.post(PAGE + "confirm/", headers=through)
    assert state_get().public_url == "https://localhost"


@pytest.mark.parametrize(
    ("proxies", "words"),
    [
        ("", "No proxy is listed"),
        ("0.0.0.0/0", "too much of the Internet"),
        ("nginx", "neither an IP address nor a network"),
        ("10.0.0.1/8", "inside 10.0.0.0/8"),
        ("\0", "Null characters are not allowed"),
        ("\n".join(f"10.0.0.{n}" for n in range(100)), "64 is the most"),
        ("x" * 5000, "at most 4000 characters"),
    ],
)
def test_what_cannot_be_is_said_and_what_was_typed_stays(client: Client, proxies: str, words: str) -> None:
    page = client.post(PAGE, {"on": "on", "proxies": proxies}).content.decode()
    assert words in page
    assert proxies[:60].split("\n", maxsplit=1)[0].strip("\0") in page
    assert not front_read().on


def test_the_environment_locks_the_fields(client: Client, settings: Settings) -> None:
    settings.TLS_IN_FRONT_LOCKED = settings.TLS_IN_FRONT = settings.TRUSTED_PROXIES_LOCKED = True
    settings.TRUSTED_PROXIES = [NEAR]
    page = _page(client)
    assert "Set by BINDERY_TLS_IN_FRONT" in page
    assert "Set by BINDERY_TRUSTED_PROXIES" in page
    assert "Save and try" not in page
    client.post(PAGE, {"proxies": "10.9.9.9"})
    assert front_read().shown == [NEAR]


def test_a_near_proxy_is_suggested_and_listed_by_one_click(client: Client) -> None:
    notice_add(NEAR, TELLING)
    page = _page(client, "/certificates/")
    assert f"A proxy at {NEAR} seems to stand in front" in page
    assert client.post(f"{PAGE}trust/{NEAR}/").status_code == 302
    assert front_read().trusts(NEAR)
    assert notices_read() == []
    assert state_get().front_confirm_by is not None


def test_a_far_one_is_shown_but_has_to_be_typed(client: Client) -> None:
    notice_add(FAR, TELLING)
    assert f"A proxy at {FAR}" not in _page(client, "/certificates/")
    assert f"Believe {FAR}" not in _page(client)
    assert "type it below if it is yours" in _page(client)
    assert client.post(f"{PAGE}trust/{FAR}/").status_code == 403
    assert client.post(f"{PAGE}trust/10.0.0.99/").status_code == 403  # nobody noticed it
    assert not front_read().on


def test_a_visitors_own_proxy_gets_no_banner(client: Client) -> None:
    notice_add(NEAR, ["Via", "X-Forwarded-For"])
    assert "seems to stand in front" not in _page(client, "/certificates/")


def test_what_is_no_front_is_not_suggested_again(client: Client) -> None:
    notice_add(NEAR, TELLING)
    client.post(f"{PAGE}dismiss/{NEAR}/")
    assert "seems to stand in front" not in _page(client, "/certificates/")
    notice_add(NEAR, [*TELLING, "Via"])
    assert "seems to stand in front" not in _page(client, "/certificates/")
    assert AuditEvent.objects.filter(action="front.dismiss", target=NEAR).exists()
    assert client.post(f"{PAGE}dismiss/10.0.0.99/").status_code == 400


def test_a_browser_behind_the_front_keeps_its_session(client: Client) -> None:
    notice_add("127.0.0.1", TELLING)
    headers = {"host": "localhost", "origin": "https://localhost", **FRONT}
    page = client.post(f"{PAGE}trust/127.0.0.1/", headers=headers).content.decode()
    assert "https://localhost/session/" in page
    elsewhere = {**headers, "origin": "https://evil.example.net"}
    state_update(tls_in_front=False, front_before=None, front_confirm_by=None)
    assert client.post(f"{PAGE}trust/127.0.0.1/", headers=elsewhere).status_code == 302


def test_a_page_that_a_proxy_calls_https_does_not_say_that_it_is_not(client: Client) -> None:
    assert "This connection does not use TLS" in _page(client, "/certificates/")
    page = _page(client, "/certificates/", **{"x-forwarded-proto": "https"})
    assert "This connection does not use TLS" not in page
    assert "cannot see whether this connection uses TLS" in page


def test_with_it_address_and_port_are_hidden_and_it_is_said_why(client: Client) -> None:
    configure, bindings = "/configuration/lets-encrypt/configure/", "/configuration/bindings/"
    assert 'name="port"' in _page(client, configure)
    front_change(on=True, proxies=[NEAR], actor="test", trial=False)
    for path in (configure, bindings):
        page = _page(client, path)
        assert 'name="port"' not in page
        assert "TLS ends" in page


def test_a_silent_front_is_told(client: Client) -> None:
    front_change(on=True, proxies=[NEAR], actor="test", trial=False)
    state_update(front_silent_at=clock.now())
    assert "does not say how requests came" in _page(client)
    assert "does not say how requests came" in _page(client, "/configuration/https/")


def test_the_lines_are_filled_in_with_what_is_so(client: Client) -> None:
    state_update(public_url="https://portal.example.com")
    page = _page(client)
    assert "server_name portal.example.com;" in page
    assert "proxy_pass http://127.0.0.1:8000;" in page


def test_others_look_and_change_nothing(onlooker: Client, stranger: Client) -> None:
    notice_add(NEAR, TELLING)
    assert "Save and try" not in _page(onlooker)
    assert "Believe" not in _page(onlooker)
    for path in ("", "confirm/", "go/", f"trust/{NEAR}/", f"dismiss/{NEAR}/"):
        assert onlooker.post(PAGE + path, {"on": "on", "proxies": NEAR}).status_code == 403
        assert stranger.post(PAGE + path).status_code == 302
    assert not front_read().on


def test_the_set_up_through_a_front_that_is_not_known_yet_asks_for_its_address(db: None) -> None:
    User.objects.all().delete()
    link = f"/setup/{setup_link_make()}/"
    page = Client().get(link, headers={"host": "portal.example.com", **FRONT}).content.decode()
    assert 'value="https://portal.example.com"' in page
    assert ":8443/setup/" not in page
    plain = Client().get(link, headers={"host": "portal.example.com"}).content.decode()
    assert 'value="http://portal.example.com"' in plain


def test_a_front_that_changes_the_host_is_named_where_a_form_is_refused(client: Client) -> None:
    browser = Client(enforce_csrf_checks=True)
    refused = browser.post(
        "/accounts/login/", headers={"host": "127.0.0.1:8000", "origin": "https://portal.example.com"}
    )
    page = refused.content.decode()
    assert refused.status_code == 403
    assert "sent it from portal.example.com, but it arrived here for 127.0.0.1:8000" in page
    nasty = browser.post("/accounts/login/", headers={"host": "localhost", "origin": "https://<script>"})
    assert "<script>" not in nasty.content.decode()
    assert "but it arrived here" not in browser.post("/accounts/login/").content.decode()
