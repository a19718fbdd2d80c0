"""What is set up once: profiles, trust, challenge methods, channels and alarms, organizations and people."""

from base64 import b64encode
from functools import partial
from typing import Any

import pytest

from certs.api.profiles import Rules
from certs.domain.alarms import Level, Trouble
from certs.domain.roles import Role
from certs.models import (
    AlarmDelivery,
    AuditEvent,
    Certificate,
    ChallengeMethod,
    Channel,
    IdempotencyKey,
    Organization,
    RoleGrant,
    TrustedAuthority,
    User,
)
from certs.services.access import access_of
from certs.services.alarms import alarm_raise
from certs.services.channels import channel_make
from certs.services.methods import method_solver
from certs.services.portal_state import state_get
from tests import stock
from tests.api.conftest import Program, token
from tests.harness import pki

pytestmark = pytest.mark.django_db
SECRET = "correct horse battery staple"
MAIL = {"server": "mail.example", "sender": "a@example.com", "to": "b@example.com", "user": "a", "password": SECRET}


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def refused(answer: Any, status: int, pointer: str | None = None) -> Any:
    problem = ok(answer, status)
    if pointer is not None:
        assert [each["pointer"] for each in problem["errors"]] == [pointer], problem
    return problem


# Profiles


def test_a_profile_is_made_changed_in_part_and_deleted(program: Program) -> None:
    body = {"name": "Kiosk terminals", "rules": {"usages": ["server"], "usualDays": 30, "longestDays": 90}}
    made = program.send("POST", "/api/profiles", body)
    told = ok(made, 201)
    assert (told["id"], told["builtIn"], told["rules"]["keyTypes"]) == ("kiosk-terminals", False, [])
    assert told["rules"].keys() == Rules().fields.keys()
    path = made["Location"]
    assert ok(program.get(path)) == told
    changed = program.send("PATCH", path, {"rules": {"longestDays": 60}}, If_Match=made["ETag"])
    assert ok(changed)["rules"] == told["rules"] | {"longestDays": 60}
    assert ok(program.send("PATCH", path, {"name": "Kiosk"}))["rules"]["longestDays"] == 60
    refused(program.send("PATCH", path, {"rules": {"usualDays": 1000}}), 400)
    refused(program.send("PATCH", path, {"rules": {"usages": ["sewer"]}}), 400, "/rules/usages/0")
    refused(program.send("PATCH", path, {"rules": {"longestDay": 1}}), 400, "/rules/longestDay")
    assert ok(program.get(path))["rules"]["longestDays"] == 60
    refused(program.send("POST", "/api/profiles", body | {"id": "kiosk-terminals"}), 409)
    assert ok(program.send("DELETE", path), 204) is None
    refused(program.get(path), 404)


def test_built_in_profiles_are_listed_with_the_own_ones_and_stay_as_they_are(program: Program) -> None:
    program.send("POST", "/api/profiles", {"id": "mine", "name": "Mine", "rules": {"usages": ["client"]}})
    names, address = [], "/api/profiles?size=4"
    while address:
        page = ok(program.get(address))
        names += [each["id"] for each in page["items"]]
        address = page["next"]
    assert {"mine", "server", "root"} < set(names)
    assert names == sorted(set(names))
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        assert refused(program.send(method, "/api/profiles/server", body), 409)["code"] == "built-in"
        refused(token("viewer").send(method, "/api/profiles/server", body), 403)


def test_a_profile_that_is_used_stays(program: Program) -> None:
    ok(program.send("POST", "/api/profiles", {"id": "mine", "name": "Mine", "rules": {"usages": ["server"]}}), 201)
    stock.uploaded("a.example")
    Certificate.objects.update(wish={"profile": "mine"})  # as issued by it
    assert "1 certificates" in refused(program.send("DELETE", "/api/profiles/mine"), 409)["detail"]


# Trust


