"""Accounts at CAs, and what is set of their directories; no CA is asked."""

from typing import Any

import pytest

from certs.acme.directories import DirectoryInfo
from certs.api import accounts
from certs.models import AcmeAccount, AcmeDirectory, AuditEvent, IdempotencyKey, Organization
from certs.models.organization import DEFAULT_ORGANIZATION
from tests import stock
from tests.api.conftest import Program, token
from tests.api.test_setup import ok, refused

pytestmark = pytest.mark.django_db
TERMS = "https://acme.example/t1"
HMAC = "c2l4dGVlbiBieXRlcyBhbmQgbW9yZQ"
BODY = {"directory": stock.DIRECTORY, "email": "Ops@Example.com", "acceptTerms": True}


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the directory says, to be changed by a test."""
    told: dict[str, Any] = {"terms_url": TERMS}
    monkeypatch.setattr(accounts, "directory_read", lambda *_, **__: DirectoryInfo(**told))
    return told


def test_an_account_is_made_where_it_belongs_once_its_terms_are_accepted(program: Program, ca: dict[str, Any]) -> None:
    problem = refused(program.send("POST", "/api/accounts", BODY | {"acceptTerms": False}), 403)
    assert (problem["code"], TERMS in problem["advice"]) == ("terms", True)
    assert not AcmeAccount.objects.exists()
    elsewhere = Organization.objects.create(name="Elsewhere")
    made = program.send("POST", "/api/accounts", BODY | {"organization": str(elsewhere.pk)})
    told = ok(made, 201)
    assert (told["organization"], told["email"], told["termsUrl"]) == (str(elsewhere.pk), "ops@example.com", TERMS)
    assert ok(program.send("POST", "/api/accounts", BODY), 201)["organization"] == str(DEFAULT_ORGANIZATION)
    theirs = token("admin", organization=elsewhere)
    default = {"organization": str(DEFAULT_ORGANIZATION)}
    refused(theirs.send("POST", "/api/accounts", BODY | default), 404)  # it is not theirs
    again = theirs.send("POST", "/api/accounts", BODY)
    assert (ok(again, 201)["id"], AcmeAccount.objects.count()) == (told["id"], 2)
    refused(program.send("POST", "/api/accounts", BODY | {"email": "no address"}), 400, "/email")
    refused(program.send("POST", "/api/accounts", BODY | {"directory": "nobody"}), 400)
    refused(program.send("POST", "/api/accounts", BODY | {"caBundle": "x"}), 400)
    assert AcmeAccount.objects.count() == 2


def test_an_external_account_is_kept_and_its_key_never_told(program: Program, ca: dict[str, Any]) -> None:
    ca["eab_required"] = True
    refused(program.send("POST", "/api/accounts", BODY), 400, "/eabKid")
    refused(program.send("POST", "/api/accounts", BODY | {"eabKid": "kid-1", "eabHmacKey": "?"}), 400)
    made = program.send("POST", "/api/accounts", BODY | {"eabKid": "kid-1", "eabHmacKey": HMAC}, Idempotency_Key="e")
    assert ok(made, 201)["eabKid"] == "kid-1"
    path = made["Location"]
    before = AcmeAccount.objects.get().eab_sealed
    changed = program.send("POST", f"{path}/_external", {"eabKid": "kid-2", "eabHmacKey": HMAC})
    assert ok(changed)["eabKid"] == "kid-2"
    assert AcmeAccount.objects.get().eab_sealed not in ("", before)
    said = str([made.content, changed.content, program.get("/api/events").content])
    assert HMAC not in said + str(list(IdempotencyKey.objects.values()) + list(AuditEvent.objects.values()))


def test_new_terms_are_accepted_only_as_they_are_now(program: Program) -> None:
    row = stock.account()
    path = f"/api/accounts/{row.pk}"
    AcmeDirectory.objects.update_or_create(directory_url=row.directory_url, defaults={"terms_url": TERMS})
    assert ok(program.get(f"{path}/directory"))["terms"] == TERMS
    refused(program.send("POST", f"{path}/_terms", {"terms": "https://acme.example/t0"}), 409)
    assert ok(program.send("POST", f"{path}/_terms", {"terms": TERMS}))["termsUrl"] == TERMS


def test_staging_and_limits_are_set_for_a_directory(program: Program) -> None:
    path = f"/api/accounts/{stock.account().pk}/directory"
    before = program.get(path)
    given = {"staging": "https://acme.example/staging", "limits": ["set=5/168", "account=300/3"]}
    told = ok(program.send("PATCH", path, given, If_Match=before["ETag"]))
    assert (told["stagingNow"], told["limits"]) == (given["staging"], given["limits"])
    refused(program.send("PATCH", path, {"limits": []}, If_Match=before["ETag"]), 412)
    for wrong in (["set=5/168", "set=6/168"], ["week=5/168"], ["set=none"]):
        refused(program.send("PATCH", path, {"limits": wrong}), 400)
    refused(program.send("PATCH", path, {"staging": stock.DIRECTORY}), 400)
    assert ok(program.get(path)) == told
    assert ok(program.send("PATCH", path, {"staging": "", "limits": []}))["limits"] == []
