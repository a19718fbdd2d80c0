from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certs.domain.errors import InputError
from certs.models import AcmeAccount, AuditEvent, Binding, Certificate, Order, User
from certs.services.bindings import binding_set
from certs.services.issuing import account_fallback
from certs.services.keys import key_create
from certs.services.portal_state import state_get, state_update
from portal import clock
from tests import stock


def test_self_signed_starts_with_this_portals_name_and_the_warning(client: Client) -> None:
    page = client.get(reverse("certificate-self-signed"), headers={"host": "localhost:8000"}).content.decode()
    assert "only use this kind of certificate for personal use" in page
    assert "localhost" in page


def test_self_signed_is_made_and_can_be_bound(client: Client) -> None:
    given = {"names": "portal.example.com, bücher.example", "days": 30, "key_type": "ec-p256"}
    client.post(reverse("certificate-self-signed"), given)
    certificate = Certificate.objects.get()
    assert certificate.current is not None
    assert certificate.current.names == ["portal.example.com", "xn--bcher-kva.example"]
    client.post(reverse("certificate-bind", args=[certificate.pk]), {"server_name": ""})
    assert Binding.objects.get(server_name="").certificate == certificate


@pytest.mark.parametrize(
    "given",
    [
        {"names": "https://x.example", "days": 30, "key_type": "ec-p256"},
        {"names": "a b", "days": 30, "key_type": "ec-p256"},
        {"names": "", "days": 30, "key_type": "ec-p256"},
        {"names": "x.example", "days": 0, "key_type": "ec-p256"},
        {"names": "x.example", "days": "many", "key_type": "ec-p256"},
        {"names": "x.example", "days": 30, "key_type": "rot13"},
    ],
)
def test_self_signed_refuses_bad_input_with_a_message(client: Client, given: dict[str, object]) -> None:
    response = client.post(reverse("certificate-self-signed"), given)
    assert response.status_code == 200
    assert "field-error" in response.content.decode()
    assert not Certificate.objects.exists()