def test_a_ca_is_taken_in_trusted_for_more_and_for_nothing(program: Program) -> None:
    stranger = pki.authority("Their Root")
    given = {"chain": stranger.pem, "name": "Theirs", "outbound": True}
    made = program.send("POST", "/api/trusted", given, Idempotency_Key="t")
    told = ok(made, 201)
    assert (told["name"], told["outbound"], told["clients"], told["logIn"]) == ("Theirs", True, False, False)
    assert ok(program.send("POST", "/api/trusted", given, Idempotency_Key="t"), 201) == told
    path = made["Location"]
    wide = {"outbound": True, "clients": True, "logIn": True}
    assert ok(program.send("PUT", path, wide, If_Match=made["ETag"])) == told | wide
    refused(program.send("PUT", path, {"outbound": True}, If_Match=made["ETag"]), 412)
    refused(program.send("PUT", path, {"logIn": True}), 400)
    assert refused(program.send("PUT", path, {}), 400)["code"] == "purpose"
    assert [each["name"] for each in ok(program.get("/api/trusted"))["items"]] == ["Theirs"]
    ok(program.send("DELETE", path), 204)
    assert not TrustedAuthority.objects.exists()
    assert Certificate.objects.get(name="Theirs")  # the store keeps it


def test_what_is_no_ca_is_not_trusted_and_not_stored(program: Program) -> None:
    leaf = pki.leaf(stock.CA, ["a.example"])
    for wrong in ({"chain": leaf.pem, "outbound": True}, {"chain": stock.CA.pem, "logIn": True}, {"chain": "x"}):
        refused(program.send("POST", "/api/trusted", wrong), 400)
    assert not Certificate.objects.exists()
    row = stock.uploaded("b.example")
    refused(program.send("PUT", f"/api/trusted/{row.pk}", {"outbound": True}), 400)
    refused(program.send("PUT", "/api/trusted/nothing", {"outbound": True}), 404)


def test_asking_clients_for_certificates_cannot_lock_people_out_by_the_api(program: Program) -> None:
    told = program.get("/api/client-auth")
    assert ok(told) == {"mode": "off", "trialUntil": None, "returnsTo": None}
    ok(program.send("POST", "/api/trusted", {"chain": stock.CA.pem, "clients": True}), 201)
    # Nothing shows that anybody would still get in: plain HTTP, and no client certificate.
    for mode in ("want", "required"):
        assert refused(program.send("PATCH", "/api/client-auth", {"mode": mode}), 403)["code"] == "arrival"
    assert ok(program.get("/api/client-auth"))["mode"] == "off"
    secure = partial(program.generic, "PATCH", "/api/client-auth", content_type="application/json", secure=True)
    answer = secure('{"mode": "want"}', headers={"If-Match": told["ETag"]})
    assert (ok(answer)["mode"], answer.json()["returnsTo"]) == ("want", "off")
    assert answer.json()["trialUntil"] is not None
    assert state_get().client_auth_confirm_by is not None  # a person keeps it, in a browser
    refused(secure('{"mode": "required"}'), 403)
    assert ok(program.send("PATCH", "/api/client-auth", {"mode": "off"}))["mode"] == "off"
    refused(program.send("PATCH", "/api/client-auth", {"mode": "perhaps"}), 400, "/mode")


def test_a_trust_store_holds_the_cas_that_were_chosen(program: Program) -> None:
    ok(program.send("POST", "/api/certificates", {"id": "theirs", "chain": stock.CA.pem}), 201)
    body = {"ids": ["theirs"], "format": "truststore-jks", "options": {"password": "changeit"}}
    answer = token("viewer").send("POST", "/api/certificates/_truststore", body)
    assert answer.content[:4] == bytes.fromhex("feedfeed")
    assert answer["Cache-Control"] == "no-store"
    refused(program.send("POST", "/api/certificates/_truststore", body | {"format": "fullchain"}), 400)
    refused(program.send("POST", "/api/certificates/_truststore", body | {"ids": [str(stock.uploaded().pk)]}), 400)
    refused(program.send("POST", "/api/certificates/_truststore", body | {"ids": ["no"]}), 400, "/ids/0")


# Challenge methods


