"""The pages that hand out files, and /.well-known/jwks.json."""

import html
import json
import re
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from django.contrib.auth.models import Permission
from django.test import Client

from certs.domain.formats.base import formats
from certs.domain.jks import TrustedEntry, jks_read
from certs.domain.pem import certificates_read
from certs.models import AcmeAccount, AuditEvent, Certificate, CertificateVersion, User
from certs.services.certificate_changes import certificate_update
from certs.services.keys import key_import
from certs.services.versions import version_add
from tests import stock
from tests.harness import pki

PASSWORD = "never-rendered-back"


@pytest.fixture
def own(alice: User) -> Certificate:
    return stock.uploaded("shop.example.com")


def export(row: Certificate) -> str:
    return f"/certificates/{row.pk}/export/"


def test_the_page_offers_every_format_and_a_download_is_the_file(client: Client, own: Certificate) -> None:
    page = client.get(export(own)).content.decode()
    for each in formats().values():
        assert f'id="{each.id}"' in page
    response = client.post(export(own), {"format": "pkcs12", "password": PASSWORD, "encryption": "modern"})
    assert response["Content-Disposition"] == 'attachment; filename="shop.example.com.p12"'
    assert response["Content-Type"] == "application/x-pkcs12"
    assert response["Cache-Control"] == "no-store"
    assert pkcs12.load_pkcs12(response.content, PASSWORD.encode()).key is not None
    assert AuditEvent.objects.get(action="certificate.export").actor is not None


def test_nothing_with_a_key_is_ever_given_to_a_get(client: Client, own: Certificate) -> None:
    response = client.get(export(own), {"format": "key", "version": str(own.current_id)})
    assert response["Content-Type"].startswith("text/html")
    assert b"BEGIN" not in response.content
    assert not AuditEvent.objects.filter(action="certificate.export").exists()


def test_a_form_of_another_site_is_refused(alice: User, own: Certificate) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert strict.post(export(own), {"format": "key"}).status_code in {302, 403}
    assert not AuditEvent.objects.filter(action="certificate.export").exists()


def test_whoever_only_reads_takes_public_parts_and_no_key(onlooker: Client, bob: User, own: Certificate) -> None:
    page = onlooker.get(export(own)).content.decode()
    assert "needs the export permission" in page
    response = onlooker.post(export(own), {"format": "fullchain"})
    assert certificates_read(response.content)
    response = onlooker.post(export(own), {"format": "key", "form": "pkcs8"})
    assert b"PRIVATE" not in response.content
    assert "export permission" in response.content.decode()
    assert AuditEvent.objects.get(action="certificate.export").result == "refused"
    bob.user_permissions.add(Permission.objects.get(codename="export_keys"))
    response = onlooker.post(export(own), {"format": "key", "form": "pkcs8"})
    assert load_pem_private_key(response.content, None)


def test_a_stranger_is_sent_to_log_in(stranger: Client, own: Certificate) -> None:
    for path in (export(own), f"/certificates/{own.pk}/snippets/", "/certificates/trust-store/"):
        response = stranger.get(path)
        assert response.status_code == 302
        assert "/accounts/login/" in response["Location"]
    assert stranger.post(export(own), {"format": "key"}).status_code == 302


def test_what_is_refused_is_said_at_its_field_and_no_password_comes_back(client: Client, own: Certificate) -> None:
    response = client.post(export(own), {"format": "jks", "password": "short", "suggested": "abcdefgh-old"})
    page = response.content.decode()
    assert response.status_code == 200
    assert "A password of 6 to 128 characters is needed." in page
    assert '<details class="more mb-2" id="jks" open>' in page
    assert 'value="short"' not in page
    assert "abcdefgh-old" not in page
    assert client.post(export(own), {"format": "nonsense"}).status_code == 400


def test_the_random_password_is_another_each_time_and_opens_the_file(client: Client, own: Certificate) -> None:
    def suggested() -> str:
        page = client.get(export(own)).content.decode()
        found = re.search(r'id="jks-suggestion" name="suggested" value="([^"]+)"', page)
        assert found is not None
        return found[1]

    first, second = suggested(), suggested()
    assert first != second
    response = client.post(export(own), {"format": "jks", "suggested": second, "use_suggested": "on"})
    assert jks_read(response.content, second)


def test_an_earlier_version_is_chosen_by_its_address(client: Client, own: Certificate) -> None:
    first = own.current
    assert first is not None
    pair = pki.leaf(stock.CA, ["shop.example.com"])
    version_add(own, leaf=pair.certificate, chain=[], key=key_import(pair.key))  # type: ignore[arg-type]
    page = client.get(export(own)).content.decode()
    assert f"?version={first.pk}" in page
    response = client.post(f"{export(own)}?version={first.pk}", {"format": "leaf"})
    assert response.content.decode() == first.leaf_pem
    other = stock.uploaded("other.example")
    assert client.get(f"{export(own)}?version={other.current_id}").status_code == 404


def test_snippets_name_the_files_that_the_links_give(client: Client, own: Certificate) -> None:
    page = client.get(f"/certificates/{own.pk}/snippets/").content.decode()
    assert "ssl_certificate     /etc/ssl/bindery/shop.example.com.fullchain.pem;" in page
    assert "clientAuthentication: want" in page
    assert "ClusterIssuer" not in page
    links = re.findall(r'href="([^"]*/export/\?format=[^"]+)"', page)
    assert len(links) >= 8
    for link in map(html.unescape, dict.fromkeys(links)):
        query = dict(part.split("=") for part in urlsplit(link).query.split("&"))
        values = {"format": query["format"], "password": PASSWORD, "form": "pkcs8", "encryption": "modern"}
        response = client.post(link.partition("#")[0], values | {"what": "anchor"})
        # No CA is known above this one, so there is nothing to trust.
        if query["format"] != "truststore-jks":
            assert response["Content-Disposition"] == f'attachment; filename="{query["as"]}"', response.content


