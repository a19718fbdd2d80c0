"""schemathesis over the whole document against a live portal: whatever it allows and forbids is asked for.

Nothing beyond loopback is asked: the portal's way out leads to a closed port, and no CA but an unknown one on loopback
is named. Keys are EC, since RSA takes seconds.
"""

from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
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
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BEFORE_US = {414, 431}  # of the HTTP server: a line or a header longer than any of ours
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


class Fuzz:
    """`known` are values of path parameters that lead somewhere, by name; half of the cases get one."""

    def __init__(self, portal: Portal, secret: str, known: dict[str, dict[str, list[str]]]) -> None:
        self.base = portal.http_url
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.schema = schemathesis.openapi.from_url(f"{self.base}/api/schema?format=json")
        self.known = known
        self.asked = 0
        self.statuses: dict[int, int] = {}

    def operations(self) -> Iterator[Any]:
        for result in self.schema.get_all_operations():
            yield result.ok()

    def run(self, examples: int, seed: int) -> None:
        for operation in self.operations():
            for mode in MODES:
                self._one(operation, mode, examples, seed)

    def run_quickly(self) -> None:
        """What is allowed and what is forbidden by turns, one request to each operation, the same each time."""
        for number, operation in enumerate(self.operations()):
            self._one(operation, MODES[number % 2], 1, 0)

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
            self._tame(case, choice)
            response = case.call(base_url=self.base, headers=self.headers, timeout=30)
            self.asked += 1
            self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
            if response.status_code not in BEFORE_US:
                case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            return  # nothing of this mode can be said to this operation

    def _tame(self, case: Any, choice: int) -> None:
        part = case.path.split("/")[2]
        for name, values in self.known.get(part, {}).items():
            if choice < 6 and case.path_parameters and name in case.path_parameters:
                case.path_parameters[name] = values[choice % len(values)]
        if isinstance(case.body, dict):
            if case.path.endswith(("/_letsencrypt", "/accounts")):
                case.body["directory"] = DIRECTORY
            if "keyType" in case.body and case.body["keyType"] in {"rsa-2048", "rsa-3072", "rsa-4096", "RSA"}:
                case.body["keyType"] = "ec-p256"


PREPARE = """
from certs.services.certificates import certificate_import, certificate_self_sign
from certs.services.tokens import token_create
from certs.services.pki import pki_base_url_confirm
from certs.services.authorities import authority_create
from certs.domain.wishes import Wish
from certs.models import User, ApiToken
User.objects.create_superuser("admin@example.com", "a long pass phrase")
_, secret = token_create("fuzz", "admin", actor="test", can_export=True)
pki_base_url_confirm("http://pki.example", actor="test")
authority = authority_create(Wish(subject="CN=Root", key_type="ec-p256"), actor="test")
rows = [certificate_self_sign(name="", names=[f"{n}.example"], actor="test", key_type="ec-p256") for n in range(3)]
result = {
    "secret": secret,
    "known": {
        "certificates": {
            "id": [str(row.pk) for row in rows] + [str(authority.certificate_id)],
            "version": [str(row.current_id) for row in rows],
        },
        "authorities": {"id": [str(authority.pk), str(authority.certificate_id)]},
        "crls": {"id": [str(authority.pk)]},
        "bindings": {"name": ["_default", "0.example", "1.example"]},
        "events": {"id": ["1", "2"]},
    },
}
"""


def fuzz(portal: Portal) -> Fuzz:
    """Of a portal that was just started, with something to be found in it."""
    found = portal.run(PREPARE)
    return Fuzz(portal, found["secret"], found["known"])
