"""Of many who change what they have read at the same moment, one does: by HTTP on PostgreSQL, which locks row by row.

`tests/api/test_writers.py` has the same on SQLite.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from certs.domain.envelope import KeyRing
from tests.api import writers
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.proof]
ROUNDS = 8
SETTINGS = {  # none of them as a writer wants it: what changes nothing is no change
    "renewBeforeDays": 21,
    "jwksOverlapDays": 7,
    "checkHours": 24,
    "fetchIssuers": True,
    "publicUrl": "https://other.example",
}
TOKEN = """
from certs.models import User
from certs.services.tokens import token_create
User.objects.create_superuser("admin@example.com", "a long pass phrase")
result = token_create("writer", "admin", actor="test")[1]
"""


def test_of_many_at_once_one_wins_on_postgresql(tmp_path: Path) -> None:
    need("postgresql")
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    with Postgres() as server:
        portal = Portal(home=tmp_path, environment={**secrets, "DATABASE_URL": server.url, "BINDERY_API_RATE": "0"})
        portal.manage("migrate", "--verbosity", "0")
        portal.manage("createcachetable", "--verbosity", "0")
        with portal:
            secret = portal.run(TOKEN)

            def send(method: str, path: str, body: Any, more: dict[str, str]) -> tuple[int, str]:
                headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **more}
                data = None if body is None else json.dumps(body).encode()
                asked = urllib.request.Request(portal.http_url + path, data, headers, method=method)
                try:
                    with urllib.request.urlopen(asked, timeout=60) as answer:
                        return answer.status, answer.headers.get("ETag", "")
                except urllib.error.HTTPError as error:
                    return error.code, ""

            races = writers.races(send)
            for _ in range(ROUNDS):
                send("PUT", f"/api/bindings/{writers.NAME}", {"certificate": "cert_0"}, {})
                assert send("PATCH", "/api/settings", SETTINGS, {})[0] == 200
                send("PATCH", "/api/certificates/cert_1", {"description": ""}, {})
                found = {name: writers.run(send, race) for name, race in races.items()}
                assert all(map(writers.one_won, found.values())), found
