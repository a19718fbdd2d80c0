from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from certs.models import AuditEvent, Certificate
from certs.services.bindings import binding_set
from certs.services.keys import key_is_here
from tests import stock
from tests.api.conftest import Program, token
from tests.harness import pki

pytestmark = pytest.mark.django_db

MIDDLE = pki.authority("Middle", stock.CA)
PAIR = pki.leaf(MIDDLE, ["api.example.com", "*.api.example.com"])


def reference(pair: pki.Pair = PAIR, **changes: Any) -> dict[str, Any]:
    """The JSON of the reference, with a real certificate and key."""
    return {
        "id": "cert_api_example_com",
        "name": "api.example.com",
        "description": "TLS certificate for the public API",
        "chain": MIDDLE.pem + pair.pem,
        "privateKey": pair.key_pem,
        "caRef": "cert_internal_ca",
        "domain": "api.example.com",
        "selfSigned": False,
        "ca": False,
        "valid": True,
        "exposed": False,
        "revoked": False,
        "autoRenew": True,
        "letsEncrypt": False,
        "client": False,
        "keypair": False,
        "subject": "CN=api.example.com",
        "from": 1710000000000,
        "to": 1741536000000,
        "sans": ["api.example.com", "*.api.example.com"],
        "password": None,
        "tags": ["production"],
        "metadata": {},
        **changes,
    }


def test_the_json_of_the_reference_posts_as_it_stands(program: Program) -> None:
    answer = program.send("POST", "/api/certificates", reference())
    assert answer.status_code == 201, answer.content
    assert answer["Location"] == "/api/certificates/cert_api_example_com"
    told = answer.json()
    computed = {
        "caRef": None,  # none of our authorities signed it
        "chain": PAIR.pem + MIDDLE.pem,
        "privateKey": None,
        "from": round(PAIR.certificate.not_valid_before_utc.timestamp() * 1000),
        "to": round(PAIR.certificate.not_valid_after_utc.timestamp() * 1000),
    }
    assert {name: told[name] for name in reference()} == reference() | computed
    assert program.get("/api/certificates/cert_api_example_com").json() == told


PATH = "/api/certificates/cert_api_example_com"


@pytest.fixture
def posted(program: Program) -> dict[str, Any]:
    answer = program.send("POST", "/api/certificates", reference())
    assert answer.status_code == 201, answer.content
    return answer.json()  # type: ignore[no-any-return]


def test_what_is_sent_is_never_told_of_secrets(program: Program, posted: dict[str, Any]) -> None:
    for answer in (program.get(PATH), program.get("/api/certificates")):
        assert b"PRIVATE" not in answer.content
    assert posted["privateKey"] is None
    assert posted["password"] is None


def test_the_export_permission_tells_the_key_and_leaves_a_trace(program: Program, posted: dict[str, Any]) -> None:
    exporter = token("viewer", can_export=True)
    assert exporter.get(PATH).json()["privateKey"] == PAIR.key_pem
    assert exporter.get("/api/certificates").json()["items"][0]["privateKey"] is None
    assert AuditEvent.objects.get(action="certificate.export").actor_text.startswith("token viewer")
    assert exporter.get(PATH)["ETag"] == program.get(PATH)["ETag"]


def test_the_same_again_is_recognised(program: Program, posted: dict[str, Any]) -> None:
    assert program.send("POST", "/api/certificates", reference()).status_code == 200
    other = program.send("POST", "/api/certificates", reference(id="another"))
    assert (other.status_code, other.json()["code"]) == (409, "known")
    pair = pki.leaf(stock.CA, ["other.example"])
    taken = program.send("POST", "/api/certificates", reference(pair, chain=pair.pem))
    assert (taken.status_code, taken.json()["code"]) == (409, "id")
    assert Certificate.objects.count() == 1


