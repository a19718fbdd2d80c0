from typing import Any

import pytest

from tests import stock
from tests.api.conftest import Program
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
