"""The pages of our own CAs."""

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.csr import csr_make
from certs.domain.keys import key_generate
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, IssuanceProfile
from certs.services.issued import authority_issue
from certs.services.portal_state import state_update
from tests.harness import own_ca, pki

pytestmark = pytest.mark.django_db
ISSUE = {
    "profile": "server",
    "hosts": "www.example.com",
    "key_type": "ec-p256",
    "include_aia": "on",
    "auto_renew": "on",
}


@pytest.fixture(autouse=True)
def _address() -> None:
    own_ca.address()


def test_a_root_and_an_intermediate_are_made(client: Client) -> None:
    given = {
        "common_name": "#1, Root",
        "country": "de",
        "key_type": "ec-p256",
        "crl_days": 7,
        "permitted": "example.com",
    }
    client.post(reverse("authority-new"), given)
    root = Authority.objects.get()
    assert root.certificate.current is not None
    assert root.certificate.current.subject == "CN=\\#1\\, Root,C=DE"
    client.post(
        reverse("authority-new"),
        {**given, "common_name": "Below", "parent": root.pk, "path_length": 0, "permitted": ""},
    )
    assert Authority.objects.get(certificate__authority=root).certificate.name == "Below"
    page = client.get(reverse("authorities")).content.decode()
    assert "#1, Root" in page
    assert "signs by itself" in page
    page = client.get(reverse("authority", args=[root.pk])).content.decode()
    assert "dns:example.com" in page
    assert "What stops when" in page


def test_without_the_address_a_sentence_says_what_comes_first(client: Client) -> None:
    state_update(pki_base_url="", pki_base_url_confirmed_at=None)
    page = client.post(reverse("authority-new"), {"common_name": "R", "key_type": "ec-p256", "crl_days": 7})
    assert "not confirmed yet" in page.content.decode()
    assert not Authority.objects.exists()


def test_two_passphrases_that_differ_make_nothing(client: Client) -> None:
    given = {"common_name": "R", "key_type": "ec-p256", "crl_days": 7, "passphrase": "a long one indeed"}
    page = client.post(reverse("authority-new"), given).content.decode()
    assert "differ" in page
    assert "a long one indeed" not in page
    assert not Authority.objects.exists()


def test_an_offline_one_asks_for_its_passphrase_and_never_shows_it(client: Client) -> None:
    row = own_ca.root(passphrase=own_ca.PASSPHRASE)
    given = {**ISSUE, "authority": row.pk}
    page = client.post(reverse("authority-issue"), given).content.decode()
    assert "only a person can sign" in page
    page = client.post(reverse("authority-issue"), {**given, "passphrase": "wrong battery staple"}).content.decode()
    assert "cannot be opened" in page
    assert "wrong battery staple" not in page
    client.post(reverse("authority-issue"), {**given, "passphrase": own_ca.PASSPHRASE})
    made = Certificate.objects.get(names=["www.example.com"])
    assert made.authority == row
    address = reverse("certificate-reissue", args=[made.pk])
    assert "cannot be opened" in client.post(address, {"passphrase": "wrong"}).content.decode()
    client.post(address, {"passphrase": own_ca.PASSPHRASE})
    assert made.versions.count() == 2


def test_a_look_shows_the_findings_and_signs_nothing(client: Client) -> None:
    row = own_ca.root()
    given = {**ISSUE, "authority": row.pk, "look": "1"}
    page = client.post(reverse("authority-issue"), given).content.decode()
    assert "What would be signed" in page
    assert "No rule speaks against it" in page or "notice" in page
    page = client.post(
        reverse("authority-issue"), {**given, "profile": "public", "hosts": "intranet", "key_type": "ec-p256"}
    ).content.decode()
    assert "stops it" in page
    assert not Certificate.objects.filter(names=["www.example.com"]).exists()


def test_a_request_is_signed_for_its_own_key(client: Client) -> None:
    row = own_ca.root()
    csr = csr_make(key_generate("ec-p256"), ["csr.example.com"])
    client.post(reverse("authority-issue"), {**ISSUE, "authority": row.pk, "hosts": "", "csr_text": csr})
    assert Certificate.objects.filter(names=["csr.example.com"]).exists()
    page = client.post(reverse("authority-issue"), {**ISSUE, "authority": row.pk, "csr_text": "nonsense"})
    assert "field-error" in page.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [("hosts", "a b"), ("subject", "=="), ("days", "0"), ("days", "9999"), ("key_type", "x"), ("path_length", "1")],
)
def test_bad_input_is_a_sentence(client: Client, field: str, value: str) -> None:
    row = own_ca.root()
    response = client.post(reverse("authority-issue"), {**ISSUE, "authority": row.pk, field: value})
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    assert not Certificate.objects.filter(names=["www.example.com"]).exists()


def test_import_renew_retire(client: Client) -> None:
    other = pki.authority("Old Root")
    client.post(reverse("authority-import"), {"chain": other.pem, "key_text": other.key_pem, "crl_days": 7})
    old = Authority.objects.get()
    client.post(reverse("authority-renew", args=[old.pk]), {"days": 400})
    assert old.certificate.versions.count() == 2
    new = own_ca.root()
    client.post(reverse("authority-retire", args=[old.pk]), {"successor": new.pk})
    old.refresh_from_db()
    assert old.successor == new
    assert "move to" in client.get(reverse("authority", args=[old.pk])).content.decode()


def test_a_profile_is_made_changed_and_deleted(client: Client) -> None:
    given = {
        "label": "Shop servers",
        "usages": ["server"],
        "usual_days": 30,
        "longest_days": 60,
        "host_kinds": ["dns"],
        "hosts": "shop.example",
        "needs_host": "on",
    }
    client.post(reverse("profile-new"), given)
    row = IssuanceProfile.objects.get()
    assert row.name == "shop-servers"
    assert "Shop servers" in client.get(reverse("profiles")).content.decode()
    client.post(reverse("profile", args=[row.pk]), {**given, "longest_days": 90})
    row.refresh_from_db()
    assert row.rules["longest_days"] == 90
    page = client.post(reverse("profile", args=[row.pk]), {**given, "usual_days": 99})
    assert "not beyond the longest" in page.content.decode()
    client.post(reverse("profile-remove", args=[row.pk]))
    assert not IssuanceProfile.objects.exists()


def test_an_authority_keeps_to_its_profiles(client: Client) -> None:
    row = own_ca.root()
    client.post(reverse("authority-signs", args=[row.pk]), {"profiles": ["client"]})
    row.refresh_from_db()
    assert (row.profiles, row.include_aia) == (["client"], False)
    page = client.post(reverse("authority-issue"), {**ISSUE, "authority": row.pk}).content.decode()
    assert "does not sign by" in page


def test_the_page_of_what_it_issued_offers_to_renew(client: Client) -> None:
    made = authority_issue(own_ca.root(), Wish(hosts=("a.example.com",)), actor="test")
    assert (
        reverse("certificate-reissue", args=[made.pk])
        in client.get(reverse("certificate", args=[made.pk])).content.decode()
    )