def test_an_id_may_be_left_out_or_be_a_uuid(program: Program) -> None:
    pair = pki.leaf(stock.CA, ["a.example"])
    made = program.send("POST", "/api/certificates", {"chain": pair.pem, "privateKey": pair.key_pem}).json()
    assert made["id"] == made["bindery"]["uuid"]
    assert (made["name"], made["tags"], made["metadata"], made["autoRenew"]) == ("a.example", [], {}, False)
    own = "5f1b9a52-6b1f-4c5e-9a3e-2f0f6e1b7c11"
    pair = pki.leaf(stock.CA, ["b.example"])
    made = program.send("POST", "/api/certificates", {"id": own, "chain": pair.pem, "privateKey": ""}).json()
    assert (made["id"], made["bindery"]["uuid"]) == (own, own)
    assert not made["bindery"]["hasPrivateKey"]


def test_a_key_alone_is_a_key_pair_and_an_encrypted_one_is_opened(program: Program) -> None:
    encrypted = PAIR.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a secret")).decode()
    body = {"id": "pair", "privateKey": encrypted, "password": "a secret", "keypair": True}
    made = program.send("POST", "/api/certificates", body)
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["keypair"], told["chain"], told["domain"], told["subject"]) == (True, "", "--", "--")
    assert (told["from"], told["to"], told["valid"]) == (None, None, False)
    body["password"] = "wrong"
    assert program.send("POST", "/api/certificates", body | {"id": "p2"}).json()["code"] == "password-wrong"


REFUSED: list[tuple[Any, str, str]] = [
    ({}, "chain-missing", ""),
    ({"chain": ""}, "chain-missing", ""),
    ({"chain": "x"}, "certificate-refused", "/chain"),
    ({"chain": 5}, "fields", "/chain"),
    ({"chian": PAIR.pem}, "fields", "/chian"),
    ({"chain": PAIR.pem, "privateKey": stock.CA.key_pem}, "pair", "/privateKey"),
    ({"chain": PAIR.pem, "tags": "production"}, "fields", "/tags"),
    ({"chain": PAIR.pem, "tags": [1]}, "fields", "/tags/0"),
    ({"chain": PAIR.pem, "tags": ["a,b"]}, "tags", "/tags"),
    ({"chain": PAIR.pem, "metadata": {"a": 1}}, "fields", "/metadata/a"),
    ({"chain": PAIR.pem, "id": "a/b"}, "id", "/id"),
    ({"chain": PAIR.pem, "exposed": "yes"}, "fields", "/exposed"),
    ([], "fields", ""),
]


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED)
def test_what_cannot_be_taken_is_named_and_nothing_is_stored(
    program: Program, body: Any, code: str, pointer: str
) -> None:
    answer = program.send("POST", "/api/certificates", body)
    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), problem
    assert problem["code"] == code, problem
    assert problem["type"] == f"urn:bindery:problem:{code}"
    assert problem["detail"]
    if pointer:
        assert pointer in [each["pointer"] for each in problem["errors"]]
    assert not Certificate.objects.exists()


def test_a_misspelt_name_is_told_with_the_right_one(program: Program) -> None:
    problem = program.send("POST", "/api/certificates", {"autoRenw": True}).json()
    assert "“autoRenew” is" in problem["detail"]


MALFORMED: list[tuple[bytes, str]] = [
    (b" ", "empty"),
    (b'"x', "no JSON"),
    (b"{", "no JSON"),
    (b'{"name": "\xff"}', "UTF-8"),
    (b'{"name": "a\\u0000b"}', "NUL"),
    (b'{"name": "\\ud800"}', "surrogate"),
    (b'{"name": "a", "name": "b"}', "twice"),
    (b'{"name": NaN}', "NaN"),
    (b'{"name": ' + b"9" * 5000 + b"}", "digits"),
    (b'{"name": 1e999}', "too large"),
    (b"[" * 100_000, "nested"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "nested"),
]