def test_a_method_is_made_changed_in_part_and_deleted_without_telling_its_secret(program: Program) -> None:
    secret = b64encode(SECRET.encode()).decode()
    options = {"server": "192.0.2.1", "key": "k", "secret": secret, "ttl": 120}
    body = {"kind": "dns01_rfc2136", "name": "Ours", "options": options}
    made = program.send("POST", "/api/challenge-methods", body, Idempotency_Key="m")
    told = ok(made, 201)
    assert (told["secrets"], told["options"]["ttl"], told["test"]["state"]) == (["secret"], 120, "none")
    again = program.send("POST", "/api/challenge-methods", body, Idempotency_Key="m")
    path = made["Location"]
    changed = program.send("PATCH", path, {"options": {"ttl": 60}}, If_Match=made["ETag"])
    assert ok(changed)["options"] == told["options"] | {"ttl": 60}
    refused(program.send("PATCH", path, {"name": "x"}, If_Match=made["ETag"]), 412)
    assert method_solver(ChallengeMethod.objects.get()).options.secret == secret  # what was not named stayed
    refused(program.send("PATCH", path, {"options": {"ttl": -1}}), 400, "/options/ttl")
    refused(program.send("PATCH", path, {"options": {"tll": 60}}), 400, "/options/tll")
    refused(program.send("PATCH", path, {"options": {"ttl": [60]}}), 400, "/options/ttl")
    assert ok(program.send("PATCH", path, {"options": {"secret": None, "key": None}}))["secrets"] == []
    listed = program.get("/api/challenge-methods")
    said = [answer.content for answer in (made, again, changed, listed, program.get("/api/events"))]
    assert secret not in str(said) + str(list(IdempotencyKey.objects.values()) + list(AuditEvent.objects.values()))
    ok(program.send("DELETE", path), 204)


def test_under_another_provider_no_secret_is_kept(program: Program) -> None:
    options = {"provider": "cloudflare", "auth_token": SECRET, "ttl": 900}
    made = program.send("POST", "/api/challenge-methods", {"kind": "dns01_provider", "name": "P", "options": options})
    assert ok(made, 201)["secrets"] == ["auth_token"]
    told = ok(program.send("PATCH", made["Location"], {"options": {"provider": "digitalocean"}}))
    assert (told["secrets"], told["options"]["ttl"], told["options"]["provider"]) == ([], 900, "digitalocean")


def test_the_kinds_of_methods_tell_their_options(program: Program) -> None:
    kinds = {each["kind"]: each for each in ok(program.get("/api/challenge-methods/_kinds"))["items"]}
    about = {each["name"]: each for each in kinds["dns01_rfc2136"]["options"]}
    assert (about["secret"]["secret"], about["server"]["needed"], about["ttl"]["type"]) == (True, True, "integer")
    assert kinds["dns01_provider"]["chooser"] == "provider"
    (chosen,) = ok(program.get("/api/challenge-methods/_kinds?kind=dns01_provider&choice=cloudflare"))["items"]
    assert "auth_token" in {each["name"] for each in chosen["options"]}
    refused(program.get("/api/challenge-methods/_kinds?kind=dns02"), 400)


def test_a_method_in_use_stays_and_a_test_of_it_is_begun(program: Program) -> None:
    row = stock.method()
    certificate = stock.wanted("a.example")
    certificate.challenge_method = row
    certificate.save()
    path = f"/api/challenge-methods/{row.pk}"
    assert "a.example" in refused(program.send("DELETE", path), 409)["detail"]
    begun = program.send("POST", f"{path}/_test", {"name": "www.example.com"})
    assert (ok(begun, 202)["test"]["state"], begun["Location"]) == ("running", path)
    assert refused(program.send("POST", f"{path}/_test", {"name": "www.example.com"}), 409)["code"] == "method-testing"
    refused(program.send("POST", f"{path}/_test", {"name": "no name"}), 400)


def test_who_runs_programs_is_an_administrator_of_everything(program: Program) -> None:
    here = Organization.objects.get()
    theirs = token("admin", organization=here)
    hook = {"kind": "dns01_hook", "name": "Hook", "options": {"script": "x"}}
    refused(theirs.send("POST", "/api/challenge-methods", hook), 403)
    other = Organization.objects.create(name="Elsewhere")
    plain = {"kind": "http01", "name": "Portal", "organization": str(other.pk)}
    refused(theirs.send("POST", "/api/challenge-methods", plain), 404)
    assert ok(program.send("POST", "/api/challenge-methods", plain), 201)["organization"] == str(other.pk)


