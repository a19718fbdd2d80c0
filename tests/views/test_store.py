"""Pages of the store: properties, versions side by side, deleted certificates, and the list page by page."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import AuditEvent, Certificate
from certs.services import search
from certs.services.certificate_changes import certificate_update
from certs.services.deletion import certificate_delete
from portal import clock
from tests import own_ca, stock

pytestmark = pytest.mark.django_db


def edited(certificate: Certificate, **changes: str) -> dict[str, str]:
    given = {"name": certificate.name, "description": "", "tags": "", "metadata": "", "department": ""}
    return given | changes


def test_what_is_said_of_a_certificate_is_kept_shown_and_found(client: Client) -> None:
    certificate = stock.uploaded("own.example.com")
    address = reverse("certificate-edit", args=[certificate.pk])
    changes = {
        "name": "The shop",
        "description": "Line 1\nLine 2",
        "tags": "Shop,  Team A ,shop",
        "metadata": "a = b=c",
    }
    client.post(address, edited(certificate, **changes))
    certificate.refresh_from_db()
    assert (certificate.name, certificate.metadata) == ("The shop", {"a": "b=c"})
    page = client.get(reverse("certificate", args=[certificate.pk])).content.decode()
    for words in ("The shop", "Line 1<br>Line 2", ">shop</a>", ">team a</a>", "b=c", str(certificate.pk)):
        assert words in page
    for query in ("q=the+shop", "tag=team+A", "tag=shop&tag=team+a", "q=own.ex"):
        assert "The shop</a>" in client.get(f"{reverse('certificates')}?{query}").content.decode()
    assert "The shop</a>" not in client.get(f"{reverse('certificates')}?tag=other").content.decode()
    assert AuditEvent.objects.filter(action="certificate.change").count() == 1
    client.post(address, edited(certificate, **changes))
    assert AuditEvent.objects.filter(action="certificate.change").count() == 1  # nothing was changed


def test_whether_it_renews_by_itself_is_said_where_somebody_here_can(client: Client) -> None:
    root = own_ca.root()
    own, brought = own_ca.leaf(root), stock.uploaded("own.example.com")
    for row, offered in ((own, True), (brought, False), (root.certificate, False), (root.responder, False)):
        assert row is not None
        address = reverse("certificate-edit", args=[row.pk])
        assert ("Renew it by itself" in client.get(address).content.decode()) is offered
    address = reverse("certificate-edit", args=[own.pk])
    assert address in client.get(reverse("certificate", args=[own.pk])).content.decode()
    for given, wanted in (({"auto_renew": "on"}, True), ({}, False)):
        client.post(address, edited(own, **given))
        own.refresh_from_db()
        assert own.auto_renew is wanted


def test_a_responder_says_what_it_is_for_and_is_not_offered_to_serve(client: Client) -> None:
    root = own_ca.root()
    page = client.get(reverse("certificate", args=[root.responder_id])).content.decode()
    assert f'answering OCSP in place of <a href="{reverse("authority", args=[root.pk])}">' in page
    assert "Let it answer for" not in page


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a\x07b"},
        {"tags": "x" * 101},
        {"tags": ",".join(map(str, range(51)))},
        {"metadata": "no sign"},
        {"metadata": "a = 1\na = 2"},
        {"metadata": " = value"},
        {"description": "x" * 10_001},
        {"department": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_what_cannot_be_kept_is_said_at_its_field(client: Client, changes: dict[str, str]) -> None:
    certificate = stock.uploaded("own.example.com")
    response = client.post(reverse("certificate-edit", args=[certificate.pk]), edited(certificate, **changes))
    assert response.status_code == 200
    assert "field-error" in response.content.decode()
    certificate.refresh_from_db()
    assert certificate.name == "own.example.com"
    assert not certificate.tag_rows.exists()


def test_metadata_of_several_lines_outlives_a_change_of_something_else(client: Client) -> None:
    certificate = stock.uploaded("own.example.com")
    certificate_update(certificate, actor="test", metadata={"note": "one\ntwo"})
    address = reverse("certificate-edit", args=[certificate.pk])
    shown = client.get(address).content.decode()
    assert "note = one\ntwo" in shown
    client.post(address, edited(certificate, metadata="note = one\r\ntwo", description="new"))
    certificate.refresh_from_db()
    assert (certificate.metadata, certificate.description) == ({"note": "one\ntwo"}, "new")


def test_two_versions_are_compared(client: Client) -> None:
    certificate = stock.issued("www.example.com", age=10)
    first = certificate.current
    stock.renewed(certificate, days=47)
    certificate.refresh_from_db()
    assert first is not None
    page = client.get(reverse("certificate-compare", args=[certificate.pk])).content.decode()
    assert "90 days" in page
    assert "47 days" in page
    assert "The same." in page  # the names
    assert certificate.current is not None
    assert first.serial in page
    assert certificate.current.serial in page
    link = f"?before={first.pk}&amp;after={certificate.current_id}"
    assert link in client.get(reverse("certificate", args=[certificate.pk])).content.decode()


def test_one_version_is_not_compared_with_anything(client: Client) -> None:
    certificate = stock.uploaded("own.example.com")
    for query in ("", "?before=x&after=y", f"?before={certificate.current_id}"):
        page = client.get(reverse("certificate-compare", args=[certificate.pk]) + query).content.decode()
        assert "only one version" in page


def test_a_deleted_certificate_is_listed_with_its_days_and_comes_back(client: Client, onlooker: Client) -> None:
    certificate = stock.issued("www.example.com")
    certificate_delete(certificate, actor="test")
    Certificate.objects.filter(pk=certificate.pk).update(deleted_at=clock.now() - timedelta(days=10, hours=1))
    page = client.get(reverse("certificates-deleted")).content.decode()
    assert "www.example.com" in page
    assert "19 days" in page
    address = reverse("certificate-restore", args=[certificate.pk])
    assert "Restore" not in onlooker.get(reverse("certificates-deleted")).content.decode()
    assert onlooker.post(address).status_code == 403
    assert client.get(address).status_code == 405
    client.post(address)
    assert "www.example.com</a>" in client.get(f"{reverse('certificates')}?q=www.ex").content.decode()
    assert client.post(address).status_code == 404


@pytest.mark.parametrize("page", ["certificate-edit", "certificate-restore"])
def test_an_onlooker_changes_nothing(onlooker: Client, page: str) -> None:
    certificate = stock.uploaded("own.example.com")
    if page == "certificate-restore":
        certificate_delete(certificate, actor="test")
    assert onlooker.post(reverse(page, args=[certificate.pk]), edited(certificate)).status_code == 403


def test_a_certificate_in_use_says_where_instead_of_offering_to_delete_it(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    client.post(reverse("certificate-bind", args=[certificate.pk]), {"server_name": "www.example.com"})
    page = client.get(reverse("certificate", args=[certificate.pk])).content.decode()
    assert "It cannot be deleted: it is bound: www.example.com." in page
    assert reverse("certificate-delete", args=[certificate.pk]) not in page


def test_the_list_is_turned_by_cursor_and_says_how_many_there_are(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.services.filters.SIZE", 2)
    for number in range(5):
        stock.uploaded(f"h{number}.example.com")
    seen: list[str] = []
    query = "?sort=name"
    while True:
        page = client.get(reverse("certificates") + query).content.decode()
        assert "5 in all" in page
        seen += re.findall(r">(h\d)\.example\.com</a>", page)
        onward = re.search(r'href="([^"]*)" rel="next"', page)
        if onward is None:
            break
        query = onward[1].replace("&amp;", "&")
    assert seen == ["h0", "h1", "h2", "h3", "h4"]
    back = re.search(r'href="([^"]*)" rel="prev"', page)
    assert back is not None
    page = client.get(reverse("certificates") + back[1].replace("&amp;", "&")).content.decode()
    assert re.findall(r">(h\d)\.example\.com</a>", page) == ["h2", "h3"]


def test_a_missing_index_of_parts_is_said(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stock.uploaded("own.example.com")
    assert "Parts of names have no index" not in client.get(reverse("certificates")).content.decode()
    monkeypatch.setattr(search, "substring_index", lambda: False)
    monkeypatch.setattr("certs.views.certificates.substring_index", lambda: False)
    page = client.get(f"{reverse('certificates')}?q=wn.exam").content.decode()
    assert "Parts of names have no index" in page
    assert "own.example.com</a>" in page
