"""Several who have read the same and write at once: what they send, and what each of them must be told."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.harness import pki

# method, path, body, headers -> status, the ETag of the answer
Send = Callable[[str, str, Any, dict[str, str]], tuple[int, str]]
AT_ONCE = 4
NAME = "a.example"


@dataclass(frozen=True)
class Race:
    path: str
    wishes: Sequence[tuple[str, Any]]  # method and body of each writer


def races(send: Send) -> dict[str, Race]:
    """One for each kind of lock: a row, a row that another's request makes, and the settings."""
    root = pki.authority("Race Root")
    for number in range(AT_ONCE):
        pair = pki.leaf(root, [NAME])
        body = {"id": f"cert_{number}", "chain": pair.pem, "privateKey": pair.key_pem}
        assert send("POST", "/api/certificates", body, {})[0] == 201
    assert send("PUT", f"/api/bindings/{NAME}", {"certificate": "cert_0"}, {})[0] == 200
    others = [("PUT", {"certificate": f"cert_{number}"}) for number in range(1, AT_ONCE)]
    return {
        "bindings": Race(f"/api/bindings/{NAME}", [*others, ("DELETE", None)]),
        "settings": Race("/api/settings", [("PATCH", {"renewBeforeDays": 30 + n}) for n in range(AT_ONCE)]),
        "settings of several kinds": Race(
            "/api/settings",
            [
                ("PATCH", {"jwksOverlapDays": 3}),
                ("PATCH", {"fetchIssuers": False}),
                ("PATCH", {"checkHours": 5}),
                ("PATCH", {"publicUrl": "https://portal.example"}),
            ],
        ),
        "certificates": Race("/api/certificates/cert_1", [("PATCH", {"description": str(n)}) for n in range(AT_ONCE)]),
    }


def run(send: Send, race: Race) -> list[int]:
    """The answers, in the order of their numbers."""
    status, etag = send("GET", race.path, None, {})
    assert (status, bool(etag)) == (200, True)
    start = threading.Barrier(len(race.wishes))

    def write(wish: tuple[str, Any]) -> int:
        start.wait()
        return send(wish[0], race.path, wish[1], {"If-Match": etag})[0]

    with ThreadPoolExecutor(len(race.wishes)) as pool:
        return sorted(pool.map(write, race.wishes))


def one_won(statuses: Sequence[int]) -> bool:
    """Who came after a DELETE finds nothing there (404), or nothing that the ETag could be of (412)."""
    return statuses[0] in {200, 204} and set(statuses[1:]) <= {404, 412}