# Channels and alarms


def test_a_channel_is_made_changed_switched_and_deleted_without_telling_its_secret(program: Program) -> None:
    raised = alarm_raise(Trouble(key="x", level=Level.URGENT, subject="S", happened="H"))
    made = program.send("POST", "/api/channels", {"kind": "mail", "name": "Ops", "options": MAIL}, Idempotency_Key="c")
    told = ok(made, 201)
    assert (told["enabled"], told["secrets"], told["options"]["to"]) == (True, ["password"], "b@example.com")
    assert AlarmDelivery.objects.filter(alarm=raised).exists()
    path = made["Location"]
    changed = program.send("PATCH", path, {"options": {"to": "c@example.com"}, "enabled": False}, If_Match=made["ETag"])
    assert (ok(changed)["enabled"], changed.json()["options"]["to"]) == (False, "c@example.com")
    refused(program.send("PATCH", path, {"enabled": True}, If_Match=made["ETag"]), 412)
    assert channel_make(Channel.objects.get()).options.password == SECRET
    refused(program.send("PATCH", path, {"options": {"password": None}}), 400)  # a user without a password
    assert ok(program.send("PATCH", path, {"options": {"password": None, "user": None}}))["secrets"] == []
    refused(program.send("PATCH", path, {"options": {"port": 0}}), 400, "/options/port")
    listed = ok(program.get("/api/channels"))["items"]
    assert (listed[0]["options"], ok(token("viewer").get(path))["options"]) == (None, None)
    said = [made.content, changed.content, program.get("/api/events").content]
    assert SECRET not in str(said) + str(list(IdempotencyKey.objects.values()) + list(AuditEvent.objects.values()))
    refused(program.send("POST", "/api/channels", {"kind": "pigeon", "name": "P", "options": {}}), 400, "/kind")
    refused(program.send("POST", "/api/channels", {"kind": "mail", "name": "P", "options": {"to": "x"}}), 400)
    ok(program.send("DELETE", path), 204)
    assert not Channel.objects.exists()


def test_a_test_message_tells_what_the_server_said(program: Program) -> None:
    body = {"kind": "webhook", "name": "Hook", "options": {"url": "https://127.0.0.1:9/"}, "allowPrivate": True}
    path = program.send("POST", "/api/channels", body)["Location"]
    assert "refused" in refused(program.send("POST", f"{path}/_test"), 503)["detail"]
    assert "127.0.0.1" in ok(program.get(path))["lastTrouble"]
    kinds = {each["kind"]: each["options"] for each in ok(program.get("/api/channels/_kinds"))["items"]}
    assert [each["name"] for each in kinds["mail"] if each["secret"]] == ["password"]


def test_alarms_are_filtered_and_seen_by_those_who_may(program: Program) -> None:
    mine = stock.uploaded("a.example")
    for key, level in ((f"expiry:{mine.pk}", Level.WARNING), ("sweep", Level.OUTAGE), ("queue", Level.NOTICE)):
        alarm_raise(Trouble(key=key, level=level, subject=key, happened="H"))
    about = ok(program.get(f"/api/alarms?certificate={mine.pk}"))["items"]
    assert [each["certificate"] for each in about] == [str(mine.pk)]
    assert [each["key"] for each in ok(program.get("/api/alarms?level=5"))["items"]] == ["sweep"]
    path = f"/api/alarms/{about[0]['id']}"
    refused(token("viewer").send("POST", f"{path}/_seen"), 403)
    seen = ok(token("operator").send("POST", f"{path}/_seen"))
    assert (seen["seenBy"][:14], seen["clearedAt"]) == ("token operator", None)
    assert len(ok(program.get("/api/alarms?seen=false&open=true"))["items"]) == 2
    assert ok(program.send("POST", "/api/alarms/_seen")) == {"seen": 2}
    assert ok(program.get("/api/alarms?open=false"))["items"] == []
    first = ok(program.get("/api/alarms?size=2"))
    assert len(first["items"]) == 2
    assert len(ok(program.get(first["next"]))["items"]) == 1


