"""`manage.py token`: the secret alone on standard output, once."""

import pytest

from certs.models import ApiToken, Organization
from certs.services.tokens import token_authenticate
from tests.commands.running import run

pytestmark = pytest.mark.django_db


def test_made_used_listed_and_revoked() -> None:
    acme = Organization.objects.create(name="Acme")
    words = ["--role", "operator", "--tag", "web", "--tag", "db", "--organization", "Acme", "--days", "30", "--export"]
    made = run("token", "create", "deploy", *words)
    assert made.code == 0
    secret = made.out.strip()
    assert "\n" not in secret
    assert "shown only now" in made.err
    token = token_authenticate(secret).token
    assert (token.organization, token.tags, token.can_export, token.owner) == (acme, ["web", "db"], True, None)
    listed = run("token", "list").out
    assert "active  operator + export" in listed
    assert "Acme #web #db" in listed
    assert secret not in listed + run("token", "list", "--json").out
    assert run("token", "revoke", "deploy").out.strip() == "deploy is revoked."
    assert run("token", "list", "--json").json["tokens"][0]["state"] == "revoked"


def test_a_script_reads_one_document() -> None:
    document = run("token", "create", "script", "--role", "viewer", "--json").json
    assert token_authenticate(document["secret"]).token == ApiToken.objects.get(pk=document["id"])
    assert document["expires_at"] is None
    assert run("token", "revoke", document["id"], "--json").json["state"] == "revoked"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["create", "x", "--role", "king"], 4, "There is no role “king”"),
        (["create", "x"], 2, "--role"),
        (["create", "x", "--role", "viewer", "--days", "0"], 4, "1 to 3650 days"),
        (["create", "x", "--role", "viewer", "--organization", "Nobody"], 4, "No organization is called “Nobody”"),
        (["create", "x", "--role", "viewer", "--department", "None"], 4, "No department is called “None”"),
        (["revoke", "nothing"], 4, "No token is called “nothing”"),
        ([], 2, ""),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], code: int, sentence: str) -> None:
    ran = run("token", *words)
    assert (ran.code, sentence in ran.err) == (code, True), ran
    assert not ApiToken.objects.exists()
