import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from certs.domain.errors import ConflictError, InputError
from certs.models import Listener, NodeProcess
from certs.services import listeners
from certs.services.nodes import node_name
from portal import clock
from tests.harness.ports import free_port


@pytest.fixture
def taken():
    """A port held by another process: its number and pid."""
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdin
    yield int(process.stdout.readline()), process.pid
    process.stdin.close()
    process.wait(5)
    process.stdout.close()


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_refused_naming_program_and_process(taken, address):
    port, pid = taken
    with pytest.raises(ConflictError) as refused:
        listeners.address_usable(address, port)
    assert f"process {pid}" in refused.value.message
    assert str(port) in refused.value.message


@pytest.mark.django_db
def test_the_same_port_on_another_address_is_free(taken):
    port, _pid = taken
    assert listeners.port_holder("::1", port) == ""
    assert listeners.address_usable("127.0.0.2", port)


@pytest.mark.django_db
def test_our_own_listener_is_no_stranger():
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert listeners.port_holder("127.0.0.1", own.getsockname()[1]) == ""


def test_a_foreign_address_is_refused():
    with pytest.raises(InputError):
        listeners.address_usable("203.0.113.7", free_port())


def test_trying_leaves_nothing_behind():
    port = free_port()
    assert listeners.address_usable("127.0.0.1", port)
    assert listeners.address_usable("127.0.0.1", port)


def test_local_addresses_are_ipv4_first_and_can_be_listened_on():
    found = listeners.local_addresses()
    assert found[0].count(".") == 3
    assert "127.0.0.1" in found
    for address in found:
        assert listeners.address_usable(address, 0)


@pytest.mark.django_db
def test_without_a_supervisor_the_listener_is_not_managed():
    assert not listeners.listener_get("https").managed
    assert not Listener.objects.exists()


@pytest.mark.django_db
def test_the_environment_wins_over_the_page_field_by_field(settings):
    settings.HTTPS_PORT, settings.HTTPS_ADDRESSES = 8443, ["0.0.0.0", "::"]
    settings.HTTPS_PORT_LOCKED = settings.HTTPS_ADDRESS_LOCKED = False
    listeners.listeners_ensure()
    assert listeners.listener_get("https").managed
    Listener.objects.filter(protocol="https").update(addresses=["127.0.0.1"], port=9443, source="page")
    listeners.listeners_ensure()
    kept = listeners.listener_get("https")
    assert (kept.addresses, kept.port, kept.source) == (["127.0.0.1"], 9443, "page")
    settings.HTTPS_PORT_LOCKED = True
    listeners.listeners_ensure()
    mixed = listeners.listener_get("https")
    assert (mixed.addresses, mixed.port) == (["127.0.0.1"], 8443)


@pytest.mark.django_db
def test_a_changed_environment_is_followed_at_the_next_start(settings):
    listeners.listeners_ensure()
    settings.HTTP_PORT = 8001
    settings.HTTPS_PORT = 8444
    listeners.listeners_ensure()
    assert listeners.listener_get("http").port == 8001
    assert listeners.listener_get("https").port == 8444


@pytest.mark.django_db
def test_rows_of_ended_processes_go():
    for pid, node in ((os.getpid(), node_name()), (1, node_name()), (1, "another")):
        NodeProcess.objects.create(node=node, pid=pid)
    listeners.processes_prune([os.getpid()])
    assert set(NodeProcess.objects.values_list("node", "pid")) == {(node_name(), os.getpid()), ("another", 1)}


@pytest.mark.parametrize(
    ("own", "listening", "place"),
    [
        (["127.0.0.1", "192.0.2.1", "::1"], ["0.0.0.0", "::"], "127.0.0.1"),
        (["::1", "2001:db8::1"], ["0.0.0.0", "::"], "::1"),  # a machine without IPv4
        (["127.0.0.1"], ["::", "0.0.0.0"], "127.0.0.1"),  # one with IPv6 switched off
        (["192.0.2.1", "::1"], ["0.0.0.0"], "192.0.2.1"),  # no loopback of that family
        (["127.0.0.1"], ["192.0.2.1"], "192.0.2.1"),
        ([], ["0.0.0.0"], "127.0.0.1"),
    ],
)
def test_a_listener_is_asked_over_a_family_that_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, own: list[str], listening: list[str], place: str
) -> None:
    monkeypatch.setattr(listeners, "local_addresses", lambda: own)
    assert listeners.addresses_here(listening) == place


@pytest.mark.django_db
def test_a_node_that_only_works_now_leaves_what_it_served_and_keeps_the_choice_of_a_person(settings):
    settings.HTTPS_PORT_LOCKED = settings.HTTPS_ADDRESS_LOCKED = False
    listeners.listeners_ensure()
    Listener.objects.filter(protocol="https").update(port=9443, source="page")
    other = Listener.objects.create(node="another", protocol="https", addresses=["0.0.0.0"], port=8443)
    assert listeners.listener_answering("https").port == 9443
    assert listeners.listeners_leave()
    assert not listeners.listeners_leave()
    NodeProcess.objects.create(node="another", pid=1, seen_at=clock.real())
    assert listeners.listener_answering("https") == other
    listeners.listeners_ensure()  # and back
    assert listeners.listener_answering("https").port == 9443


@pytest.mark.django_db
def test_a_worker_of_the_same_name_takes_nothing_from_the_node_that_serves():
    listeners.listeners_ensure()
    NodeProcess.objects.create(node=node_name(), pid=1, seen_at=clock.real())
    assert not listeners.listeners_leave()
    assert listeners.listener_get("https").managed
    NodeProcess.objects.update(seen_at=clock.real() - timedelta(seconds=listeners.LIVE_SECONDS + 1))
    assert listeners.listeners_leave()
