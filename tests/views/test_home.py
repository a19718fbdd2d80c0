import os

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certs.models import AuditEvent, NodeProcess
from certs.services.bindings import binding_set
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted, state_get, state_update
from portal import clock, home
from tests import stock


def test_the_welcome_page_says_whether_this_connection_uses_tls(client: Client) -> None:
    assert "This connection does not use TLS" in client.get("/").content.decode()
    secured = client.get("/", secure=True).content.decode()
    assert "This connection uses TLS, with a placeholder" in secured
    assert "does not use TLS" not in secured


def test_the_welcome_page_offers_three_ways_with_the_real_path(client: Client) -> None:
    page = client.get("/").content.decode()
    for name in ("lets-encrypt", "certificate-add", "certificate-self-signed"):
        assert f'href="{reverse(name)}"' in page
    assert f"install -m 644 server.crt {home.path()}/server.crt" in page
    assert f"install -m 400 server.key {home.path()}/server.key" in page


def test_who_only_looks_is_offered_nothing_that_would_be_refused(onlooker: Client) -> None:
    page = onlooker.get("/").content.decode()
    assert "An administrator gives the portal a certificate" in page
    for name in ("certificate-add", "certificate-self-signed"):
        assert f'href="{reverse(name)}"' not in page


def test_with_a_bound_certificate_home_shows_the_three_truths_apart(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    binding_set("", certificate, actor="test")
    assert certificate.current is not None
    page = client.get("/").content.decode()
    assert "valid" in page
    assert "could not check: no process reports" in page
    process = NodeProcess.objects.create(
        node=node_name(), pid=os.getpid(), generation=generation_wanted(), fingerprints={"": "0" * 64}
    )
    assert "1 of 1 processes serve another one" in client.get("/").content.decode()
    process.fingerprints = {"": certificate.current.fingerprint_sha256}
    process.save()
    assert "in the serving process" in client.get("/").content.decode()


def test_home_names_what_needs_a_look(client: Client) -> None:
    binding_set("", stock.issued("www.example.com"), actor="test")
    assert "have not been checked yet" in client.get("/").content.decode()
    state_update(sweep_finished_at=clock.now())
    assert "Needs a look" not in client.get("/").content.decode()


class TestBanners:
    def test_the_key_ring_is_asked_for_until_an_administrator_says_it_is_safe(
        self, client: Client, onlooker: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("BINDERY_KEY_RING", raising=False)
        assert str(home.key_ring_file()) in client.get("/help/").content.decode().split("<h1>")[0]
        assert "I have a safe copy" not in onlooker.get("/help/").content.decode()
        assert onlooker.post(reverse("ring-saved")).status_code == 403
        client.post(reverse("ring-saved"))
        assert state_get().ring_saved_at is not None
        assert AuditEvent.objects.filter(action="keyring.saved").count() == 1
        assert "I have a safe copy" not in client.get("/help/").content.decode()

    def test_a_ring_from_the_environment_is_kept_by_who_set_it(self, client: Client) -> None:
        assert os.environ.get("BINDERY_KEY_RING")  # by the test settings
        assert "I have a safe copy" not in client.get("/help/").content.decode()

    def test_a_worker_that_does_not_run_is_said_on_every_page(self, client: Client) -> None:
        assert "The worker is not running" in client.get("/help/").content.decode()

    def test_an_import_is_offered_and_its_failure_told_to_administrators(
        self, client: Client, onlooker: Client
    ) -> None:
        certificate = stock.uploaded("own.example.com")
        state_update(import_offer=certificate, import_error="/data/server.key cannot be read.")
        page = client.get("/help/").content.decode()
        assert reverse("certificate", args=[certificate.pk]) in page
        assert "/data/server.key cannot be read." in page
        assert "cannot be read" not in onlooker.get("/help/").content.decode()

    def test_they_cost_few_queries_and_nothing_without_a_log_in(self, client: Client, stranger: Client) -> None:
        client.get(reverse("certificate-add"))
        stranger.get(reverse("account_login"))
        with CaptureQueriesContext(connection) as logged_in:
            client.get(reverse("certificate-add"))
        with CaptureQueriesContext(connection) as anonymous:
            stranger.get(reverse("account_login"))
        assert len(anonymous) <= 1
        assert len(logged_in) <= 11  # three of them the session, the person, and Force SSL over plain HTTP


class TestGo:
    def test_it_says_first_that_the_browser_will_warn(self, client: Client) -> None:
        state_update(public_url="https://portal.example.com")
        page = client.get(reverse("go")).content.decode()
        assert "https://portal.example.com" in page
        assert "only the placeholder certificate answers there" in page
        binding_set("", stock.issued("portal.example.com", is_test=True), actor="test")
        assert "test certificate, which no browser trusts" in client.get(reverse("go")).content.decode()

    def test_the_answer_is_a_page_with_a_link_that_carries_the_session(self, client: Client) -> None:
        state_update(public_url="https://portal.example.com")
        response = client.post(reverse("go"))
        page = response.content.decode()
        assert response.status_code == 200
        assert "data-go" in page
        path = page.split('href="https://portal.example.com')[1].split('"')[0]
        other = Client()
        assert other.get(path, secure=True, headers={"host": "portal.example.com"})["Location"] == "/"

    @pytest.mark.parametrize("host", ["evil.example", "evil.example/", "x@evil.example", "\x00"])
    def test_it_leads_to_this_portal_only(self, client: Client, host: str) -> None:
        state_update(public_url="https://portal.example.com")
        page = client.post(reverse("go"), {"host": host}).content.decode()
        assert "evil" not in page
        assert 'href="https://portal.example.com/session/' in page
