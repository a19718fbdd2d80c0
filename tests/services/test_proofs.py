"""What one node saw of its own listener, and what another node makes of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from certs.models import Binding, Certificate, Listener, NodeProcess
from certs.services import proofs, served, serving
from certs.services.bindings import binding_set
from certs.services.handshakes import ServedResult
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted
from certs.services.prune import SILENT, prune_run
from tests.harness import pki
from tests.services.test_serving import imported, tls_server

pytestmark = pytest.mark.django_db

WEB = "web-1"


@pytest.fixture
def bound() -> tuple[Certificate, pki.Pair]:
    serving.placeholder_ensure()
    certificate, pair = imported("a.test")
    binding_set("a.test", certificate, actor="test")
    return certificate, pair


@contextmanager
def as_node(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.NODE", name)
        yield


def look(port: int, node: str = WEB) -> int:
    """What the supervisor of that node does."""
    with as_node(node):
        Listener.objects.update_or_create(
            node=node, protocol="https", defaults={"addresses": ["127.0.0.1"], "port": port}
        )
        serving.process_report(os.getpid(), generation=generation_wanted(), fingerprints={})
        return proofs.proofs_renew()


def test_what_a_web_node_saw_counts_where_nobody_can_ask(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        assert look(port) == 1
    result = served.served_now(certificate)  # the listener is gone by now: this is what was stored
    assert (result.ok, result.fingerprint, result.vantage) == (True, pair.fingerprint, f"node {WEB}")
    assert result.detail == f"{WEB}: 127.0.0.1:{port} for a.test serves it."


def test_processes_alone_are_no_proof(bound: tuple[Certificate, pki.Pair]) -> None:
    with as_node(WEB):
        serving.process_report(1, generation=generation_wanted(), fingerprints={"a.test": bound[1].fingerprint})
    result = served.served_await(bound[0], timeout=0.3)
    assert (result.ok, result.detail) == (None, f"{WEB} has not said yet what a handshake with its listener shows.")


def test_each_live_node_has_to_show_it(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        look(port)
        with as_node("web-2"):
            serving.process_report(2, generation=generation_wanted(), fingerprints={})
        assert served.served_now(certificate).ok is None
        look(port, "web-2")
    result = served.served_now(certificate)
    assert (result.ok, result.detail) == (True, "web-1, web-2 serve it, each seen there.")
    NodeProcess.objects.filter(node="web-2").update(generation=0)
    assert served.served_now(certificate).ok is False


def test_one_node_that_shows_another_certificate_is_told(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        look(port)
    with tls_server(pki.leaf(None, ["a.test"])) as (_, port):
        look(port, "web-2")
    result = served.served_now(certificate)
    assert (result.ok, result.vantage) == (False, "node web-2")
    assert "another certificate" in result.detail


def test_a_proof_of_the_certificate_before_proves_nothing(bound: tuple[Certificate, pki.Pair]) -> None:
    _, pair = bound
    with tls_server(pair) as (_, port):
        look(port)
        other, newer = imported("a.test")
        binding_set("a.test", other, actor="test")
        NodeProcess.objects.update(generation=generation_wanted())
        assert served.served_now(other).ok is None
    with tls_server(newer) as (_, port):
        assert look(port) == 1
    assert served.served_now(other).ok is True


def test_what_was_seen_is_not_asked_again_until_it_is_old(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        assert look(port) == 1
        assert look(port) == 0
        with as_node(WEB):
            assert not proofs.proofs_are_open()
            _age(minutes=6)
            assert proofs.proofs_are_open()
        assert look(port) == 1
    _age(minutes=20)
    result = served.served_now(certificate)
    assert (result.ok, result.detail) == (None, f"{WEB} has not looked at its listener for 20 minutes.")


def test_a_listener_that_has_moved_is_asked_anew(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port), tls_server(pair) as (_, other):
        look(port)
        Listener.objects.filter(node=WEB).update(port=other)
        assert served.served_now(certificate).ok is None
        assert look(other) == 1
    assert served.served_now(certificate).ok is True


def test_a_silent_listener_is_asked_for_one_name_only(
    bound: tuple[Certificate, pki.Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = bound
    binding_set("", certificate, actor="test")
    asked: list[str] = []

    def silent(_host: str, _port: int, name: str, _fingerprint: str) -> ServedResult:
        asked.append(name)
        return ServedResult(False, "", "here", "127.0.0.1:1 does not answer over TLS: time-out.")

    monkeypatch.setattr(proofs, "served_check", silent)
    assert look(1) == 2
    assert len(asked) == 1
    assert served.served_now(certificate).ok is False


def test_a_name_that_is_let_go_leaves_no_proof(bound: tuple[Certificate, pki.Pair]) -> None:
    with tls_server(bound[1]) as (_, port):
        look(port)
        Binding.objects.all().delete()
        look(port)
    assert Listener.objects.get(node=WEB).proofs == {}


def test_a_node_that_listens_nowhere_proves_nothing() -> None:
    assert proofs.proofs_renew() == 0
    assert not proofs.proofs_are_open()


def test_proofs_wait_for_the_processes(bound: tuple[Certificate, pki.Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "TAKEN_OVER_SECONDS", 5.0)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        serving.process_report(1, generation=generation_wanted(), fingerprints={})

    monkeypatch.setattr(proofs.time, "sleep", nap)
    Listener.objects.create(node=node_name(), protocol="https", addresses=["127.0.0.1"], port=1)
    serving.process_report(1, generation=generation_wanted() - 1, fingerprints={})
    with tls_server(bound[1]) as (_, port):
        Listener.objects.update(port=port)
        assert proofs.proofs_renew() == 1
    assert len(naps) == 1


def test_the_listeners_of_pods_that_are_gone_are_forgotten(bound: tuple[Certificate, pki.Pair]) -> None:
    with tls_server(bound[1]) as (_, port):
        for node in ("gone", "chosen", "living", "lately"):
            look(port, node)
    old = datetime.now(UTC) - SILENT - timedelta(hours=1)
    Listener.objects.exclude(node="lately").update(proven_at=old)
    Listener.objects.filter(node="chosen").update(source=Listener.Source.PAGE)
    NodeProcess.objects.exclude(node="living").update(seen_at=old)
    prune_run()
    assert set(Listener.objects.values_list("node", flat=True)) == {"chosen", "living", "lately"}


def _age(*, minutes: int) -> None:
    listener = Listener.objects.get(node=WEB)
    moment = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    listener.proofs = {name: {**entry, "at": moment} for name, entry in listener.proofs.items()}
    listener.save()