def test_binding_a_name_it_does_not_hold_is_a_page_with_the_reason(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    address = reverse("certificate-bind", args=[certificate.pk])
    for name in ("other.example.com", "https://x", "\x00"):
        response = client.post(address, {"server_name": name})
        assert response.status_code == 400
        assert "This was not done" in response.content.decode()
    assert not Binding.objects.exists()


def test_renew_now_begins_a_job_and_a_second_press_finds_it(client: Client, alice: User) -> None:
    certificate = stock.issued("www.example.com")
    first = client.post(reverse("certificate-renew", args=[certificate.pk]))
    order = Order.objects.get()
    assert first["Location"] == reverse("job", args=[order.pk])
    assert order.requested_by == alice
    second = client.post(reverse("certificate-renew", args=[certificate.pk]))
    assert second["Location"] == first["Location"]
    assert Order.objects.count() == 1


def test_renew_now_keeps_within_the_limits_of_the_ca(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    wait = clock.now() + timedelta(hours=2)
    Certificate.objects.filter(pk=certificate.pk).update(retry_after_at=wait)
    response = client.post(reverse("certificate-renew", args=[certificate.pk]))
    assert response.status_code == 409
    assert "the CA asked to wait" in response.content.decode()
    assert not Order.objects.exists()


def test_delete_wants_the_name_typed(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    address = reverse("certificate-delete", args=[certificate.pk])
    client.post(address, {"typed": "yes"})
    certificate.refresh_from_db()
    assert certificate.deleted_at is None
    client.post(address, {"typed": certificate.name})
    certificate.refresh_from_db()
    assert certificate.deleted_at is not None
    assert AuditEvent.objects.filter(action="certificate.delete").exists()
    assert client.get(reverse("certificate", args=[certificate.pk])).status_code == 404


def test_a_bound_certificate_is_not_deleted(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    binding_set("", certificate, actor="test")
    response = client.post(reverse("certificate-delete", args=[certificate.pk]), {"typed": certificate.name})
    assert response.status_code == 409
    certificate.refresh_from_db()
    assert certificate.deleted_at is None


def test_a_kept_version_is_used_again(client: Client) -> None:
    certificate = stock.issued("www.example.com")
    first = certificate.current
    assert first is not None
    stock.renewed(certificate)
    page = client.get(reverse("certificate", args=[certificate.pk])).content.decode()
    address = reverse("certificate-use-version", args=[certificate.pk, first.pk])
    assert f'action="{address}"' in page
    client.post(address)
    certificate.refresh_from_db()
    assert certificate.current == first


def test_a_version_of_another_certificate_is_not_used(client: Client) -> None:
    certificate, other = stock.issued("www.example.com"), stock.issued("other.example.com")
    assert other.current is not None
    address = reverse("certificate-use-version", args=[certificate.pk, other.current.pk])
    assert client.post(address).status_code == 404


@pytest.mark.parametrize("action", ["certificate-leave", "certificate-bind"])
def test_what_was_found_in_the_data_directory_is_offered_until_somebody_decides(client: Client, action: str) -> None:
    certificate = stock.uploaded("own.example.com")
    state_update(import_offer=certificate)
    assert "Leave it unbound" in client.get(reverse("certificate", args=[certificate.pk])).content.decode()
    client.post(reverse(action, args=[certificate.pk]))
    assert state_get().import_offer is None
    assert certificate.bindings.exists() == (action == "certificate-bind")


class TestList:
    @pytest.fixture(autouse=True)
    def _rows(self, alice: User) -> None:
        stock.issued("good.example.com")
        stock.issued("soon.example.com", days=90, age=85)
        stock.issued("gone.example.com", days=90, age=91)
        stock.issued("staging.example.com", is_test=True)

    @pytest.mark.parametrize(
        ("query", "seen", "unseen"),
        [
            ("q=soon", ["soon."], ["good.", "gone."]),
            ("state=expired", ["gone."], ["good.", "soon."]),
            ("state=soon", ["soon."], ["good.", "gone."]),
            ("state=test", ["staging."], ["good."]),
            ("state=valid", ["good.", "soon."], ["gone."]),
            ("q=%25", [], ["good."]),
            ("q=nothing-like-it", [], ["good."]),
            ("domain=example.com&state=test", ["staging."], ["good."]),
            ("domain=ample.com", [], ["good."]),
            ("page=99", ["good."], []),
        ],
    )
    def test_search_and_filter(self, client: Client, query: str, seen: list[str], unseen: list[str]) -> None:
        page = client.get(f"{reverse('certificates')}?{query}").content.decode()
        assert all(f"{name}example.com</a>" in page for name in seen)
        assert not any(f"{name}example.com</a>" in page for name in unseen)

    @pytest.mark.parametrize("query", ["state=bogus", "sort=bogus", "domain=a+b", "expires_before=soon", "cursor=x"])
    def test_what_cannot_be_looked_for_is_said_and_nothing_is_shown(self, client: Client, query: str) -> None:
        page = client.get(f"{reverse('certificates')}?{query}").content.decode()
        assert "field-error" in page or "notice-danger" in page
        assert "Nothing was looked for" in page
        assert "good.example.com" not in page

    def test_the_first_to_expire_comes_first(self, client: Client) -> None:
        page = client.get(reverse("certificates")).content.decode()
        assert page.index("gone.example.com") < page.index("soon.example.com") < page.index("good.example.com")
        turned = client.get(f"{reverse('certificates')}?sort=-expiry").content.decode()
        assert turned.index("soon.example.com") < turned.index("gone.example.com")

    def test_an_expired_one_is_never_green(self, client: Client) -> None:
        page = client.get(f"{reverse('certificates')}?state=expired").content.decode()
        assert '<span class="state state-danger">expired</span>' in page
        assert "state-ok" not in page

    def test_many_rows_cost_no_more_queries_and_load_no_pem(self, client: Client) -> None:
        client.get(reverse("certificates"))  # what is asked for once per process
        with CaptureQueriesContext(connection) as few:
            client.get(reverse("certificates"))
        for number in range(10):
            stock.issued(f"more-{number}.example.com")
        with CaptureQueriesContext(connection) as many:
            client.get(reverse("certificates"))
        assert len(many) == len(few)
        assert not any("leaf_pem" in query["sql"] for query in many.captured_queries)


def test_a_ca_without_terms_can_be_asked_too(client: Client) -> None:
    """Many private CAs name none: there is nothing to accept, and we are registered all the same."""
    plain = AcmeAccount.objects.create(
        directory_url="https://plain.example/dir", key=key_create("ec-p256"), account_url="https://plain.example/acct/1"
    )
    AcmeAccount.objects.create(
        directory_url="https://new.example/dir", key=key_create("ec-p256")
    )  # nobody has said yes yet
    page = client.get(reverse("certificate-request")).content.decode()
    assert "plain.example" in page
    assert "new.example" not in page
    assert account_fallback("https://plain.example/dir") == plain
    with pytest.raises(InputError):
        account_fallback("https://new.example/dir")
