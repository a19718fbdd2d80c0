"""What is to be served, and whether it is."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from certs.domain.errors import ServingError
from certs.domain.keys import Key, key_generate
from certs.models import Binding, Certificate, Listener, NodeProcess, PortalState
from certs.services import handshakes, served, serving
from certs.services.bindings import binding_set, bindings_default_only_placeholder
from certs.services.certificates import certificate_import
from certs.services.keys import key_import
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted
from portal.server.contexts import contexts_build
from tests.harness import pki

pytestmark = pytest.mark.django_db


def imported(*names: str) -> tuple[Certificate, pki.Pair]:
    pair = pki.leaf(None, list(names))
    certificate = certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")
    return certificate, pair


@contextmanager
def tls_server(pair: pki.Pair) -> Iterator[tuple[str, int]]:
    """Answers each connection with this certificate for whatever name."""
    assert isinstance(pair.key, Key)
    bound = serving.BoundPair("x", pair.pem, pair.key, pair.fingerprint)
    entry = contexts_build(serving.ServingMaterial(1, {"": bound})).entry
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), sock, entry.wrap_socket(sock, server_side=True) as secured:
                    secured.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_placeholder_answers_while_nothing_is_bound() -> None:
    placeholder = serving.placeholder_ensure()
    material = serving.serving_material()
    assert placeholder.current is not None
    assert material.fingerprints == {"": placeholder.current.fingerprint_sha256}
    assert material.generation == generation_wanted()
    assert bindings_default_only_placeholder()


def test_bindings_are_served_by_name() -> None:
    serving.placeholder_ensure()
    default, default_pair = imported("default.test")
    named, named_pair = imported("a.test")
    binding_set("", default, actor="test")
    binding_set("a.test", named, actor="test")
    assert serving.serving_material().fingerprints == {"": default_pair.fingerprint, "a.test": named_pair.fingerprint}


def test_keys_do_not_show_in_messages() -> None:
    serving.placeholder_ensure()
    shown = repr(serving.serving_material())
    assert "PRIVATE" not in shown
    assert "EllipticCurve" not in shown


@pytest.mark.parametrize("trouble", ["no key", "wrong key", "no version"])
def test_a_broken_binding_is_named(trouble: str) -> None:
    serving.placeholder_ensure()
    certificate, _ = imported("a.test")
    binding_set("a.test", certificate, actor="test")
    version = certificate.versions.get()
    if trouble == "no version":
        Certificate.objects.filter(pk=certificate.pk).update(current=None)
    else:
        version.key = key_import(key_generate("ec-p256")) if trouble == "wrong key" else None
        version.save()
    with pytest.raises(ServingError, match=r"a\.test"):
        serving.serving_material()
    material = serving.serving_material(partial=True)
    assert list(material.pairs) == [""]
    assert list(material.problems) == ["a.test"]


def test_nothing_at_all_is_an_error() -> None:
    with pytest.raises(ServingError, match="by default"):
        serving.serving_material()
    assert serving.serving_material(partial=True).pairs == {}


def test_placeholder_is_made_once() -> None:
    first = serving.placeholder_ensure()
    generation = generation_wanted()
    assert serving.placeholder_ensure() == first
    assert generation_wanted() == generation
    assert first.current is not None
    assert "localhost" in first.current.names


def test_broken_placeholder_is_replaced() -> None:
    first = serving.placeholder_ensure()
    first.versions.update(key=None)
    second = serving.placeholder_ensure()
    assert second != first
    assert serving.serving_material().fingerprints[""] == second.versions.get().fingerprint_sha256


def test_two_nodes_that_race_end_with_one_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    sign = serving.certificate_self_sign

    def overtaken(**options: object) -> Certificate:
        monkeypatch.setattr(serving, "certificate_self_sign", sign)
        serving.placeholder_ensure()  # the other node, while we make our key
        return sign(**options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(serving, "certificate_self_sign", overtaken)
    kept = serving.placeholder_ensure()
    assert PortalState.objects.get().placeholder == kept
    assert list(Certificate.objects.filter(deleted_at=None)) == [kept]


def test_live_processes_are_those_seen_lately() -> None:
    serving.process_report(1, generation=3, fingerprints={"": "aa"})
    serving.process_report(2, generation=3, fingerprints={})
    NodeProcess.objects.filter(pid=2).update(seen_at=datetime.now(UTC) - timedelta(seconds=11))
    NodeProcess.objects.create(node="other", pid=1, seen_at=datetime.now(UTC))
    assert {(row.node, row.pid) for row in serving.processes_live()} == {(node_name(), 1), ("other", 1)}
    assert [row.pid for row in serving.processes_live(node_name())] == [1]
    assert serving.process_seen(2)
    assert len(serving.processes_live(node_name())) == 2
    serving.process_gone(1)
    assert not serving.process_seen(1)


def test_check_compares_the_leaf() -> None:
    pair = pki.leaf(None, ["a.test"])
    with tls_server(pair) as (host, port):
        assert handshakes.served_check(host, port, "a.test", pair.fingerprint).ok is True
        assert handshakes.served_check(host, port, "*.a.test", pair.fingerprint.upper()).ok is True
        other = handshakes.served_check(host, port, "", "0" * 64)
        assert (other.ok, other.fingerprint) == (False, pair.fingerprint)
        assert "another certificate" in other.detail


def test_check_tells_a_closed_port_from_a_network_that_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        silent = handshakes.served_check(host, port, "", "0" * 64, timeout=0.2)
        assert silent.ok is False
    refused = handshakes.served_check(host, port, "", "0" * 64)
    assert refused.ok is False
    assert "refused" in refused.detail
    assert handshakes.served_check("no-such-host.invalid", 1, "", "0" * 64).ok is None


def report(pid: int, generation: int, error: str = "") -> None:
    serving.process_report(pid, generation=generation, fingerprints={}, error=error)


@pytest.fixture
def bound() -> tuple[Certificate, pki.Pair]:
    serving.placeholder_ensure()
    certificate, pair = imported("a.test")
    binding_set("a.test", certificate, actor="test")
    return certificate, pair


def listen_at(port: int, *addresses: str) -> None:
    Listener.objects.create(node=node_name(), protocol="https", addresses=list(addresses), port=port)


def test_served_when_all_processes_and_the_handshake_agree(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        listen_at(port, "0.0.0.0", "::")
        report(os.getpid(), generation_wanted())
        result = served.served_await(certificate, timeout=0)
    assert (result.ok, result.fingerprint, result.vantage) == (True, pair.fingerprint, "this server")


def test_one_process_behind_is_not_served(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        listen_at(port, "127.0.0.1")
        report(1, generation_wanted())
        report(2, generation_wanted() - 1, "the key does not fit")
        result = served.served_await(certificate, timeout=0.3)
        assert result.ok is False
        assert "1 of 2 serving processes has not taken it over: the key does not fit" in result.detail
        report(2, generation_wanted())
        assert served.served_await(certificate, timeout=0).ok is True


def test_a_silent_listener_is_asked_once_however_many_names_are_bound(
    bound: tuple[Certificate, pki.Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = bound
    binding_set("", certificate, actor="test")
    listen_at(1, "127.0.0.1")
    report(1, generation_wanted())
    asked: list[str] = []

    def silent(_host: str, _port: int, name: str, _fingerprint: str) -> handshakes.ServedResult:
        asked.append(name)
        return handshakes.ServedResult(False, "", "here", "no answer")

    monkeypatch.setattr(served, "served_check", silent)
    assert served.served_now(certificate).ok is False
    assert len(asked) == 1


def test_processes_that_are_wrong_about_themselves_are_found_out(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, _ = bound
    with tls_server(pki.leaf(None, ["a.test"])) as (_, port):
        listen_at(port, "127.0.0.1")
        report(1, generation_wanted())
        assert served.served_await(certificate, timeout=0).ok is False


def test_what_cannot_be_checked_is_neither(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, _ = bound
    assert served.served_await(certificate, timeout=0.3).ok is None
    NodeProcess.objects.create(node="elsewhere", pid=1, generation=99, seen_at=datetime.now(UTC))
    assert served.served_await(certificate, timeout=0.3).ok is None
    Binding.objects.all().delete()
    unbound = served.served_await(certificate, timeout=5)
    assert (unbound.ok, "not bound" in unbound.detail) == (None, True)


def test_waiting_ends_as_soon_as_it_is_served(bound: tuple[Certificate, pki.Pair]) -> None:
    certificate, pair = bound
    with tls_server(pair) as (_, port):
        listen_at(port, "127.0.0.1")
        report(1, generation_wanted() - 1)
        answers = [lambda: report(1, generation_wanted())]
        now = served.served_now

        def later(certificate: Certificate) -> handshakes.ServedResult:
            result = now(certificate)
            if answers:
                answers.pop()()
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served, "served_now", later)
            assert served.served_await(certificate, timeout=10).ok is True


def test_names_that_cannot_be_in_a_certificate_become_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, expected in (("Node-1.Example.", "node-1.example"), ("under_score", "localhost"), ("-x", "localhost")):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        assert serving._host_name() == expected
