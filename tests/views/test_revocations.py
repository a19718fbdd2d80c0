"""The page that revokes: a reason, who signs, the name typed."""

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.errors import AcmeRefused
from certs.models import Certificate, CertificateVersion, PrivateKey
from certs.selectors import Shown, certificate_shown
from certs.services import accounts
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa


@pytest.fixture(autouse=True)
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa()
    monkeypatch.setattr(accounts, "session", fake.session)
    return fake


@pytest.fixture
def certificate(db: None) -> Certificate:
    return stock.issued("www.example.com")


def page(certificate: Certificate) -> str:
    return reverse("certificate-revoke", args=[certificate.pk, certificate.current_id])


def given(**fields: str) -> dict[str, str]:
    return {"reason": "superseded", "by": "account", "typed": "www.example.com", **fields}


def test_only_administrators(certificate: Certificate, onlooker: Client, stranger: Client, ca: FakeCa) -> None:
    assert onlooker.get(page(certificate)).status_code == 403
    assert onlooker.post(page(certificate), given()).status_code == 403
    assert stranger.post(page(certificate), given()).status_code == 302
    assert not ca.revoked
    assert "Revoke this certificate" not in onlooker.get(reverse("certificate", args=[certificate.pk])).content.decode()


def test_the_name_is_typed_and_the_reason_told(certificate: Certificate, client: Client, ca: FakeCa) -> None:
    assert "Revoke this certificate" in client.get(reverse("certificate", args=[certificate.pk])).content.decode()
    assert "It is replaced at once" in client.get(page(certificate)).content.decode()
    for wrong in ({"typed": "www"}, {"reason": "certificateHold"}, {"by": "me"}):
        assert client.post(page(certificate), given(**wrong)).status_code == 200
    assert not ca.revoked
    response = client.post(page(certificate), given(), follow=True)
    assert "is revoked." in response.content.decode()
    assert ca.revoked == [(4, False)]
    version = CertificateVersion.objects.get()
    assert version.revocation_reason == "superseded"
    shown = response.content.decode()
    assert "superseded" in shown
    assert "Revoke this certificate" not in shown


def test_a_compromised_key_signs_and_is_marked(certificate: Certificate, client: Client, ca: FakeCa) -> None:
    client.post(page(certificate), given(reason="keyCompromise", by="key"))
    assert ca.revoked == [(1, True)]
    assert PrivateKey.objects.get(versions__certificate=certificate).compromised_at is not None


def test_the_cas_refusal_is_shown_in_its_words(certificate: Certificate, client: Client, ca: FakeCa) -> None:
    ca.fail["certificate_revoke"] = [AcmeRefused("Our CA refused: not yours.", code="acme-unauthorized")]
    assert "not yours" in client.post(page(certificate), given()).content.decode()
    assert CertificateVersion.objects.get().revoked_at is None


def test_a_key_that_is_elsewhere_cannot_sign(certificate: Certificate, client: Client, ca: FakeCa) -> None:
    PrivateKey.objects.update(sealed="", held="endpoint")
    assert 'value="key"' not in client.get(page(certificate)).content.decode()
    assert client.post(page(certificate), given(by="key")).status_code == 200
    assert not ca.revoked


def test_what_is_known_of_a_revocation_is_shown_and_what_is_not(certificate: Certificate, client: Client) -> None:
    address = reverse("certificate", args=[certificate.pk])
    rows = CertificateVersion.objects.all()
    assert "not looked up yet" in client.get(address).content.decode()
    rows.update(revocation_checked_at=clock.now(), revocation_trouble="The list is out of date.")
    shown = client.get(address).content.decode()
    assert "could not check" in shown
    assert "The list is out of date." in shown
    rows.update(revocation_trouble="")
    assert "not on the CA's list" in client.get(address).content.decode()


def test_the_admin_leads_to_the_page(certificate: Certificate, client: Client) -> None:
    chosen = {"action": "revoke", "_selected_action": str(certificate.current_id)}
    response = client.post("/admin/certs/certificateversion/", chosen)
    assert response["Location"] == page(certificate)


def test_a_revoked_certificate_is_never_green(certificate: Certificate, client: Client) -> None:
    assert certificate_shown(certificate).kind == "ok"
    PrivateKey.objects.update(compromised_at=clock.now())
    certificate.refresh_from_db()
    assert certificate_shown(Certificate.objects.get()) == Shown("danger", "key compromised")
    CertificateVersion.objects.update(revoked_at=clock.now())
    assert certificate_shown(Certificate.objects.get()) == Shown("danger", "revoked")
    assert "www.example.com" in client.get("/certificates/?state=revoked").content.decode()
    listed = client.get("/certificates/?state=valid").content.decode()
    assert "www.example.com" not in listed
    assert "state-ok" not in client.get("/certificates/").content.decode().split("<tbody>")[1].split("</tbody>")[0]