def test_a_certificate_of_an_acme_account_has_an_issuer_for_clusters(client: Client) -> None:
    row = stock.issued("a.example")
    AcmeAccount.objects.filter(pk=row.account_id).update(email="ops@example.com", eab_kid="kid-1")
    page = html.unescape(client.get(f"/certificates/{row.pk}/snippets/").content.decode())
    assert f'server: "{stock.DIRECTORY}"' in page
    assert 'keyID: "kid-1"' in page


def test_a_trust_store_of_what_was_ticked(client: Client, own: Certificate) -> None:
    root, other = (_authority(name) for name in ("Root A", "Root B"))
    page = client.get("/certificates/trust-store/").content.decode()
    assert "Root A" in page
    assert "shop.example.com" not in page
    ticked = [str(root.pk), str(other.pk)]
    response = client.post(
        "/certificates/trust-store/", {"format": "truststore-jks", "password": PASSWORD, "ca": ticked}
    )
    entries = jks_read(response.content, PASSWORD)
    assert all(isinstance(entry, TrustedEntry) for entry in entries)
    assert len(entries) == 2
    refused = client.post("/certificates/trust-store/", {"format": "trust-pem"})
    assert "Choose at least one CA certificate." in refused.content.decode()
    # Neither a leaf nor what is no id gets in by hand.
    refused = client.post("/certificates/trust-store/", {"format": "trust-pem", "ca": [str(own.pk), "x"]})
    assert "Choose at least one CA certificate." in refused.content.decode()


def test_what_was_ticked_stays_so_in_another_format_and_on_another_page(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.views.downloads.PAGE", 2)
    a, b, c = (str(_authority(name).pk) for name in ("Root A", "Root B", "Root C"))
    page = client.post("/certificates/trust-store/", {"format": "trust-pem", "ca": [a, "x"], "other": "truststore-jks"})
    assert page.context["form"].wanted.id == "truststore-jks"
    assert f'value="{a}" id="ca-{a}" checked' in page.content.decode()
    assert f'value="{b}" id="ca-{b}">' in page.content.decode()
    given = {"format": "trust-pem", "page": "1", "ca": [a]}
    following = client.post("/certificates/trust-store/", {**given, "to": "2"}).content.decode()
    assert f'type="hidden" name="ca" value="{a}"' in following
    assert f'id="ca-{c}"' in following
    both = client.post("/certificates/trust-store/", {**given, "page": "2", "ca": [a, c]})
    assert len(certificates_read(both.content)) == 2
    refused = client.post("/certificates/trust-store/", {"format": "truststore-jks", "page": "2", "ca": [a]})
    assert f'type="hidden" name="ca" value="{a}"' in refused.content.decode()
    assert client.post("/certificates/trust-store/", {"other": "cobol"}).status_code == 400


def _authority(name: str) -> Certificate:
    pair = pki.authority(name)
    row = Certificate.objects.create(name=name, source=Certificate.Source.UPLOADED)
    version_add(row, leaf=pair.certificate, chain=[], key=key_import(pair.key))  # type: ignore[arg-type]
    CertificateVersion.objects.filter(certificate=row).update(key=None)
    return row


def test_the_switch_exposes_and_takes_out(client: Client, onlooker: Client, own: Certificate) -> None:
    assert onlooker.post(f"/certificates/{own.pk}/expose/", {"exposed": "yes"}).status_code == 403
    assert client.get("/.well-known/jwks.json").json() == {"keys": []}
    assert client.post(f"/certificates/{own.pk}/expose/", {"exposed": "yes"}).status_code == 302
    assert len(client.get("/.well-known/jwks.json").json()["keys"]) == 1
    assert "Take it out" in client.get(f"/certificates/{own.pk}/").content.decode()
    client.post(f"/certificates/{own.pk}/expose/", {"exposed": "no"})
    assert client.get("/.well-known/jwks.json").json() == {"keys": []}


def test_the_jwks_is_public_cacheable_and_readable_from_other_sites(stranger: Client, own: Certificate) -> None:
    certificate_update(own, actor="test", exposed=True)
    response = stranger.get("/.well-known/jwks.json")
    assert response["Content-Type"] == "application/jwk-set+json"
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["Cache-Control"] == "public, max-age=300"
    assert "Set-Cookie" not in response
    again = stranger.get("/.well-known/jwks.json", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == response["ETag"]
    certificate_update(own, actor="test", exposed=False)
    changed = stranger.get("/.well-known/jwks.json", headers={"If-None-Match": response["ETag"]})
    assert changed.status_code == 200
    assert json.loads(changed.content) == {"keys": []}
    assert stranger.post("/.well-known/jwks.json").status_code in {403, 405}


def test_the_overlap_is_set_on_its_page_by_administrators_only(
    client: Client, onlooker: Client, own: Certificate
) -> None:
    certificate_update(own, actor="test", exposed=True)
    page = client.get("/configuration/public-keys/").content.decode()
    assert "shop.example.com" in page
    assert "ES256" in page
    assert "/.well-known/jwks.json" in page
    assert onlooker.post("/configuration/public-keys/", {"days": "1"}).status_code == 403
    assert "Type a whole number" in client.post("/configuration/public-keys/", {"days": "400"}).content.decode()
    done = client.post("/configuration/public-keys/", {"days": "30"}, follow=True).content.decode()
    assert "stays for 30 days" in done
    assert "1 exposed" in client.get("/configuration/").content.decode()
