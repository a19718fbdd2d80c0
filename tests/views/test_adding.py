"""Adding what people have: given, shown, saved; key pairs; requests for CAs outside and their answers."""

import re
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from certs.models import AuditEvent, Binding, Certificate, Intake, PrivateKey, User
from certs.services.bindings import binding_set
from certs.services.portal_state import state_get
from tests import stock
from tests.harness import pki

ADD = "/certificates/add/"


@pytest.fixture
def pair() -> pki.Pair:
    return pki.leaf(stock.CA, ["own.example.com"])


def _file(text: str | bytes, name: str = "x.pem") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text if isinstance(text, bytes) else text.encode())


def _give(client: Client, *files: str | bytes, **fields: str) -> str:
    """The address of the preview."""
    response = client.post(ADD, {"uploads": [_file(each) for each in files], **fields})
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


def _save(client: Client, preview: str, *numbers: int, **fields: str) -> Any:
    return client.post(preview, {**{f"item{number}-save": "on" for number in numbers or (0,)}, **fields}, follow=True)


def test_what_was_recognised_is_shown_and_stored_only_when_it_is_saved(client: Client, pair: pki.Pair) -> None:
    preview = _give(client, pair.key_pem, pair.pem, stock.CA.pem)
    page = client.get(preview).content.decode()
    for words in ("own.example.com", "A Root", "complete", "it fits"):
        assert words in page
    assert not Certificate.objects.exists()
    assert not PrivateKey.objects.exists()
    response = _save(client, preview, **{"item0-name": "Shop", "item0-tags": "production, shop"})
    certificate = Certificate.objects.get()
    assert response.redirect_chain[-1][0] == reverse("certificate", args=[certificate.pk])
    assert certificate.name == "Shop"
    assert set(certificate.tag_rows.values_list("tag", flat=True)) == {"production", "shop"}
    assert certificate.current is not None
    assert certificate.current.key is not None
    assert not Binding.objects.exists()
    assert not Intake.objects.exists()
    assert AuditEvent.objects.filter(action="certificate.import").exists()


def test_text_and_files_go_together(client: Client, pair: pki.Pair) -> None:
    _save(client, _give(client, pair.pem, text=pair.key_pem))
    assert Certificate.objects.get().current.key is not None  # type: ignore[union-attr]


def test_the_same_certificate_again_is_recognised(client: Client, pair: pki.Pair) -> None:
    _save(client, _give(client, pair.pem + pair.key_pem))
    preview = _give(client, pair.pem + pair.key_pem)
    page = client.get(preview).content.decode()
    assert "This is here already" in page
    assert "Save what is chosen" not in page
    _save(client, preview)
    assert Certificate.objects.count() == PrivateKey.objects.count() == 1


def test_a_key_that_was_missing_is_added_to_its_certificate(client: Client, pair: pki.Pair) -> None:
    _save(client, _give(client, pair.pem))
    certificate = Certificate.objects.get()
    assert certificate.current is not None
    assert certificate.current.key is None
    _save(client, _give(client, pair.pem + pair.key_pem))
    certificate.current.refresh_from_db()
    assert certificate.current.key is not None
    assert Certificate.objects.count() == 1


def test_a_successor_is_offered_as_the_next_version_and_is_then_served(client: Client) -> None:
    certificate = stock.uploaded("own.example.com", days=20)
    binding_set("", certificate, actor="test")
    before = state_get().generation
    later = pki.leaf(stock.CA, ["own.example.com"])
    preview = _give(client, later.pem + later.key_pem)
    page = client.get(preview).content.decode()
    assert "An earlier one of the same names is here" in page
    assert "would be served at once" in page
    _save(client, preview)
    certificate.refresh_from_db()
    assert certificate.versions.count() == 2
    assert certificate.current is not None
    assert certificate.current.fingerprint_sha256 == later.fingerprint
    assert state_get().generation > before


def test_a_successor_becomes_one_of_its_own_where_that_is_chosen(client: Client) -> None:
    certificate = stock.uploaded("own.example.com", days=20)
    later = pki.leaf(stock.CA, ["own.example.com"])
    _save(client, _give(client, later.pem + later.key_pem), **{"item0-own": "own"})
    assert Certificate.objects.count() == 2
    assert certificate.versions.count() == 1


