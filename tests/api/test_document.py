"""The OpenAPI document: whole, of version 3.1, and what the code does."""

import json
from typing import Any

import pytest
import yaml
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from certs.api.documents import COMPUTED
from certs.api.urls import urlpatterns
from tests.api.conftest import Program

METHODS = {"get", "post", "put", "patch", "delete"}
REFERENCE = [
    "id",
    "name",
    "description",
    "chain",
    "privateKey",
    "caRef",
    "domain",
    "selfSigned",
    "ca",
    "valid",
    "exposed",
    "revoked",
    "autoRenew",
    "letsEncrypt",
    "client",
    "keypair",
    "subject",
    "from",
    "to",
    "sans",
    "password",
    "tags",
    "metadata",
]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return json.loads(json.dumps(made, default=str))  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, each)
        for path, item in document["paths"].items()
        for method, each in item.items()
        if method in METHODS
    ]


def test_it_is_valid_and_made_without_a_doubt(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)  # type: ignore[no-untyped-call]
    doubts = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert not doubts


def test_every_address_is_in_it_and_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    assert len(document["paths"]) == len(urlpatterns) - 2  # but the document itself and the page
    names = [each["operationId"] for _, _, each in operations(document)]
    assert len(names) == len(set(names)) > 60
    assert all(each["summary"] and each["tags"] for _, _, each in operations(document))


def test_every_operation_tells_its_problems_and_how_to_log_in(document: dict[str, Any]) -> None:
    for path, method, each in operations(document):
        assert {"400", "401", "403", "404", "429"} <= each["responses"].keys(), (method, path)
        assert {"token": []} in each["security"], (method, path)
    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]


def test_a_certificate_has_every_property_of_the_reference(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Certificate"]["properties"]) == {*REFERENCE, "bindery"}
    assert set(schemas["CertificateRequest"]["properties"]) == {*REFERENCE, "bindery"}
    assert set(REFERENCE) >= COMPUTED - {"bindery"}


def test_bodies_refuse_what_they_do_not_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    requests = [schema for name, schema in schemas.items() if name.endswith("Request")]
    assert len(requests) > 20
    assert all(schema["additionalProperties"] is False for schema in requests)


@pytest.mark.django_db
def test_it_is_to_be_had_as_json_and_yaml_without_a_token(program: Program) -> None:
    stranger = Program()
    told = stranger.get("/api/schema?format=json")
    assert told.json()["info"]["title"] == "Bindery"
    assert yaml.safe_load(stranger.get("/api/schema").content)["openapi"] == told.json()["openapi"]
    page = stranger.get("/api/docs/")
    assert page.status_code == 200
    assert "unsafe" not in page["Content-Security-Policy"]
