"""The doors in and out, our CAs, tokens, settings, bindings, events and jobs: each by the way a program goes."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from django.core.files.uploadedfile import SimpleUploadedFile

from certs.domain.pem import certificate_pem
from certs.models import AuditEvent, BulkJob, Certificate, IdempotencyKey
from certs.services.bulk import bulk_run
from certs.services.pki import pki_base_url_confirm
from tests import stock
from tests.api.conftest import Program, token
from tests.harness import pki

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(program: Program) -> dict[str, Any]:
    pki_base_url_confirm("http://pki.example", actor="test")
    answer = program.send("POST", "/api/authorities", {"id": "root", "subject": "CN=Root,O=Example", "days": 3650})
    assert answer.status_code == 201, answer.content
    return answer.json()  # type: ignore[no-any-return]


def made(program: Program, **more: Any) -> dict[str, Any]:
    body = {"issuer": "root", "hosts": ["a.example"], "id": "leaf", **more}
    answer = program.send("POST", "/api/certificates/_create", body)
    assert answer.status_code == 201, answer.content
    return answer.json()  # type: ignore[no-any-return]


def test_a_ca_and_what_it_signs(program: Program, root: dict[str, Any]) -> None:
    assert (root["name"], root["certificate"], root["offline"]) == ("Root", "root", False)
    told = made(program, tags=["a"], keyType="EC", keySize=384, digestAlgorithm="sha384", subject="CN=a.example")
    assert (told["caRef"], told["autoRenew"], told["tags"]) == ("root", True, ["a"])
    assert (told["bindery"]["keyType"], told["subject"]) == ("ec-p384", "CN=a.example")
    client = made(program, id="person", hosts=[], subject="CN=Ada", client=True)
    assert (client["client"], client["domain"]) == (True, "--")
    below = program.send("POST", "/api/authorities", {"subject": "CN=Below", "parent": root["id"], "days": 365})
    assert (below.status_code, below.json()["parent"]) == (201, root["id"]), below.content
    taken = program.send("POST", "/api/certificates/_create", {"issuer": "root", "hosts": ["b.example"], "id": "leaf"})
    assert (taken.status_code, taken.json()["code"]) == (409, "id")
    register = program.get("/api/authorities/root/issued").json()["items"]
    assert len(register) >= 3
    wrong = program.send("POST", "/api/certificates/_create", {"issuer": "nobody", "hosts": ["b.example"]})
    assert wrong.status_code == 404


def test_what_is_said_of_a_new_certificate_is_kept_by_every_door(program: Program, root: dict[str, Any]) -> None:
    ca = pki.authority("Theirs")
    said = {"id": "theirs", "tags": ["old"], "metadata": {"from": "elsewhere"}}
    taken = program.send("POST", "/api/authorities/_import", {"chain": ca.pem, "privateKey": ca.key_pem, **said})
    assert taken.status_code == 201, taken.content
    kept = program.get("/api/certificates/theirs").json()
    assert (kept["name"], kept["tags"], kept["metadata"]) == ("Theirs", ["old"], {"from": "elsewhere"})
    said = {"id": "self", "hosts": ["s.example"], "tags": ["x"], "exposed": True, "autoRenew": True}
    made = program.send("POST", "/api/certificates/_selfsigned", said)
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["id"], told["tags"], told["exposed"], told["bindery"]["renews"]) == ("self", ["x"], True, True)
    assert program.send("POST", "/api/certificates/_selfsigned", said).json()["code"] == "id"


def test_what_our_ca_signed_is_known_as_that_when_it_is_posted(program: Program, root: dict[str, Any]) -> None:
    made(program)
    exporter = token("admin", can_export=True)
    told = exporter.get("/api/certificates/leaf").json()
    row = Certificate.objects.get(api_id="leaf")
    row.versions.update(certificate=Certificate.objects.get(api_id="root"))  # as if it had never been here
    row.delete()
    Certificate.objects.get(api_id="root").versions.filter(fingerprint_sha256=told["bindery"]["fingerprint"]).delete()
    posted = exporter.send("POST", "/api/certificates", told | {"id": "again"}).json()
    assert (posted["caRef"], posted["autoRenew"], posted["bindery"]["renews"]) == ("root", True, True)
    assert program.send("POST", "/api/certificates/again/_renew").status_code == 200
    assert made(program, id="own")["bindery"]["renews"] is True
    stranger = pki.leaf(stock.CA, ["stranger.example"])
    foreign = {"chain": stranger.pem, "privateKey": stranger.key_pem, "autoRenew": True}
    posted = program.send("POST", "/api/certificates", foreign).json()
    assert (posted["caRef"], posted["autoRenew"], posted["bindery"]["renews"]) == (None, True, False)


def test_revoking_is_told_by_the_list_and_a_hold_can_be_released(program: Program, root: dict[str, Any]) -> None:
    told = made(program, autoRenew=False)
    held = program.send("POST", "/api/certificates/leaf/_revoke", {"reason": "certificateHold"})
    assert held.json()["revoked"] is True, held.content
    crl = program.get(f"/api/crls/{root['id']}").json()
    assert crl["revoked"] == 1
    listed = x509.load_der_x509_crl(b64decode(crl["crl"]))
    assert listed.get_revoked_certificate_by_serial_number(int(told["bindery"]["serial"], 16)) is not None
    assert program.send("POST", "/api/certificates/leaf/_release").json()["revoked"] is False
    serial = told["bindery"]["serial"]
    path = f"/api/authorities/root/issued/{serial}/_revoke"
    assert program.send("POST", path, {"reason": "superseded"}).json()["reason"] == "superseded"
    assert program.get("/api/certificates/leaf/valid").json()["reason"] == "revoked"
    assert program.send("POST", "/api/certificates/leaf/_revoke", {"reason": "bored"}).status_code == 400


def test_renewing_what_our_ca_signed_once_by_itself_and_once_with_others(
    program: Program, root: dict[str, Any]
) -> None:
    before = made(program)
    renewed = program.send("POST", "/api/certificates/leaf/_renew")
    assert renewed.status_code == 200, renewed.content
    assert renewed.json()["bindery"]["serial"] != before["bindery"]["serial"]
    made(program, id="other", hosts=["other.example"])
    foreseen = program.send("POST", "/api/certificates/_renew", {"ids": ["other"], "dryRun": True}).json()
    assert (foreseen["total"], foreseen["failing"]) == (1, 0), foreseen
    asked = program.send("POST", "/api/certificates/_renew", {"ids": ["other"]})
    assert asked.status_code == 202
    assert bulk_run(asked.json()["id"])
    job = program.get(asked["Location"]).json()
    assert (job["state"], job["done"], job["results"][0]["message"]) == ("done", 1, "It was renewed.")
    assert len(program.get("/api/certificates/other/versions").json()["items"]) == 2
    unknown = program.send("POST", "/api/certificates/_renew", {"ids": ["other", "nobody"]}).json()
    assert unknown["errors"][0]["pointer"] == "/ids/1"


def test_many_by_a_filter_first_looked_at_then_done_and_asked_once(program: Program) -> None:
    for number in range(3):
        stock.uploaded(f"{number}.shop.example")
    stock.uploaded("other.example")
    body = {"action": "tag", "filter": {"domain": "shop.example"}, "add": ["shop"]}
    foreseen = program.send("POST", "/api/certificates/_bulk", body | {"dryRun": True}).json()
    assert (foreseen["total"], foreseen["failing"]) == (3, 0)
    assert not BulkJob.objects.exists()
    asked = [program.send("POST", "/api/certificates/_bulk", body, Idempotency_Key="b") for _ in range(2)]
    assert [answer.status_code for answer in asked] == [202, 202]
    (job,) = BulkJob.objects.all()
    assert asked[1]["Location"] == f"/api/jobs/{job.pk}"
    assert bulk_run(job.pk)
    assert len(program.get("/api/certificates?tag=shop").json()["items"]) == 3
    assert token("operator").get(f"/api/jobs/{job.pk}").status_code == 404  # another's job
    for wrong in ({"action": "tag", "add": ["x"]}, {"action": "tag", "all": True, "ids": ["a"], "add": ["x"]}):
        assert program.send("POST", "/api/certificates/_bulk", wrong).json()["code"] == "selection"
    nested = {"action": "import", "items": [{"chain": stock.CA.pem}, {"chian": "x"}]}
    problem = program.send("POST", "/api/certificates/_bulk", nested).json()
    assert problem["errors"][0]["pointer"].startswith("/items/1"), problem


def test_a_key_store_is_looked_at_and_taken_by_json_and_as_a_file(program: Program) -> None:
    pair = pki.leaf(stock.CA, ["store.example"])
    store = pkcs12.serialize_key_and_certificates(
        b"own",
        pair.key,  # type: ignore[arg-type]  # an EC key
        pair.certificate,
        None,
        BestAvailableEncryption(b"changeit"),
    )
    body = {"files": [{"name": "own.p12", "data": b64encode(store).decode()}], "passwords": ["changeit"]}
    looked = program.send("POST", "/api/certificates/_import", body | {"dryRun": True}).json()
    assert [(one["verdict"], one["names"], one["hasPrivateKey"]) for one in looked["items"]] == [
        ("new", ["store.example"], True)
    ]
    assert not Certificate.objects.exists()
    file = SimpleUploadedFile("own.p12", store)
    taken = program.post("/api/certificates/_import", {"file": file, "password": "changeit"}).json()
    assert program.get(f"/api/certificates/{taken['items'][0]['certificate']}").json()["name"] == "store.example"
    again = program.send("POST", "/api/certificates/_import", body).json()
    assert again["items"][0]["verdict"] == "same"
    wrong = program.send("POST", "/api/certificates/_import", body | {"passwords": ["no"]})
    assert wrong.status_code in {200, 400}
    assert "store.example" not in wrong.content.decode()
    broken = program.send("POST", "/api/certificates/_import", {"files": [{"data": "%%%"}]}).json()
    assert broken["errors"][0]["pointer"] == "/files/0/data"
    with_field = program.post("/api/certificates/_import", {"file": SimpleUploadedFile("a", b"x"), "pasword": "x"})
    assert "pasword" in with_field.json()["detail"]


def test_a_request_is_made_and_its_answer_taken(program: Program) -> None:
    answer = program.send("POST", "/api/certificates/_csr", {"id": "waiting", "hosts": ["req.example"]})
    assert answer.status_code == 201, answer.content
    request = x509.load_pem_x509_csr(answer.json()["csr"].encode())
    assert program.get("/api/certificates/waiting/csr").json()["csr"] == answer.json()["csr"]
    signed = pki.certificate(stock.CA, ["req.example"], request.public_key(), days=30, start=datetime.now(UTC))  # type: ignore[arg-type]
    stranger = program.send("POST", "/api/certificates/waiting/_answer", {"chain": stock.CA.pem})
    assert stranger.status_code == 400
    taken = program.send("POST", "/api/certificates/waiting/_answer", {"chain": certificate_pem(signed)})
    assert (taken.status_code, taken.json()["sans"]) == (200, ["req.example"]), taken.content


def test_files_leave_as_files_and_keys_only_with_the_permission(program: Program) -> None:
    row = stock.uploaded("out.example")
    path = f"/api/certificates/{row.pk}"
    formats = {one["id"]: one for one in program.get(f"{path}/formats").json()["items"]}
    assert formats["fullchain"]["refusal"] == ""
    assert "permission" in formats["key"]["refusal"]
    chain = program.send("POST", f"{path}/_export", {"format": "fullchain"})
    assert chain.content.startswith(b"-----BEGIN CERTIFICATE")
    assert (chain["Cache-Control"], chain["Content-Disposition"][:10]) == ("no-store", "attachment")
    assert program.send("POST", f"{path}/_export", {"format": "key"}).status_code == 403
    key = token("viewer", can_export=True).send("POST", f"{path}/_export", {"format": "key"})
    assert key.content.startswith(b"-----BEGIN PRIVATE KEY")
    assert AuditEvent.objects.filter(action="certificate.export", result="ok").count() == 1
    assert program.send("POST", f"{path}/_export", {"format": "word"}).status_code == 400


def test_a_token_tells_its_secret_once_and_never_more_than_its_maker_may(program: Program) -> None:
    body = {"name": "ci", "role": "operator", "tags": ["ci"], "days": 30}
    first = program.send("POST", "/api/tokens", body, Idempotency_Key="t")
    secret = first.json()["secret"]
    again = program.send("POST", "/api/tokens", body, Idempotency_Key="t")
    assert (again.json()["id"], again.json()["secret"]) == (first.json()["id"], None)
    assert secret not in str(IdempotencyKey.objects.values_list())
    assert Program(secret).get("/api/certificates").status_code == 200
    assert secret not in program.get("/api/tokens").content.decode()
    assert program.send("DELETE", first["Location"]).status_code == 204
    assert Program(secret).get("/api/certificates").json()["code"] == "token-revoked"
    assert token("operator").send("POST", "/api/tokens", body | {"name": "x"}).status_code == 403
    assert token("viewer").get("/api/tokens").json()["items"][0]["role"] == "viewer"  # its own, and no other
    assert len(token("viewer").get("/api/tokens").json()["items"]) == 1


def test_settings_are_read_and_changed_by_who_may(program: Program) -> None:
    before = program.get("/api/settings")
    assert before.json()["renewBeforeDays"] == 21
    changed = program.send("PATCH", "/api/settings", {"renewBeforeDays": 14}, If_Match=before["ETag"])
    assert changed.json() == before.json() | {"renewBeforeDays": 14}
    assert program.send("PATCH", "/api/settings", {"checkHours": 5}, If_Match=before["ETag"]).status_code == 412
    assert program.send("PATCH", "/api/settings", {"renewBeforeDays": 0}).status_code == 400
    assert program.send("PATCH", "/api/settings", {"forceSsl": True}).json()["forceSsl"] is False
    assert token("operator").send("PATCH", "/api/settings", {"checkHours": 5}).status_code == 403


def test_bindings_are_set_by_name_and_let_go(program: Program) -> None:
    row = stock.uploaded("bound.example")
    answer = program.send("PUT", "/api/bindings/bound.example", {"certificate": str(row.pk)})
    assert (answer.status_code, answer.json()["certificate"]) == (200, str(row.pk)), answer.content
    assert program.send("PUT", "/api/bindings/_default", {"certificate": str(row.pk)}).json()["name"] == "_default"
    assert {one["name"] for one in program.get("/api/bindings").json()["items"]} == {"_default", "bound.example"}
    wrong = program.send("PUT", "/api/bindings/other.example", {"certificate": str(row.pk)})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "names")
    assert token("viewer").send("DELETE", "/api/bindings/bound.example").status_code == 403
    assert program.send("DELETE", "/api/bindings/bound.example").status_code == 204
    assert program.get("/api/bindings/bound.example").status_code == 404


def test_events_tell_who_did_what_the_newest_first(program: Program) -> None:
    program.send("POST", "/api/certificates/_keypair", {"name": "k"})
    told = program.get("/api/events?size=1").json()
    assert (told["items"][0]["action"], told["items"][0]["target"]) == ("certificate.key-pair", "k")
    assert told["items"][0]["actor"].startswith("token admin")
    assert program.get(f"/api/events/{told['items'][0]['id']}").json() == told["items"][0]
    assert program.get(told["next"]).json()["items"][0]["id"] < told["items"][0]["id"]
    assert program.get("/api/events?action=certificate.").json()["items"]
    assert program.get("/api/events?action=nothing").json()["items"] == []


def test_accounts_and_orders_are_told_without_secrets(program: Program) -> None:
    row = stock.issued("a.example")
    (account,) = program.get("/api/accounts").json()["items"]
    assert (account["directory"], account["certificates"]) == (stock.DIRECTORY, 1)
    assert program.get(f"/api/accounts/{account['id']}").json() == account
    told = program.get(f"/api/certificates/{row.pk}").json()
    assert (told["letsEncrypt"], told["autoRenew"]) == (True, True)
    asked = program.send("POST", f"/api/certificates/{row.pk}/_renew")
    assert asked.status_code == 202, asked.content
    order = program.get(f"/api/orders/{asked.json()['id']}").json()
    assert (order["certificate"], order["names"]) == (str(row.pk), ["a.example"])
    assert program.get(asked["Location"]).json()["kind"] == "order"
    assert program.send("POST", f"/api/orders/{order['id']}/_cancel").json()["state"] == "cancelled"
    assert program.get("/api/orders?open=true").json()["items"] == []
    assert len(program.get(f"/api/orders?certificate={row.pk}").json()["items"]) == 1


def test_the_door_of_lets_encrypt_orders_and_renews_by_itself(program: Program) -> None:
    account = stock.account()
    asked = program.send(
        "POST", "/api/certificates/_letsencrypt", {"host": "new.example", "account": str(account.pk), "tags": ["le"]}
    )
    assert asked.status_code == 202, asked.content
    told = program.get(f"/api/certificates/{asked.json()['certificate']}").json()
    assert (told["autoRenew"], told["letsEncrypt"], told["tags"], told["valid"]) == (True, True, ["le"], False)
    assert program.get(asked["Location"]).json()["state"] == "running"
    assert program.send("POST", "/api/certificates/_letsencrypt", {}).json()["errors"][0]["pointer"] == "/host"
