"""What the limits leave is shown, and the click that would spend the last one asks first."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from certs.acme.directories import KNOWN
from certs.forms.lets_encrypt import LetsEncryptForm
from certs.models import AcmeAccount, Certificate, LedgerEntry, Order
from certs.services.accounts import account_get_or_create
from certs.services.ledger import names_digest
from certs.services.portal_state import state_update
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db
REAL = KNOWN["letsencrypt"].url


@pytest.fixture
def account() -> AcmeAccount:
    made = account_get_or_create(directory_url=REAL, email="", terms_url="https://acme.example/t", actor="test")
    AcmeAccount.objects.update(account_url="https://ca/1")
    return made


@pytest.fixture
def certificate(account: AcmeAccount) -> Certificate:
    certificate = stock.issued("a.example.com")
    Certificate.objects.filter(pk=certificate.pk).update(account=account)
    certificate.refresh_from_db()
    return certificate


def spend(account: AcmeAccount, times: int) -> None:
    for _ in range(times):
        LedgerEntry.objects.create(
            directory_url=REAL,
            account=account.pk,
            event="certificate",
            key=names_digest(["a.example.com"]),
            at=clock.now(),
        )


def test_the_pages_of_a_certificate_show_what_is_left(client: Client, certificate: Certificate) -> None:
    assert certificate.account is not None
    spend(certificate.account, 1)
    state_update(portal_certificate=certificate)
    for url in (reverse("certificate", args=[certificate.pk]), reverse("lets-encrypt")):
        page = client.get(url).content.decode()
        assert "4 left of 5 for this set until " in page
        assert "50 left of 50 for example.com" in page


def test_the_form_shows_what_an_order_would_meet(
    client: Client, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LetsEncryptForm, "read_ca", lambda *_, **__: True)  # what the directory says is not asked here
    assert certificate.account is not None
    spend(certificate.account, 5)
    data = {"directory": "letsencrypt", "dns_names": "a.example.com", "email": ""}
    page = client.post(reverse("lets-encrypt-terms"), data).content.decode()
    assert "0 left of 5 for this set until " in page


@pytest.mark.parametrize("way", ["renew", "retry", "lets-encrypt"])
def test_the_last_one_is_spent_only_after_a_second_click(client: Client, certificate: Certificate, way: str) -> None:
    assert certificate.account is not None
    spend(certificate.account, 4)
    state_update(portal_certificate=certificate)
    failed = Order.objects.create(
        certificate=certificate,
        account=certificate.account,
        reason="asked",
        names=certificate.names,
        state="failed",
        finished_at=clock.now(),
        created_at=clock.now() - timedelta(hours=2),
    )
    url = {
        "renew": reverse("certificate-renew", args=[certificate.pk]),
        "retry": reverse("job-retry", args=[failed.pk]),
        "lets-encrypt": reverse("lets-encrypt-renew"),
    }[way]
    asked = client.post(url)
    page = asked.content.decode()
    assert asked.status_code == 409
    assert "1 left of 5 for this set until " in page
    assert f'<form method="post" action="{url}">' in page
    assert 'name="use_last"' in page
    assert Order.objects.count() == 1
    assert client.post(url, {"use_last": "1"}).status_code == 302
    assert Order.objects.count() == 2


def test_what_is_spent_is_not_offered(client: Client, certificate: Certificate) -> None:
    assert certificate.account is not None
    spend(certificate.account, 5)
    url = reverse("certificate-renew", args=[certificate.pk])
    for data in ({}, {"use_last": "1"}):
        refused = client.post(url, data)
        assert refused.status_code == 409
        assert "0 left of 5 for this set until " in refused.content.decode()
        assert 'name="use_last"' not in refused.content.decode()
    assert not Order.objects.exists()
