"""Who may open what: every page, for the stranger, for Bob who only looks, and for Alice who administers."""

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import Certificate, Order, User
from tests import stock

SEEN_BY_ALL = ("home", "certificates", "activity", "changes", "help", "go")
ADMINISTRATORS_FORMS = ("certificate-add", "certificate-self-signed", "certificate-request")
ADMINISTRATORS_POSTS = (
    "certificate-bind",
    "certificate-renew",
    "certificate-rehearse",
    "certificate-delete",
    "certificate-leave",
)
PUBLIC = ("account_login", "account_reset_password", "healthz")


@pytest.fixture
def certificate(alice: User) -> Certificate:
    return stock.issued("www.example.com")


@pytest.mark.parametrize("name", [*SEEN_BY_ALL, *ADMINISTRATORS_FORMS])
def test_a_stranger_is_asked_to_log_in_and_comes_back(stranger: Client, name: str) -> None:
    response = stranger.get(reverse(name))
    assert response.status_code == 302
    assert response["Location"] == f"{reverse('account_login')}?next={reverse(name)}"


@pytest.mark.parametrize("name", ["certificate", "certificate-served"])
def test_a_stranger_sees_no_certificate(stranger: Client, certificate: Certificate, name: str) -> None:
    assert stranger.get(reverse(name, args=[certificate.pk])).status_code == 302


@pytest.mark.parametrize("name", SEEN_BY_ALL)
def test_everybody_who_logged_in_may_look(onlooker: Client, client: Client, name: str) -> None:
    assert onlooker.get(reverse(name)).status_code == 200
    assert client.get(reverse(name)).status_code == 200


@pytest.mark.parametrize("name", ADMINISTRATORS_FORMS)
def test_forms_that_change_something_are_for_administrators(onlooker: Client, client: Client, name: str) -> None:
    refused = onlooker.get(reverse(name))
    assert refused.status_code == 403
    assert "needs the role Operator." in refused.content.decode()
    assert onlooker.post(reverse(name), {}).status_code == 403
    assert client.get(reverse(name)).status_code == 200


@pytest.mark.parametrize("name", ADMINISTRATORS_POSTS)
def test_actions_are_for_administrators(
    onlooker: Client, stranger: Client, certificate: Certificate, name: str
) -> None:
    address = reverse(name, args=[certificate.pk])
    assert onlooker.post(address, {"typed": certificate.name}).status_code == 403
    assert stranger.post(address, {"typed": certificate.name}).status_code == 302
    certificate.refresh_from_db()
    assert certificate.deleted_at is None
    assert not certificate.bindings.exists()
    assert not Order.objects.exists()


@pytest.mark.parametrize("name", ADMINISTRATORS_POSTS)
def test_nothing_is_done_by_a_mere_get(client: Client, certificate: Certificate, name: str) -> None:
    assert client.get(reverse(name, args=[certificate.pk])).status_code == 405


def test_an_onlooker_is_offered_no_buttons_that_would_refuse(onlooker: Client, certificate: Certificate) -> None:
    page = onlooker.get(reverse("certificate", args=[certificate.pk])).content.decode()
    assert "Renew now" not in page
    assert "Delete" not in page
    assert "Let it answer for" not in page


@pytest.mark.parametrize("name", PUBLIC)
def test_some_pages_need_no_log_in(stranger: Client, name: str) -> None:
    assert stranger.get(reverse(name)).status_code == 200


@pytest.mark.parametrize("name", ["certificate", "job", "job-steps", "certificate-served"])
def test_what_is_not_there_is_a_calm_404(client: Client, name: str) -> None:
    response = client.get(reverse(name, args=[uuid.uuid4()]))
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_every_form_needs_its_token(alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    response = browser.post(reverse("certificate-self-signed"), {"names": "a.example", "days": 1})
    assert response.status_code == 403
    assert "The form was not accepted" in response.content.decode()
    assert not Certificate.objects.exists()


def test_the_administration_sends_strangers_to_the_throttled_log_in(stranger: Client, onlooker: Client) -> None:
    response = stranger.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))
    assert onlooker.get("/admin/", follow=True).status_code == 403


@pytest.mark.parametrize("path", ["signup/", "email/", "confirm-email/x/", "login/code/", "password/reset/key/a-b/"])
def test_no_page_signs_up_or_sends_mail(stranger: Client, path: str) -> None:
    assert stranger.get(f"/accounts/{path}").status_code == 404