def test_a_successor_that_is_not_valid_yet_never_takes_over_what_is_served(client: Client, alice: User) -> None:
    from portal import clock

    certificate = stock.uploaded("own.example.com", days=20)
    binding_set("", certificate, actor="test")
    later = pki.leaf(stock.CA, ["own.example.com"], start=clock.now() + timedelta(days=3))
    response = _save(client, _give(client, later.pem + later.key_pem))
    assert "is valid only from" in response.content.decode()
    certificate.refresh_from_db()
    assert certificate.versions.count() == 1
    assert Certificate.objects.count() == 1


def test_several_entries_of_a_file_are_saved_each_for_itself(client: Client) -> None:
    pairs = [pki.leaf(stock.CA, [f"{name}.example.com"]) for name in "abc"]
    preview = _give(client, *[one.pem + one.key_pem for one in pairs])
    _save(client, preview, 0, 2)
    assert sorted(Certificate.objects.values_list("name", flat=True)) == ["a.example.com", "c.example.com"]


def test_one_that_is_refused_does_not_keep_the_others_out_and_can_be_saved_again(client: Client) -> None:
    one, other = (pki.leaf(stock.CA, [f"{name}.example.com"]) for name in "ab")
    preview = _give(client, one.pem + one.key_pem, other.pem + other.key_pem)
    response = _save(client, preview, 0, 1, **{"item1-tags": "x" * 500})
    page = response.content.decode()
    assert list(Certificate.objects.values_list("name", flat=True)) == ["a.example.com"]
    assert "This is here already" in page
    assert "field-error" in page or "notice-danger" in page
    again = str(re.search(r'action="(/certificates/add/[^"]+)"', page)[1])  # type: ignore[index]
    assert again != preview
    _save(client, again, 0, 1, **{"item1-tags": "fine"})
    assert Certificate.objects.count() == 2


def test_what_is_saved_twice_at_once_is_saved_once(client: Client, pair: pki.Pair) -> None:
    preview = _give(client, pair.pem + pair.key_pem)
    _save(client, preview)
    response = _save(client, preview)
    assert "not kept any more" in response.content.decode()
    assert Certificate.objects.count() == 1


def test_of_one_person_few_previews_are_kept(client: Client, pair: pki.Pair) -> None:
    for _ in range(12):
        last = _give(client, pair.pem)
    assert Intake.objects.count() == 10
    assert client.get(last).status_code == 200


