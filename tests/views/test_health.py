import os
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection
from django.test import Client

from certs.models import Binding, CertificateVersion, Listener, NodeProcess
from certs.services import health
from certs.services.bindings import binding_set
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted, state_update
from certs.services.self_probe import question_make
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db


@pytest.fixture
def anybody() -> Client:
    return Client(headers={"host": "10.1.2.3:8000"})


def _codes(client: Client) -> dict[str, bool]:
    return {check["code"]: check["ok"] for check in client.get("/statusz").json()["checks"]}


def _all_is_well() -> None:
    binding_set("", stock.issued("www.example.com"), actor="test")
    state_update(sweep_finished_at=clock.now())


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_new_portal_is_alive_and_ready_for_any_host_without_log_in(anybody: Client, path: str) -> None:
    response = anybody.get(path)
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert not response.cookies


def test_statusz_is_503_until_everything_is_well(anybody: Client) -> None:
    assert anybody.get("/statusz").status_code == 503
    _all_is_well()
    with patch.object(health, "worker_alive", return_value=True):
        response = anybody.get("/statusz")
    assert response.status_code == 200, response.json()


def test_each_trouble_is_named_by_its_code(anybody: Client, move_clock: object) -> None:
    _all_is_well()
    assert _codes(anybody) == {
        "database": True,
        "listener": True,
        "held": True,
        "worker": False,
        "sweep": True,
        "placeholder": True,
        "expired": True,
        "generation": True,
        "import": True,
        "export": True,
        "volume": True,
    }
    state_update(sweep_finished_at=clock.now() - health.SWEEP_LATE * 1.01, import_error="server.key is missing.")
    NodeProcess.objects.create(node="n", pid=7, generation=generation_wanted() - 1)
    CertificateVersion.objects.update(not_after=clock.now())
    found = _codes(anybody)
    assert [code for code, ok in found.items() if not ok] == ["worker", "sweep", "expired", "generation", "import"]
    Binding.objects.all().delete()
    assert not _codes(anybody)["placeholder"]


def test_a_process_that_kept_its_old_certificate_is_not_green(anybody: Client) -> None:
    _all_is_well()
    NodeProcess.objects.create(node="n", pid=7, generation=generation_wanted(), error="The key does not fit.")
    assert not _codes(anybody)["generation"]


def test_readyz_needs_a_certificate_in_this_process_where_we_own_the_listener(anybody: Client) -> None:
    Listener.objects.create(node=node_name(), protocol="https", port=8443, addresses=["::"])
    assert anybody.get("/readyz").status_code == 503
    NodeProcess.objects.create(node=node_name(), pid=os.getpid(), generation=1)
    assert anybody.get("/readyz").status_code == 200


def test_a_database_that_is_gone_is_503_but_the_process_lives(anybody: Client) -> None:
    with patch.object(connection, "cursor", side_effect=OperationalError("secret-host refused")):
        assert anybody.get("/healthz").status_code == 200
        for path in ("/readyz", "/statusz"):
            response = anybody.get(path)
            assert response.status_code == 503
            assert "secret-host" not in response.content.decode()


def test_only_reading_is_allowed(anybody: Client) -> None:
    assert anybody.post("/healthz").status_code == 405
    assert anybody.head("/statusz").status_code in (200, 503)


def test_a_probe_is_answered_by_this_portal_only_and_may_be_read_from_another_address(anybody: Client) -> None:
    question = question_make()
    response = anybody.get(question.path)
    assert response.json()["probe"] == question.answer
    assert response["Access-Control-Allow-Origin"] == "*"
    for path in ("/healthz", "/healthz?probe=x", "/healthz?probe=bindery-probe-1-2-3"):
        plain = anybody.get(path)
        assert "probe" not in plain.json()
        assert "Access-Control-Allow-Origin" not in plain
