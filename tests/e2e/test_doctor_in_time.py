"""Twenty seconds, whatever is silent: name servers, CA, public URL and proxy take every question and never answer."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import jsonschema
import pytest

from certs.services.diagnoses import SECONDS
from tests.harness.artifacts import ROOT
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK

pytestmark = [pytest.mark.e2e, pytest.mark.proof]
START = 8.0  # seconds for Python and Django on a busy machine

ROWS = """
from certs.models import AcmeAccount, Certificate
from certs.services.secrets import canary_check
from tests import stock
canary_check()
certificates = [stock.issued(f"n{{number}}.silent.test") for number in range(6)]
AcmeAccount.objects.update(directory_url={directory!r}, account_url={directory!r}, allow_private=True)
Certificate.objects.update(auto_renew=True)
"""


@pytest.fixture
def silent() -> Iterator[tuple[int, int]]:
    """A port that takes connections, and one that takes datagrams; neither answers."""
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=200))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind((LOOPBACK, 0))
        yield tcp.getsockname()[1], udp.getsockname()[1]


@pytest.mark.parametrize("proxied", [False, True])
def test_it_ends_in_time_and_says_what_it_could_not_check(silent: tuple[int, int], proxied: bool) -> None:
    tcp, udp = silent
    environment = {
        "BINDERY_DNS_RESOLVERS": f"{LOOPBACK}:{udp}",
        "BINDERY_PUBLIC_URL": f"https://{LOOPBACK}:{tcp}",
        **({"HTTPS_PROXY": f"http://{LOOPBACK}:{tcp}"} if proxied else {}),
    }
    with ExitStack() as stack:
        portal = Portal(environment=environment)  # never started
        stack.callback(portal._end, failed=False)
        portal.run(ROWS.format(directory=f"https://{LOOPBACK}:{tcp}/directory"))
        began = time.monotonic()
        ran = portal.manage("doctor", "--json", check=False, timeout=90)
        spent = time.monotonic() - began
    assert spent < SECONDS + START, ran.stdout[-2000:]
    found = json.loads(ran.stdout)
    jsonschema.validate(found, json.loads((ROOT / "docs" / "doctor.schema.json").read_text()))
    by_code = {line["code"]: line["state"] for line in found["lines"]}
    assert by_code["directories"] == "bad"
    assert by_code["public-answer"] == "unknown"
    assert by_code["database"] == "ok"
    assert [line for line in found["lines"] if line["state"] == "ok" and line["topic"] in {"names", "cas"}] == []
    print(f"{spent:.1f} s")