@pytest.mark.parametrize(("body", "says"), MALFORMED)
def test_what_is_no_json_of_ours_is_a_clear_400(program: Program, body: bytes, says: str) -> None:
    answer = program.send("POST", "/api/certificates", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert says in answer.json()["detail"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(program: Program) -> None:
    answer = program.send("POST", "/api/certificates", b'{"name": "' + b"a" * (2 * 1024 * 1024) + b'"}')
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_other_kinds_of_bodies_answers_and_methods_are_refused(program: Program, posted: dict[str, Any]) -> None:
    assert program.send("POST", "/api/certificates", "<a/>", kind="text/xml").json()["code"] == "media-type"
    assert program.send("PUT", PATH, {}, kind="application/merge-patch+json").status_code == 415
    refused = program.get(PATH, headers={"Accept": "text/html"})
    assert (refused.status_code, refused["Content-Type"]) == (406, "application/problem+json")
    wrong = program.send("DELETE", "/api/certificates")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert set(wrong["Allow"].split(", ")) == {"GET", "POST", "HEAD"}


def test_a_put_replaces_what_is_the_owners_and_keeps_chain_key_and_name(
    program: Program, posted: dict[str, Any]
) -> None:
    row = Certificate.objects.select_related("current").get()
    assert row.current is not None
    changed = program.send("PUT", PATH, {"description": "new", "tags": ["a", "B"]}).json()
    kept = {"name", "chain", "id", "sans", "subject"}
    assert {name: changed[name] for name in kept} == {name: posted[name] for name in kept}
    assert (changed["description"], changed["tags"], changed["autoRenew"]) == ("new", ["a", "b"], False)
    after = Certificate.objects.select_related("current__key").get()
    assert after.current == row.current
    assert after.current.key is not None
    assert key_is_here(after.current.key)


def test_what_get_tells_can_be_put_back_and_changes_nothing(program: Program, posted: dict[str, Any]) -> None:
    before = program.get(PATH)
    events = AuditEvent.objects.count()
    answer = program.send("PUT", PATH, before.json())
    assert answer.json() == before.json()
    assert answer["ETag"] == before["ETag"]
    assert AuditEvent.objects.count() == events


def test_another_chain_is_a_new_version_for_the_key_that_is_here(program: Program, posted: dict[str, Any]) -> None:
    renewed = pki.leaf(MIDDLE, ["api.example.com"], key=PAIR.key)
    answer = program.send("PATCH", PATH, {"chain": renewed.pem + MIDDLE.pem})
    assert answer.status_code == 200, answer.content
    assert answer.json()["sans"] == ["api.example.com"]
    assert Certificate.objects.get().versions.count() == 2
    stranger = pki.leaf(MIDDLE, ["api.example.com"])
    refused = program.send("PATCH", PATH, {"chain": stranger.pem})
    assert (refused.status_code, refused.json()["code"]) == (400, "pair")
    taken = program.send("PATCH", PATH, {"chain": stranger.pem, "privateKey": stranger.key_pem})
    assert taken.json()["bindery"]["fingerprint"] == stranger.fingerprint
    back = program.send("PATCH", PATH, {"chain": PAIR.pem, "privateKey": PAIR.key_pem})
    assert back.json()["bindery"]["fingerprint"] == PAIR.fingerprint
    assert Certificate.objects.get().versions.count() == 3


def test_a_key_that_was_missing_is_added(program: Program) -> None:
    pair = pki.leaf(stock.CA, ["a.example"])
    program.send("POST", "/api/certificates", {"id": "trust", "chain": pair.pem})
    answer = program.send("PATCH", "/api/certificates/trust", {"privateKey": pair.key_pem})
    assert answer.json()["bindery"]["hasPrivateKey"], answer.content


def test_patches_of_both_kinds(program: Program, posted: dict[str, Any]) -> None:
    merge, operations = "application/merge-patch+json", "application/json-patch+json"
    told = program.send("PATCH", PATH, {"metadata": {"a": "1", "b": "2"}}, kind=merge).json()
    assert (told["metadata"], told["tags"], told["autoRenew"]) == ({"a": "1", "b": "2"}, ["production"], True)
    told = program.send("PATCH", PATH, {"metadata": {"a": None}, "tags": None}, kind=merge).json()
    assert (told["metadata"], told["tags"]) == ({"b": "2"}, [])
    patch = [
        {"op": "test", "path": "/name", "value": "api.example.com"},
        {"op": "add", "path": "/tags/-", "value": "x"},
        {"op": "replace", "path": "/description", "value": "by patch"},
        {"op": "remove", "path": "/metadata/b"},
    ]
    told = program.send("PATCH", PATH, patch, kind=operations).json()
    assert (told["tags"], told["description"], told["metadata"]) == (["x"], "by patch", {})
    wrong = program.send("PATCH", PATH, patch, kind=operations)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "patch")
    assert program.send("PATCH", PATH, patch, kind=merge).json()["code"] == "patch-form"
    assert program.send("PATCH", PATH, [{"op": "add", "path": "/tags/-", "value": "y"}]).json()["tags"] == ["x", "y"]
    assert program.send("PATCH", PATH, {"valid": False, "revoked": True}).json()["valid"]
    assert program.send("PATCH", PATH, {"id": "other"}).json()["code"] == "id"
    assert program.send("PATCH", PATH, {"nmae": "other"}).json()["code"] == "fields"


def test_conditions_keep_others_changes(program: Program, posted: dict[str, Any], settings: Any) -> None:
    etag = program.get(PATH)["ETag"]
    assert program.get(PATH, headers={"If-None-Match": etag}).status_code == 304
    assert program.send("PATCH", PATH, {"description": "one"}, If_Match=etag).status_code == 200
    late = program.send("PATCH", PATH, {"description": "two"}, If_Match=etag)
    assert (late.status_code, late.json()["code"]) == (412, "changed")
    assert program.send("DELETE", PATH, If_Match=etag).status_code == 412
    assert program.get(PATH).json()["description"] == "one"
    settings.API_IF_MATCH = True
    assert program.send("PUT", PATH, {}).status_code == 428
    assert program.send("DELETE", PATH).status_code == 428
    assert program.send("DELETE", PATH, If_Match="*").status_code == 204


def test_deleting_is_refused_where_it_is_bound_and_can_be_undone(program: Program, posted: dict[str, Any]) -> None:
    row = Certificate.objects.get()
    binding = binding_set("", row, actor="test")
    refused = program.send("DELETE", PATH)
    assert (refused.status_code, refused.json()["code"]) == (409, "in-use")
    assert "default" in refused.json()["detail"]
    binding.delete()
    assert program.send("DELETE", PATH).status_code == 204
    assert program.get(PATH).status_code == 404
    assert [one["id"] for one in program.get("/api/certificates/_deleted").json()["items"]] == ["cert_api_example_com"]
    assert program.send("POST", f"{PATH}/_restore").json() == posted
    assert program.get(PATH).status_code == 200


def test_whether_it_is_valid_is_told_with_its_reason(program: Program, posted: dict[str, Any]) -> None:
    assert program.get(f"{PATH}/valid").json()["valid"] is True
    row = Certificate.objects.select_related("current").get()
    assert row.current is not None
    type(row.current).objects.update(revoked_at=row.created_at, revocation_reason="superseded")
    told = program.get(f"{PATH}/valid").json()
    assert (told["valid"], told["reason"]) == (False, "revoked")
    assert "superseded" in told["detail"]
    assert program.get(PATH).json()["revoked"] is True


def test_lists_are_cut_by_key_and_filtered_as_the_pages(program: Program) -> None:
    for number in range(5):
        pair = pki.leaf(stock.CA, [f"{number}.shop.example"])
        tags = ["even"] if number % 2 == 0 else []
        program.send("POST", "/api/certificates", {"id": f"c{number}", "chain": pair.pem, "tags": tags})
    seen, path = [], "/api/certificates?size=2&sort=name"
    while path:
        page = program.get(path).json()
        seen += [one["id"] for one in page["items"]]
        path = page["next"]
    assert seen == ["c0", "c1", "c2", "c3", "c4"]
    assert [one["id"] for one in program.get("/api/certificates?tag=even&sort=name").json()["items"]] == [
        "c0",
        "c2",
        "c4",
    ]
    assert len(program.get("/api/certificates?domain=shop.example&kind=trusted").json()["items"]) == 5
    assert program.get("/api/certificates?tga=even").json()["errors"][0]["pointer"] == "/tga"
    for query in ("size=0", "size=x", "cursor=x", "sort=x", "state=x", "expires_before=x", "organization=x"):
        assert program.get(f"/api/certificates?{query}").status_code == 400, query


def test_a_list_asks_as_many_queries_for_many_as_for_few(program: Program, django_assert_max_num_queries: Any) -> None:
    for number in range(6):
        pair = pki.leaf(stock.CA, [f"{number}.example"])
        program.send("POST", "/api/certificates", {"chain": pair.pem, "privateKey": pair.key_pem, "tags": ["a"]})
    program.get("/api/certificates")  # the first within a minute writes down that the token was used
    with django_assert_max_num_queries(25):
        assert len(program.get("/api/certificates").json()["items"]) == 6


def test_who_may_only_look_changes_nothing(program: Program, posted: dict[str, Any]) -> None:
    viewer = token("viewer")
    assert viewer.get(PATH).status_code == 200
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/api/certificates", reference()),
        ("PUT", PATH, {}),
        ("PATCH", PATH, {}),
        ("DELETE", PATH, None),
        ("POST", f"{PATH}/_revoke", {"reason": "superseded"}),
        ("POST", f"{PATH}/_renew", {}),
        ("POST", f"{PATH}/_export", {"format": "key"}),
        ("POST", "/api/certificates/_keypair", {}),
        ("POST", "/api/certificates/_bulk", {"action": "delete", "all": True}),
    ]
    for method, path, body in asked:
        answer = viewer.send(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed"), (method, path)
    assert program.get(PATH).json() == posted


def test_what_is_out_of_scope_is_not_there(program: Program, posted: dict[str, Any]) -> None:
    outsider = token("operator", tags=["staging"])
    for method, path in (("GET", PATH), ("GET", f"{PATH}/valid"), ("PATCH", PATH), ("DELETE", PATH)):
        assert outsider.send(method, path, {} if method == "PATCH" else None).status_code == 404, (method, path)
    assert outsider.get("/api/certificates").json()["items"] == []
    insider = token("operator", tags=["production"])
    assert insider.get(PATH).status_code == 200


def test_who_is_not_known_is_told_how_to_be(program: Program) -> None:
    for caller in (Program(), Program("bnd_wrong"), Program("\xe9")):
        answer = caller.get("/api/certificates")
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="Bindery"')
        assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "token-unknown"


def test_going_back_to_a_version_and_comparing(program: Program, posted: dict[str, Any]) -> None:
    renewed = pki.leaf(MIDDLE, ["api.example.com"], key=PAIR.key)
    program.send("PATCH", PATH, {"chain": renewed.pem})
    versions = program.get(f"{PATH}/versions").json()["items"]
    assert [one["current"] for one in versions] == [True, False]
    told = program.get(f"{PATH}/versions/_compare?first={versions[1]['id']}").json()
    assert "sans" in {each["property"] for each in told["differences"]}
    back = program.send("POST", f"{PATH}/versions/{versions[1]['id']}/_use")
    assert back.json()["bindery"]["fingerprint"] == PAIR.fingerprint
