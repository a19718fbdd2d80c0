"""Every configuration page: who may look, who may change, and that each state of the portal can be shown."""

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import AuditEvent, PortalState
from certs.services.portal_state import state_get
from tests.standing import HOST, URL, ca_make, certificate_bound, stand

SEEN_BY_ALL = ("configuration", "lets-encrypt", "bindings", "https", "renewal", "ca-accounts", "on-demand", "export")
FORMS = ("lets-encrypt-configure", "bindings-confirm", "ca-account-new")
POSTS = (
    "public-url",
    "host-add",
    "host-remove",
    "lets-encrypt-configure",
    "lets-encrypt-terms",
    "lets-encrypt-renew",
    "lets-encrypt-stop",
    "bindings-listener",
    "bindings-go",
    "bindings-confirm",
    "binding-set",
    "binding-remove",
    "https-force",
    "https-force-confirm",
    "https-hsts",
    "https-hsts-faster",
    "renewal",
    "renewal-check",
    "on-demand",
    "export",
)


@pytest.mark.parametrize("name", [*SEEN_BY_ALL, *FORMS])
def test_a_stranger_is_asked_to_log_in(stranger: Client, name: str) -> None:
    response = stranger.get(reverse(name))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", SEEN_BY_ALL)
def test_everybody_who_logged_in_may_look(onlooker: Client, client: Client, name: str) -> None:
    seen = onlooker.get(reverse(name))
    assert seen.status_code == 200
    assert b'<button type="submit" class="btn' not in seen.content.split(b"<h1>")[1]
    assert client.get(reverse(name)).status_code == 200


def test_while_the_portal_is_held_what_frees_it_comes_first(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiles() -> list[str]:
        return [entry.url_name for entry in client.get(reverse("configuration")).context["entries"]]

    assert tiles()[-1] == "take-over"
    monkeypatch.setattr("certs.views.configuration.index.identity_held", lambda: "It may be a copy.")
    assert tiles()[0] == "take-over"


def test_tiles_of_pages_for_administrators_are_shown_to_them_only(onlooker: Client) -> None:
    entries = onlooker.get(reverse("configuration")).context["entries"]
    assert [entry.url_name for entry in entries if onlooker.get(reverse(entry.url_name)).status_code != 200] == []


@pytest.mark.parametrize("name", POSTS)
def test_changes_are_for_administrators(onlooker: Client, stranger: Client, name: str) -> None:
    before = PortalState.objects.values().get()
    assert onlooker.post(reverse(name), {}).status_code == 403
    assert stranger.post(reverse(name), {}).status_code == 302
    assert PortalState.objects.values().get() == before
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    "name", sorted(set(POSTS) - {"lets-encrypt-configure", "bindings-confirm", "renewal", "on-demand", "export"})
)
def test_changes_are_posted(client: Client, name: str) -> None:
    assert client.get(reverse(name)).status_code == 405


@pytest.mark.parametrize("name", sorted(POSTS))
def test_an_empty_post_is_never_a_fault(client: Client, name: str) -> None:
    assert client.post(reverse(name), {}).status_code < 500


@pytest.mark.parametrize("name", sorted(POSTS))
def test_nonsense_is_never_a_fault(client: Client, name: str) -> None:
    fields = [
        *("public_url", "host", "server_name", "certificate", "port", "addresses", "directory", "directory_url"),
        *("ca_bundle", "dns_names", "email", "ip_address", "typed_host", "wish", "instead", "accept_terms"),
        *("renew_before_days", "check_hours"),
    ]
    for nonsense in ("\x00", "a" * 40_000, "-1", "99999999999999999999", "💥 <script>", "[::"):
        response = client.post(reverse(name), dict.fromkeys(fields, nonsense))
        assert response.status_code < 500, nonsense
        assert b"<script>" not in response.content.replace(b"<script src=", b"")


def test_the_index_says_each_state_in_words(client: Client) -> None:
    stand(url=f"{URL}:8443", http=8000, https=8443)
    page = client.get("/configuration/").content.decode()
    for words in (
        "not configured",
        "placeholder",
        "Force SSL off, HSTS off",
        "the schedule has not begun",
        f"{URL}:8443",
    ):
        assert words in page


def test_the_public_url_is_stored_in_its_plain_form(client: Client) -> None:
    client.post(reverse("public-url"), {"public_url": "HTTPS://Portal.Example.Com:443/"})
    assert state_get().public_url == URL
    event = AuditEvent.objects.get(action="public-url.change")
    assert event.after == {"public_url": URL}


@pytest.mark.parametrize(
    "text", ["", "portal.example.com", "ftp://x.example", "https://a b", "https://x/path", "https://[::"]
)
def test_a_bad_public_url_is_refused_and_kept_in_the_field(client: Client, text: str) -> None:
    response = client.post(reverse("public-url"), {"public_url": text})
    assert response.status_code == 200
    assert "field-error" in response.content.decode()
    assert state_get().public_url == ""


def test_the_page_goes_back_to_where_it_came_from_but_never_elsewhere(client: Client) -> None:
    for target, goes in (("/configuration/https/", "/configuration/https/"), ("//evil.example", "/configuration/")):
        response = client.post(reverse("public-url"), {"public_url": URL, "next": target})
        assert response["Location"] == goes


def test_a_set_environment_variable_locks_the_public_url(client: Client, settings: object) -> None:
    settings.PUBLIC_URL = URL  # type: ignore[attr-defined]
    client.post(reverse("public-url"), {"public_url": "https://other.example.com"})
    assert state_get().public_url == ""
    assert "BINDERY_PUBLIC_URL" in client.get("/configuration/").content.decode()


def test_an_https_address_by_name_is_offered_as_the_public_url(client: Client) -> None:
    stand(url="http://192.0.2.1:8000")
    certificate_bound(ca_make(), [HOST])
    page = client.get("/configuration/", secure=True, headers={"host": f"{HOST}:8443"}).content.decode()
    assert f"Use {URL}:8443" in page
    assert "Use https://" not in client.get("/configuration/", headers={"host": HOST}).content.decode()


def test_hosts_are_added_and_removed(client: Client) -> None:
    client.post(reverse("host-add"), {"host": "Portal.Internal"})
    assert state_get().extra_hosts == ["portal.internal"]
    assert "portal.internal" in client.get("/configuration/").content.decode()
    client.post(reverse("host-remove"), {"host": "portal.internal"})
    assert state_get().extra_hosts == []


@pytest.mark.parametrize("host", ["", "https://x.example.com", "a b"])
def test_a_bad_host_is_refused(client: Client, host: str) -> None:
    assert "field-error" in client.post(reverse("host-add"), {"host": host}).content.decode()
    assert state_get().extra_hosts == []


@pytest.mark.parametrize(
    "target", ["foo", "session", "//evil.example/", "https://evil.example/", "javascript:x", "\x00"]
)
def test_after_the_public_url_nobody_is_led_elsewhere(client: Client, target: str) -> None:
    response = client.post(reverse("public-url"), {"public_url": "https://portal.example.com", "next": target})
    assert response["Location"] == reverse("configuration")
