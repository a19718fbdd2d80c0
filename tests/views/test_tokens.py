"""API tokens on their page: the secret once, everybody's own, and what is refused."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import ApiToken, AuditEvent, Organization, User
from certs.services.tokens import token_authenticate, token_create
from tests.views.conftest import Browser

MADE = {"name": "backup", "role": "viewer", "place": "", "tags": "", "days": "90"}
_SECRET = re.compile(r"bnd_[A-Za-z0-9_-]{43}[0-9a-f]{8}")


def test_the_secret_is_shown_once_and_works(client: Client, alice: User) -> None:
    answer = client.post(reverse("tokens"), {**MADE, "tags": "web, mail", "can_export": "on"})
    assert "no-store" in answer["Cache-Control"]
    secret = _SECRET.findall(answer.content.decode())[0]
    token = ApiToken.objects.get()
    assert (token.owner, token.tags, token.can_export) == (alice, ["web", "mail"], True)
    assert token_authenticate(secret, "192.0.2.7").token == token
    again = client.get(reverse("tokens")).content.decode()
    assert secret not in again
    assert token.hint in again
    assert "192.0.2.7" in again
    assert secret not in str(list(AuditEvent.objects.values())) + str(list(ApiToken.objects.values()))


def test_it_is_revoked_by_its_button(client: Client) -> None:
    token, secret = token_create("x", "viewer", actor="test")
    page = client.post(reverse("token-revoke", args=[token.pk]), follow=True).content.decode()
    assert "x is revoked" in page
    with pytest.raises(Exception, match="revoked"):
        token_authenticate(secret)


def test_a_person_sees_the_own_tokens_only(onlooker: Client, alice: User, bob: User) -> None:
    hers, _ = token_create("hers", "admin", actor=alice)
    token_create("his", "viewer", actor=bob)
    page = onlooker.get(reverse("tokens")).content.decode()
    assert "his" in page
    assert "hers" not in page
    assert onlooker.post(reverse("token-revoke", args=[hers.pk])).status_code == 404
    hers.refresh_from_db()
    assert hers.revoked_at is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"role": "operator"}, "This needs the role Operator."),
        ({"role": "admin"}, "This needs the role"),
        ({"name": " "}, "This field is required"),
        ({"tags": "x" * 101}, "tags of up to"),
        ({"days": "7"}, "Select a valid choice"),
        ({"place": "organization:00000000-0000-4000-8000-000000000009"}, "Select a valid choice"),
    ],
)
def test_what_is_not_theirs_to_give_is_refused(onlooker: Client, given: dict[str, str], words: str) -> None:
    assert words in onlooker.post(reverse("tokens"), {**MADE, **given}).content.decode()
    assert not ApiToken.objects.exists()


def test_other_organizations_are_not_offered(onlooker: Client) -> None:
    other = Organization.objects.create(name="Elsewhere")
    assert "Elsewhere" not in onlooker.get(reverse("tokens")).content.decode()
    onlooker.post(reverse("tokens"), {**MADE, "place": f"organization:{other.pk}"})
    assert not ApiToken.objects.exists()


def test_export_is_given_on_by_those_who_have_it(onlooker: Client) -> None:
    assert "private keys" not in onlooker.get(reverse("tokens")).content.decode().split("<form")[-1]
    onlooker.post(reverse("tokens"), {**MADE, "can_export": "on"})
    assert not ApiToken.objects.get().can_export


def test_who_has_no_role_has_no_tokens(alice: User) -> None:
    browser = Browser()
    browser.force_login(User.objects.create_user("new@example.com", "x", role=None))
    assert browser.get(reverse("tokens")).status_code == 403
