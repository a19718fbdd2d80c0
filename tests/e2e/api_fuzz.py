"""schemathesis over the whole document against a live portal: whatever it allows and forbids is asked for.

Nothing beyond loopback is asked: the portal's way out leads to a closed port, and no CA but an unknown one on loopback
is named. Keys are EC, since RSA takes seconds.
"""

import re
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.harness.portal import Portal

CLOSED = "http://127.0.0.1:9"
ENVIRONMENT = {
    "BINDERY_API_RATE": "0",
    "HTTPS_PROXY": CLOSED,
    "HTTP_PROXY": CLOSED,
    "BINDERY_DNS_RESOLVERS": "127.0.0.1:9",
}
DIRECTORY = "https://127.0.0.1:9/directory"
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BEFORE_US = {414, 431}  # of the HTTP server: a line or a header longer than any of ours
ENDING = ("_retire", "_deactivate", "_revoke")
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


class Fuzz:
    """More than half of the cases are about something that is there, and most of these have a body that is right, or
    one that is right but for what was thought up besides: mere refusals would show little.

    `paths` are those of things that are there, `bodies` what can be sent to them; both by operation.
    """

    def __init__(self, portal: Portal, secret: str, paths: dict[str, str], bodies: dict[str, Any]) -> None:
        self.base = portal.http_url
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.schema = schemathesis.openapi.from_url(f"{self.base}/api/schema?format=json")
        self.paths, self.bodies = paths, bodies
        self.asked = 0
        self.statuses: dict[int, int] = {}
        self.done: set[str] = set()  # operations that were carried out at least once

    def operations(self) -> Iterator[Any]:
        """What ends something comes last, or the rest would meet nothing but its end."""
        found = (result.ok() for result in self.schema.get_all_operations())
        return iter(sorted(found, key=lambda each: each.method == "delete" or each.path.endswith(ENDING)))

    def run(self, examples: int, seed: int) -> None:
        for operation in self.operations():
            for mode in MODES:
                self._one(operation, mode, examples, seed)

    def run_quickly(self) -> None:
        """Each operation once as it is right, and some of them with what was thought up, the same each time."""
        for number, operation in enumerate(self.operations()):
            name, media_type = _name(operation), next(iter(operation.get_request_payload_content_types()), None)
            case = operation.Case(path_parameters=_parameters(operation.path, self.paths[name]))
            if media_type and self.bodies.get(name) is not None:
                case = operation.Case(
                    path_parameters=case.path_parameters, body=self.bodies[name], media_type="application/json"
                )
            self._ask(case)
            if number % 8 == 0:
                self._one(operation, MODES[number // 8 % 2], 1, 0)

    def _one(self, operation: Any, mode: GenerationMode, examples: int, seed: int) -> None:
        @settings(
            max_examples=examples,
            derandomize=seed == 0,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(case=operation.as_strategy(generation_mode=mode), choice=st.integers(0, 9))
        def ask(case: Any, choice: int) -> None:
            self._tame(case, choice, mode)
            self._ask(case)

        try:
            ask()
        except Unsatisfiable:
            return  # nothing of this mode can be said to this operation

    def _ask(self, case: Any) -> None:
        response = case.call(base_url=self.base, headers=self.headers, timeout=30)
        self.asked += 1
        if response.status_code < 300:
            self.done.add(_name(case))
        self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
        if response.status_code >= 500:  # a CA or another server, on loopback's closed port, may fail: never we
            told = response.json()
            assert response.status_code in {502, 503}, told
            assert told["code"] not in {"internal", "unavailable"}, told
        if response.status_code not in BEFORE_US:
            case.validate_response(response, checks=CHECKS)

    def _tame(self, case: Any, choice: int, mode: GenerationMode) -> None:
        if choice < 7 and case.path_parameters:
            case.path_parameters |= _parameters(case.path, self.paths[_name(case)])
        right = self.bodies.get(_name(case))
        if mode is GenerationMode.POSITIVE and choice < 5 and isinstance(case.body, dict) and isinstance(right, dict):
            case.body = right if choice < 2 else {**case.body, **right}
        if isinstance(case.body, dict):
            if case.path.endswith(("/_letsencrypt", "/accounts")):
                case.body["directory"] = DIRECTORY
            if "keyType" in case.body and case.body["keyType"] in {"rsa-2048", "rsa-3072", "rsa-4096", "RSA"}:
                case.body["keyType"] = "ec-p256"


def _name(case: Any) -> str:
    return f"{case.method.upper()} {case.path}"


def _parameters(template: str, path: str) -> dict[str, str]:
    found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template), path)
    assert found, template
    return found.groupdict()


PREPARE = """
import base64, re
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate
from certs.services.bulk import bulk_ask
from certs.services.issued import authority_issue
from certs.services.revocations import version_revoke
from certs.services.signing_requests import request_create
from certs.services.tokens import token_create
from tests import stock
from tests.api.test_rights import OPERATIONS, WRITES, World
from tests.harness import pki

person = stock.administrator()
_, secret = token_create("fuzz", "admin", actor="test", can_export=True)
world = World()
root = Authority.objects.get(pk=world.ids["authority"])

def issued(name):
    return authority_issue(root, Wish(hosts=(name,), days=90), actor="test")

def named(method, route):
    return f"{method} /api/{re.sub('<[a-z]+:([a-z]+)>', '{' + chr(92) + '1}', route)}"

own, held, asked, free = issued("own.example"), issued("held.example"), request_create(
    hosts=["asked.example"], actor="test"
), stock.uploaded("free.example")
version_revoke(held.current, "certificateHold", actor="test")
pair, ca = pki.leaf(stock.CA, ["posted.example"]), pki.authority("Theirs")
one = "/api/certificates/"
paths = {named(method, route): world.path(route) for method, route in OPERATIONS}
paths |= {
    "DELETE /api/certificates/{id}": f"{one}{free.pk}",
    "GET /api/certificates/{id}/csr": f"{one}{asked.pk}/csr",
    "DELETE /api/certificates/{id}/csr": f"{one}{asked.pk}/csr",
    "POST /api/certificates/{id}/csr": f"{one}{free.pk}/csr",
    "POST /api/certificates/{id}/_renew": f"{one}{own.pk}/_renew",
    "POST /api/certificates/{id}/_revoke": f"{one}{own.pk}/_revoke",
    "POST /api/certificates/{id}/_release": f"{one}{held.pk}/_release",
    "POST /api/certificates/{id}/versions/{version}/_revoke": f"{one}{own.pk}/versions/{own.current_id}/_revoke",
    "POST /api/authorities/{id}/issued/{serial}/_release":
        f"/api/authorities/{root.pk}/issued/{held.current.serial}/_release",
    "GET /api/jobs/{id}": f"/api/jobs/{bulk_ask('tag', [own.pk], options={'add': ['x']}, actor=person).pk}",
}
bodies = {named(*name.split(" ")): world.body(name) for name in WRITES}
bodies |= {
    "POST /api/certificates": {"chain": pair.pem, "privateKey": pair.key_pem},
    "POST /api/certificates/_import": {"files": [{"data": base64.b64encode(pair.pem.encode()).decode()}]},
    "POST /api/authorities/_import": {"chain": ca.pem, "privateKey": ca.key_pem},
}
result = {"secret": secret, "paths": paths, "bodies": bodies}
"""


def fuzz(portal: Portal) -> Fuzz:
    """Of a portal that was just started, with one of everything in it."""
    found = portal.run(PREPARE)
    return Fuzz(portal, found["secret"], found["paths"], found["bodies"])
