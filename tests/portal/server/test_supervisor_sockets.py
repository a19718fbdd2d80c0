"""The listening sockets: what is refused, what is shared, and that nothing accepted is ever dropped."""

import socket
import threading

import pytest

from certs.domain.errors import ConflictError, InputError
from portal.server.sockets import sockets_close, sockets_drain, sockets_open
from tests.harness.ports import free_port

pytestmark = pytest.mark.django_db  # a refusal looks for the portal's own listeners


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def opened():
    kept = []
    yield kept
    sockets_close(kept)


def connects(address, port):
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def test_both_families_listen_on_one_port(port, opened):
    opened += sockets_open(["0.0.0.0", "::"], port, "http")
    assert connects("127.0.0.1", port)
    assert connects("::1", port)
    assert [bound.address for bound in opened] == ["0.0.0.0", "::"]


def test_a_machine_without_ipv6_is_served_on_ipv4_quietly(port, opened, monkeypatch):
    real = socket.socket

    def without_ipv6(family=socket.AF_INET, *arguments, **options):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    opened += sockets_open(["0.0.0.0", "::"], port, "http")
    assert [bound.address for bound in opened] == ["0.0.0.0"]


def test_a_stranger_s_port_is_refused_even_when_he_would_share_it(port, opened):
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(ConflictError) as refused:
            opened += sockets_open(["0.0.0.0"], port, "https")
    assert f"Port {port} is taken" in refused.value.message


def test_all_or_none(port):
    with socket.create_server(("::1", port), family=socket.AF_INET6), pytest.raises(ConflictError):
        sockets_open(["127.0.0.1", "::1"], port, "https")
    assert not connects("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused(port):
    with pytest.raises(InputError):
        sockets_open(["203.0.113.5"], port, "https")


def test_a_port_left_in_time_wait_is_taken_at_once(port, opened):
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps TIME_WAIT
        client.close()
    opened += sockets_open(["127.0.0.1"], port, "https")


def test_a_specific_address_may_be_opened_beside_our_own_wildcard(port, opened):
    opened += sockets_open(["0.0.0.0"], port, "https")
    opened += sockets_open(["127.0.0.1"], port, "https", ours=opened)
    assert len(opened) == 2


def serve(bound, stop, served):
    """Accept and answer, as an arbiter's worker would."""
    bound.sock.settimeout(0.05)
    while not stop.is_set():
        try:
            connection, _ = bound.sock.accept()
        except OSError:
            continue
        with connection:
            connection.setblocking(True)
            if connection.recv(16):
                connection.sendall(b"served")
                served.append(bound)


def test_giving_up_a_specific_address_drops_nobody_while_the_wildcard_covers_it(port, opened):
    """The return from 127.0.0.1 to 0.0.0.0: a queued connection would be reset without draining."""
    (wide,) = opened[:] = sockets_open(["0.0.0.0"], port, "https")
    served, failures, done = [], [], threading.Event()
    stop_wide = threading.Event()
    server = threading.Thread(target=serve, args=(wide, stop_wide, served))

    def client():
        while not done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as connection:
                    connection.sendall(b"hello")
                    if connection.recv(16) != b"served":
                        failures.append("cut")
            except OSError as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in [server, *clients]:
        thread.start()
    for _ in range(5):
        (narrow,) = sockets_open(["127.0.0.1"], port, "https", ours=[wide])
        stop = threading.Event()
        worker = threading.Thread(target=serve, args=(narrow, stop, served))
        worker.start()
        done.wait(0.2)
        sockets_drain([narrow])
        stop.set()
        worker.join()
        sockets_close([narrow])
    done.set()
    # A client whose SYN was dropped is still knocking: the server stays until the last has been answered.
    for thread in clients:
        thread.join()
    stop_wide.set()
    server.join()
    assert failures == []
    assert len(served) > 20