# Organizations and people


def test_organizations_and_departments_are_made_and_renamed(program: Program) -> None:
    made = program.send("POST", "/api/organizations", {"name": "  Example   Ltd "})
    assert ok(made, 201)["name"] == "Example Ltd"
    refused(program.send("POST", "/api/organizations", {"name": "Example Ltd"}), 409, "/name")
    place = made.json()["id"]
    part = program.send("POST", "/api/departments", {"organization": place, "name": "Web"})
    assert ok(part, 201)["organization"] == place
    renamed = program.send("PATCH", part["Location"], {"name": "Mail"}, If_Match=part["ETag"])
    assert ok(renamed)["name"] == "Mail"
    refused(program.send("PATCH", part["Location"], {"name": "x"}, If_Match=part["ETag"]), 412)
    refused(program.send("PATCH", made["Location"], {"name": " "}), 400)
    assert [each["name"] for each in ok(program.get(f"/api/departments?organization={place}"))["items"]] == ["Mail"]
    inside = token("viewer", organization=Organization.objects.get(name="Example Ltd"))
    assert [each["name"] for each in ok(inside.get("/api/organizations"))["items"]] == ["Example Ltd"]


def test_a_person_is_made_given_roles_and_locked_out(program: Program) -> None:
    body = {"email": "Ada@example.com", "name": "Ada", "password": SECRET}
    made = program.send("POST", "/api/people", body, Idempotency_Key="p")
    told = ok(made, 201)
    assert (told["email"], told["grants"], told["canExport"]) == ("ada@example.com", [], False)
    person, path = User.objects.get(email="ada@example.com"), made["Location"]
    assert person.check_password(SECRET)
    elsewhere = Organization.objects.create(name="Elsewhere")
    given = program.send("PUT", f"{path}/grants/{elsewhere.pk}", {"role": "operator"}, If_Match=made["ETag"])
    assert ok(given)["grants"] == [
        {"role": "operator", "place": str(elsewhere.pk), "organization": str(elsewhere.pk), "department": None}
    ]
    refused(program.send("PUT", f"{path}/grants/{elsewhere.pk}", {"role": "admin"}, If_Match=made["ETag"]), 412)
    assert ok(program.send("PUT", f"{path}/grants/everywhere", {"role": "admin"}))["grants"][0]["place"] == "everywhere"
    assert access_of(User.objects.get(pk=person.pk)).layers[0][0].role == Role.ADMIN
    ok(program.send("DELETE", f"{path}/grants/everywhere"))
    ok(program.send("DELETE", f"{path}/grants/{elsewhere.pk}"))
    assert not RoleGrant.objects.filter(user=person).exists()
    refused(program.send("DELETE", f"{path}/grants/{elsewhere.pk}"), 404)  # none is held there any more
    assert ok(program.send("PATCH", path, {"canExport": True}))["canExport"] is True
    locked = ok(program.send("PATCH", path, {"active": False, "name": " Ada  L. "}))
    assert (locked["active"], locked["name"]) == (False, "Ada L.")
    refused(program.send("PUT", f"{path}/grants/nowhere", {"role": "viewer"}), 404)
    refused(program.send("POST", "/api/people", body | {"email": "b@example.com", "password": "short"}), 400)
    refused(program.send("POST", "/api/people", body), 409)
    said = str([made.content, program.get(path).content, program.get("/api/events").content])
    assert SECRET not in said + str(list(IdempotencyKey.objects.values()) + list(AuditEvent.objects.values()))
    refused(token("operator").get("/api/people"), 403)


def test_the_last_administrator_stays_one(program: Program) -> None:
    path = f"/api/people/{User.objects.get().pk}"
    refused(program.send("PATCH", path, {"active": False}), 403)
    refused(program.send("DELETE", f"{path}/grants/everywhere"), 403)
    refused(program.send("PUT", f"{path}/grants/everywhere", {"role": "viewer"}), 403)
    assert User.objects.get().is_superuser
