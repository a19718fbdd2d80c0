"""The pages of what our own CAs publish and revoke, and Configuration ➜ PKI addresses."""

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import Authority
from certs.services.portal_state import state_get
from certs.services.revocations import version_revoke
from tests import own_ca, stock

pytestmark = pytest.mark.django_db
DAY = 86_400.0


@pytest.fixture
def offline() -> Authority:
    return own_ca.root("Offline Root", passphrase=own_ca.PASSPHRASE, crl_days=90)


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(stock.administrator("alice@example.com"))
    return client


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


class TestPublication:
    def test_what_is_published(self, alice: Client, offline: Authority) -> None:
        page = text(alice, reverse("authority-publication", args=[offline.pk]))
        for words in ("This CA is offline", "in force", "0 entries", "Passphrase of the CA"):
            assert words in page
        assert f"http://pki.example.com/pki/crl/{offline.pk}.crl" in page

    def test_what_waits_for_a_person_and_is_signed(self, alice: Client, offline: Authority) -> None:
        leaf = own_ca.leaf(offline, passphrase=own_ca.PASSPHRASE)
        version_revoke(own_ca.version(leaf), "superseded", actor="test")
        page = reverse("authority-publication", args=[offline.pk])
        assert "does not tell of everything" in text(alice, page)
        url = reverse("authority-publish", args=[offline.pk])
        for given, words in (("", "This field is required"), ("wrong", "field-error"), ("x" * 5000, "field-error")):
            answer = alice.post(url, {"passphrase": given})
            assert answer.status_code == 200
            assert words in answer.content.decode()
            assert f'value="{given}"' not in answer.content.decode()
            assert not own_ca.on_list(offline, leaf)
        assert alice.post(url, {"passphrase": own_ca.PASSPHRASE}).status_code == 302
        assert own_ca.on_list(offline, leaf)
        assert "does not tell of everything" not in text(alice, page)

    def test_one_that_is_at_hand_signs_without_a_passphrase(self, alice: Client) -> None:
        ca = own_ca.root()
        number = ca.crl_number
        assert alice.post(reverse("authority-publish", args=[ca.pk])).status_code == 302
        ca.refresh_from_db()
        assert ca.crl_number > number
        assert alice.post(reverse("authority-crl-life", args=[ca.pk]), {"days": "0"}).status_code == 200
        assert alice.post(reverse("authority-crl-life", args=[ca.pk]), {"days": "3"}).status_code == 302
        ca.refresh_from_db()
        assert ca.crl_days == 3

    def test_by_serial_number(self, alice: Client) -> None:
        ca = own_ca.root()
        leaf = own_ca.leaf(ca)
        url = reverse("authority-revoke-serial", args=[ca.pk])
        for serial in ("zz", "1234", "", "-1", "0x"):
            answer = alice.post(url, {"serial": serial, "reason": "superseded"})
            assert answer.status_code == 200
            assert "field-error" in answer.content.decode()
        given = {"serial": own_ca.version(leaf).serial, "reason": "certificateHold"}
        assert alice.post(url, given).status_code == 302
        assert own_ca.on_list(ca, leaf)
        assert alice.post(url, {**given, "release": "1"}).status_code == 302
        assert not own_ca.on_list(ca, leaf)


class TestRevoke:
    def test_by_our_own_ca_with_its_reasons(self, alice: Client) -> None:
        ca = own_ca.root()
        leaf = own_ca.leaf(ca)
        url = reverse("certificate-revoke", args=[leaf.pk, own_ca.version(leaf).pk])
        page = text(alice, url)
        assert "a CA of your own" in page
        assert "certificateHold" in page
        assert "Signed by" not in page
        given = {"reason": "certificateHold", "typed": leaf.name}
        assert alice.post(url, given).status_code == 302
        assert own_ca.version(leaf).revocation_reason == "certificateHold"
        assert "Release from hold" in text(alice, reverse("certificate", args=[leaf.pk]))
        release = reverse("certificate-release", args=[leaf.pk, own_ca.version(leaf).pk])
        assert alice.post(release).status_code == 302
        assert own_ca.version(leaf).revoked_at is None
        assert alice.post(url, {**given, "reason": "superseded", "typed": "another"}).status_code == 200
        assert alice.post(url, {**given, "reason": "superseded"}).status_code == 302
        again = alice.post(release, follow=True)
        assert "Only a certificate that is on hold" in again.content.decode()

    def test_what_falls_with_a_ca(self, alice: Client) -> None:
        root = own_ca.root()
        below = own_ca.below(root)
        own_ca.leaf(below)
        url = reverse("certificate-revoke", args=[below.certificate_id, own_ca.version(below.certificate).pk])
        page = text(alice, url)
        assert "Falls with it" in page
        assert "1 valid certificate" in page


class TestAddress:
    def test_it_is_guessed_explained_and_confirmed(self, alice: Client) -> None:
        page = text(alice, reverse("pki-address"))
        assert "not confirmed yet" in page
        assert 'value="http://' in page
        for wrong in ("https://pki.example.com", "pki.example.com", "http://", "http://a/b", "http://a b", "ftp://a"):
            answer = alice.post(reverse("pki-address"), {"url": wrong})
            assert answer.status_code == 200
            assert "field-error" in answer.content.decode() or "form-errors" in answer.content.decode()
            assert not state_get().pki_base_url
        assert alice.post(reverse("pki-address"), {"url": "http://pki.example.com:80/"}).status_code == 302
        assert state_get().pki_base_url == "http://pki.example.com"

    def test_checking_stores_nothing(self, alice: Client) -> None:
        answer = alice.post(reverse("pki-address"), {"url": "http://127.0.0.1:9", "check": "1"})
        page = answer.content.decode()
        assert "Could not check from this machine" in page
        assert "Only this machine reaches that address" in page
        assert not state_get().pki_base_url

    def test_a_change_names_the_living(self, alice: Client) -> None:
        ca = own_ca.root()
        own_ca.leaf(ca)
        given = {"url": "http://new.example.com"}
        answer = alice.post(reverse("pki-address"), given)
        assert "that are still valid" in answer.content.decode()
        assert state_get().pki_base_url == own_ca.BASE
        assert alice.post(reverse("pki-address"), {**given, "although_living": "on"}).status_code == 302
        assert state_get().pki_base_url == "http://new.example.com"

    def test_the_environment_decides(self, alice: Client, settings: object) -> None:
        settings.PKI_BASE_URL = "http://env.example.com"  # type: ignore[attr-defined]
        page = text(alice, reverse("pki-address"))
        assert "BINDERY_PKI_BASE_URL" in page
        alice.post(reverse("pki-address"), {"url": "http://new.example.com"})
        assert not state_get().pki_base_url


def test_who_may_only_look_signs_and_revokes_nothing(onlooker: Client, offline: Authority) -> None:
    assert onlooker.get(reverse("authority-publication", args=[offline.pk])).status_code == 200
    for name in ("authority-publish", "authority-crl-life", "authority-revoke-serial"):
        assert onlooker.post(reverse(name, args=[offline.pk]), {}).status_code == 403
    assert onlooker.post(reverse("pki-address"), {"url": "http://bob.example.com"}).status_code == 403
    assert Client().get(reverse("authority-publication", args=[offline.pk])).status_code == 302