def test_a_p12_is_taken_with_its_password_and_asked_for_without(client: Client, pair: pki.Pair) -> None:
    data = pkcs12.serialize_key_and_certificates(
        b"shop",
        pair.key,  # type: ignore[arg-type]  # an EC key
        pair.certificate,
        [stock.CA.certificate],
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    response = client.post(ADD, {"uploads": _file(data, "s.p12")})
    assert "has a password" in response.content.decode()
    response = client.post(ADD, {"uploads": _file(data, "s.p12"), "password": "wrong"})
    page = response.content.decode()
    assert "cannot be opened with this password" in page
    assert "wrong" not in re.sub(r"<label.*?</label>", "", page.split("<form", 2)[-1])
    _save(client, _give(client, data, password="hunter2"))
    assert Certificate.objects.get().current.key is not None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Choose a file, or paste its text below."),
        ({"text": "hello"}, "no form of certificate or key"),
        ({"text": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "damaged"),
        ({"text": "-----BEGIN CERTIFICATE-----\nMIIB"}, "cut off"),
        ({"text": "\x00"}, "null characters"),
        ({"text": "PK\x03\x04 and more"}, "ZIP"),
        ({"uploads": _file(b"\x00" * 1_100_000, "disk.img")}, "larger than 1 MiB"),
        ({"uploads": _file(b"", "empty.pem")}, "Nothing was given"),
        ({"uploads": [_file(b"x", f"{n}.pem") for n in range(51)]}, "at most 50"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_stored(
    client: Client, given: dict[str, object], sentence: str
) -> None:
    response = client.post(ADD, given)
    assert response.status_code == 200
    assert sentence.lower() in response.content.decode().lower()
    assert not Certificate.objects.exists()
    assert not PrivateKey.objects.exists()
    assert not Intake.objects.exists()


def test_secrets_are_never_shown_again(client: Client, pair: pki.Pair) -> None:
    page = client.post(ADD, {"text": pair.key_pem + "-----BEGIN X", "password": "hunter2"}).content.decode()
    preview = client.get(_give(client, text=pair.key_pem)).content.decode()
    for shown in (page, preview):
        assert "hunter2" not in shown
        assert pair.key_pem.strip().splitlines()[1] not in shown


def test_a_preview_is_its_givers_alone_and_for_fifteen_minutes(
    client: Client, onlooker: Client, pair: pki.Pair, move_clock: object
) -> None:
    preview = _give(client, pair.pem + pair.key_pem)
    sealed = Intake.objects.get().sealed
    assert "PRIVATE KEY" not in sealed
    assert onlooker.get(preview).status_code == 403
    eve = Client()
    other = stock.administrator("eve@example.com")
    eve.force_login(other)
    for name in list(eve.cookies):
        eve.cookies[f"__Host-{name}"] = eve.cookies[name].value
    assert "own.example.com" not in eve.get(preview, follow=True).content.decode()
    assert client.get(preview).status_code == 200
    move_clock(16 * 60)  # type: ignore[operator]
    response = client.get(preview, follow=True)
    assert "not kept any more" in response.content.decode()
    _give(client, pair.pem)
    assert Intake.objects.count() == 1


def test_what_is_dropped_is_gone(client: Client, pair: pki.Pair) -> None:
    preview = _give(client, pair.pem)
    client.post(preview, {"cancel": "1", "item0-save": "on"})
    assert not Intake.objects.exists()
    assert not Certificate.objects.exists()


def test_names_in_a_certificate_never_become_markup(client: Client) -> None:
    evil = pki.authority("<script>alert(1)</script>")
    page = client.get(_give(client, evil.pem)).content.decode()
    assert "<script>alert" not in page


def test_the_old_address_leads_to_the_new_page(client: Client) -> None:
    assert client.get("/certificates/upload/")["Location"] == ADD


def test_a_key_pair_is_made_and_its_certificate_found_later(client: Client) -> None:
    client.post(reverse("certificate-key-pair"), {"name": "Tokens", "key_type": "ed25519", "tags": ""})
    certificate = Certificate.objects.get()
    assert certificate.source == "key-pair"
    assert certificate.key is not None
    assert certificate.key.key_type == "ed25519"
    assert certificate.current is None
    assert client.get(reverse("certificate", args=[certificate.pk])).status_code == 200


class TestRequests:
    def _made(self, client: Client, hosts: str = "a.example.com, 192.0.2.7") -> Certificate:
        given = {"hosts": hosts, "key_type": "ec-p256", "organization": "Example, Inc.", "country": "us"}
        client.post(reverse("certificate-csr-new"), given)
        return Certificate.objects.get()

    def _answered(self, certificate: Certificate, *names: str) -> str:
        request = x509.load_pem_x509_csr(certificate.request_pem.encode())
        from portal import clock

        key = request.public_key()
        made = pki.certificate(stock.CA, list(names), key, days=90, start=clock.now() - timedelta(hours=1))
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def test_it_is_shown_loaded_and_answered(self, client: Client) -> None:
        certificate = self._made(client)
        request = x509.load_pem_x509_csr(certificate.request_pem.encode())
        assert request.is_signature_valid
        assert request.subject.rfc4514_string() == "O=Example\\, Inc.,C=US"
        file = client.get(reverse("certificate-csr-file", args=[certificate.pk]))
        assert file.content.decode() == certificate.request_pem
        assert "attachment" in file["Content-Disposition"]
        address = reverse("certificate-csr", args=[certificate.pk])
        assert certificate.request_pem.splitlines()[1] in client.get(address).content.decode()
        answer = self._answered(certificate, "a.example.com", "192.0.2.7")
        preview = client.post(address, {"text": answer})["Location"]
        _save(client, preview)
        certificate.refresh_from_db()
        assert certificate.current is not None
        assert certificate.current.key is not None
        assert certificate.request_pem == ""
        assert certificate.key is None
        assert AuditEvent.objects.filter(action="certificate.answer").exists()

    def test_other_names_than_asked_for_are_shown(self, client: Client) -> None:
        certificate = self._made(client)
        answer = self._answered(certificate, "a.example.com", "b.example.com")
        page = client.get(_give(client, answer)).content.decode()
        assert "Asked for, but not in the certificate: 192.0.2.7." in page
        assert "In the certificate, but not asked for: b.example.com." in page

    def test_a_certificate_for_another_key_is_no_answer(self, client: Client, pair: pki.Pair) -> None:
        certificate = self._made(client)
        response = client.post(reverse("certificate-csr", args=[certificate.pk]), {"text": pair.pem})
        assert "for the key of the request" in response.content.decode()
        assert not Intake.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"hosts": ""}, "needs a name or a subject"),
            ({"hosts": "a b"}, "field-error"),
            ({"hosts": "a.example.com", "country": "USA"}, "field-error"),
            ({"hosts": "a.example.com", "country": "1!"}, "two letters"),
            ({"hosts": "a.example.com", "key_type": "rot13"}, "field-error"),
        ],
    )
    def test_bad_input_makes_no_key(self, client: Client, changes: dict[str, str], says: str) -> None:
        page = client.post(reverse("certificate-csr-new"), {"key_type": "ec-p256", **changes}).content.decode()
        assert says in page
        assert not Certificate.objects.exists()
        assert not PrivateKey.objects.exists()

    def test_an_uploaded_certificate_is_renewed_by_a_new_request(self, client: Client) -> None:
        certificate = stock.uploaded("own.example.com", days=20)
        binding_set("", certificate, actor="test")
        address = reverse("certificate-csr-renew", args=[certificate.pk])
        client.post(address, {"key_type": "ec-p384"})
        certificate.refresh_from_db()
        assert certificate.current is not None
        first = certificate.current.pk
        assert certificate.request_pem
        response = client.post(address, {"key_type": ""}, follow=True)
        assert "has a request already" in response.content.decode()
        _save(client, _give(client, self._answered(certificate, "own.example.com")))
        certificate.refresh_from_db()
        assert certificate.current_id != first
        assert certificate.current.key is not None
        assert certificate.versions.first().key.key_type == "ec-p384"  # type: ignore[union-attr]

    def test_a_key_pair_is_asked_a_certificate_for_and_stays_when_that_is_withdrawn(self, client: Client) -> None:
        client.post(reverse("certificate-key-pair"), {"name": "Tokens", "key_type": "ec-p256", "tags": ""})
        certificate = Certificate.objects.get()
        address = reverse("certificate-csr-renew", args=[certificate.pk])
        assert "needs a name" in client.post(address, {"hosts": ""}).content.decode()
        assert "Make a signing request" in client.get(reverse("certificate", args=[certificate.pk])).content.decode()
        client.post(address, {"hosts": "a.example.com"})
        client.post(reverse("certificate-csr-withdraw", args=[certificate.pk]))
        certificate.refresh_from_db()
        assert certificate.key is not None
        assert (certificate.request_pem, certificate.names) == ("", [])
        client.post(address, {"hosts": "a.example.com"})
        certificate.refresh_from_db()
        _save(client, _give(client, self._answered(certificate, "a.example.com")))
        certificate.refresh_from_db()
        assert certificate.current is not None
        assert certificate.current.key is not None
        assert certificate.key is None
        assert Certificate.objects.count() == 1

    def test_it_is_withdrawn_and_what_is_in_use_stays(self, client: Client) -> None:
        certificate = stock.uploaded("own.example.com")
        client.post(reverse("certificate-csr-renew", args=[certificate.pk]), {"key_type": ""})
        client.post(reverse("certificate-csr-withdraw", args=[certificate.pk]))
        certificate.refresh_from_db()
        assert certificate.request_pem == ""
        assert certificate.key is None
        assert certificate.current is not None


def test_fetching_issuers_is_switched_with_an_audit_event(client: Client, onlooker: Client) -> None:
    assert state_get().fetch_issuers
    assert onlooker.post(reverse("store"), {}).status_code == 403
    client.post(reverse("store"), {})
    assert not state_get().fetch_issuers
    assert AuditEvent.objects.filter(action="issuers.fetch").count() == 1
