from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.services.https import force_ssl_is_on
from certs.services.portal_state import state_get
from portal.scheme import SchemePolicy
from tests.standing import HOST, URL, ca_make, certificate_bound, clock_move, stand

PAGE = "/configuration/https/"


@pytest.fixture(autouse=True)
def standing(db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.TEST_CLOCK_FILE = tmp_path / "clock"
    ca = ca_make()
    settings.PUBLIC_ROOTS = ca.write_to(tmp_path / "known.pem")
    stand()
    certificate_bound(ca, [HOST])
    monkeypatch.setattr(SchemePolicy, "KEEP_SECONDS", 0.0)


def post(client: Client, name: str, data: dict[str, str], *, secure: bool = True, host: str = HOST) -> HttpResponse:
    return client.post(reverse(name), data, secure=secure, headers={"host": host})  # type: ignore[return-value]


def look(client: Client, *, secure: bool = True, host: str = HOST) -> str:
    return client.get(PAGE, secure=secure, headers={"host": host}).content.decode()


def test_the_buttons_are_there_only_by_the_public_url(client: Client) -> None:
    assert "Switch Force SSL on" in look(client)
    for secure, host in ((False, HOST), (True, f"{HOST}:8443"), (True, "127.0.0.1")):
        page = look(client, secure=secure, host=host)
        assert "Switch Force SSL on" not in page
        assert "Switch HSTS on" not in page
        assert f'href="{URL}{PAGE}"' in page


@pytest.mark.parametrize("name", ["https-force", "https-hsts"])
def test_a_post_from_elsewhere_is_refused_even_without_the_button(client: Client, name: str) -> None:
    response = post(client, name, {"wish": "on"}, secure=False)
    assert response.status_code in (200, 403)
    assert "was opened as" in response.content.decode()
    assert not state_get().force_ssl
    assert not state_get().hsts


def test_force_ssl_goes_on_trial_and_is_kept(client: Client) -> None:
    post(client, "https-force", {"wish": "on"})
    page = look(client)
    assert "On trial" in page
    assert f'href="http://{HOST}{PAGE}"' in page
    assert client.get("/", headers={"host": HOST}).status_code == 307
    post(client, "https-force-confirm", {})
    assert "Switch Force SSL off" in look(client)
    clock_move(days=1)
    assert client.get("/", headers={"host": HOST}).status_code == 307


def test_a_trial_that_nobody_confirms_ends(client: Client) -> None:
    post(client, "https-force", {"wish": "on"})
    clock_move(seconds=121)
    assert "Switch Force SSL on" in look(client)
    response = post(client, "https-force-confirm", {})
    assert response.status_code == 403
    assert not force_ssl_is_on(state_get())


def test_force_ssl_is_switched_off_from_anywhere(client: Client) -> None:
    post(client, "https-force", {"wish": "on"})
    post(client, "https-force", {"wish": "off"}, host="127.0.0.1")
    assert not state_get().force_ssl


def test_hsts_shows_its_ramp(client: Client) -> None:
    assert "covers every port" in look(client)
    post(client, "https-hsts", {"wish": "on"})
    page = look(client)
    for words in ("max-age=300", "5 minutes", "1 hour", "1 day", "1 year", "next step"):
        assert words in page
    response = client.get(PAGE, secure=True, headers={"host": HOST})
    assert response["Strict-Transport-Security"] == "max-age=300"


def test_the_next_step_is_taken_by_typing_the_name(client: Client) -> None:
    post(client, "https-hsts", {"wish": "on"})
    wrong = post(client, "https-hsts-faster", {"typed_host": "portal"})
    assert f"Type {HOST} to go on" in wrong.content.decode()
    assert 'value="portal"' in wrong.content.decode()
    post(client, "https-hsts-faster", {"typed_host": HOST})
    assert state_get().hsts_step == 1


def test_a_private_ca_asks_for_the_name(client: Client) -> None:
    certificate_bound(ca_make("Ours"), [HOST])
    assert "outside public trust" in look(client)
    asked = post(client, "https-hsts", {"wish": "on", "typed_host": ""})
    assert "one day at most" in asked.content.decode()
    assert not state_get().hsts
    post(client, "https-hsts", {"wish": "on", "typed_host": HOST})
    assert state_get().hsts
    assert "not for a CA outside public trust" in look(client)


def test_what_stands_against_it_is_said_and_there_is_no_button(client: Client) -> None:
    certificate_bound(None, [HOST])
    page = look(client)
    assert "self-signed" in page
    assert "Switch HSTS on" not in page
    assert "self-signed" in post(client, "https-hsts", {"wish": "on", "typed_host": HOST}).content.decode()
    assert not state_get().hsts


def test_hsts_off_tells_browsers_to_forget(client: Client) -> None:
    post(client, "https-hsts", {"wish": "on"})
    post(client, "https-hsts", {"wish": "off"}, secure=False)
    assert "max-age=0" in look(client)
    assert client.get(PAGE, secure=True, headers={"host": HOST})["Strict-Transport-Security"] == "max-age=0"


def test_an_expired_certificate_pauses_it(client: Client) -> None:
    post(client, "https-hsts", {"wish": "on"})
    clock_move(days=100)
    # The session would have ended too: log in again on the moved clock is not what is tested here.
    response = client.get(PAGE, secure=True, headers={"host": HOST})
    assert "Strict-Transport-Security" not in response.headers
