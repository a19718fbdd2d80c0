"""Requests for what is there already: the next certificate of a CA outside, and the first one of a key pair."""

import pytest
from cryptography import x509

from certs.models import Certificate
from tests import stock
from tests.api.conftest import Program, token
from tests.api.test_setup import ok, refused

pytestmark = pytest.mark.django_db


def test_the_next_certificate_is_requested_for_the_same_names_and_withdrawn(program: Program) -> None:
    row = stock.uploaded("a.example", "b.example")
    path = f"/api/certificates/{row.pk}/csr"
    refused(program.get(path), 404)
    refused(program.send("POST", path, {"hosts": ["c.example"]}), 400, "/hosts")
    refused(token("viewer").send("POST", path, {}), 403)
    made = ok(program.send("POST", path, {"keyType": "ec-p384"}), 201)
    request = x509.load_pem_x509_csr(made["csr"].encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "b.example"]
    assert (made["certificate"]["valid"], made["certificate"]["bindery"]["requestPending"]) == (True, True)
    refused(program.send("POST", path, {}), 409)
    ok(program.send("DELETE", path), 204)
    assert Certificate.objects.get().request_pem == ""
    refused(program.send("DELETE", path), 409)


def test_a_key_pair_gets_a_request_of_its_own(program: Program) -> None:
    pair = ok(program.send("POST", "/api/certificates/_keypair", {"id": "pair", "keyType": "ec-p256"}), 201)
    path = "/api/certificates/pair/csr"
    refused(program.send("POST", path, {"keyType": "ec-p384"}), 400, "/keyType")
    refused(program.send("POST", path, {}), 400)
    made = ok(program.send("POST", path, {"hosts": ["a.example"]}), 201)
    assert (made["certificate"]["keypair"], pair["keypair"]) == (False, True)
    ok(program.send("DELETE", path), 204)
    assert ok(program.get("/api/certificates/pair"))["keypair"] is True
