"""What the TLS challenge says of what it sees."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import create_server

import pytest

from certs.domain.alpn import challenge_certificate
from certs.domain.keys import Key, key_generate, key_to_pem
from certs.domain.pem import certificate_pem
from certs.services.challenges import solver_make
from certs.solvers.base import Evidence, Site, Task
from certs.solvers.tlsalpn01 import TlsAlpn01
from tests.harness import pki
from tests.harness.ports import free_port

TASK = Task("localhost", "tok-en", "tok-en.thumbprint", type="tls-alpn-01")


@contextmanager
def serving(tmp_path: Path, leaf_pem: str, key_pem: str, *protocols: str) -> Iterator[int]:
    """One TLS server for one handshake after another; the port it listens on."""
    (tmp_path / "chain").write_text(leaf_pem)
    (tmp_path / "key").write_text(key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    context.set_alpn_protocols(list(protocols))
    with create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    raw, _ = listener.accept()
                    with raw, suppress(OSError), context.wrap_socket(raw, server_side=True) as secured:
                        secured.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(2)
            thread.join()


def look(port: int, *, allow_private: bool = True) -> Evidence:
    solver = TlsAlpn01(site=Site(allow_private=lambda: allow_private))
    return solver.look(Task(TASK.name, TASK.token, TASK.key_authorization, f"localhost:{port}"))


def answer(key: Key, authorization: str = TASK.key_authorization) -> str:
    return certificate_pem(challenge_certificate("localhost", authorization, key, now=datetime.now(UTC)))


def test_the_right_answer_is_known(tmp_path: Path) -> None:
    key = key_generate("ec-p256")
    with serving(tmp_path, answer(key), key_to_pem(key).decode(), "acme-tls/1") as port:
        seen = look(port)
    assert seen.right
    assert "the right digest" in seen.seen
    assert seen.url == f"tls://localhost:{port}"
    assert seen.curl.startswith(f"openssl s_client -connect localhost:{port} -servername localhost -alpn acme-tls/1")


@pytest.mark.parametrize(
    ("protocols", "authorization", "words"),
    [
        (("acme-tls/1",), "tok-en.another", "digest of another challenge"),
        (("http/1.1",), TASK.key_authorization, "does not speak acme-tls/1"),
        (("acme-tls/1",), "", "without the digest"),
    ],
)
def test_a_wrong_answer_is_described(
    tmp_path: Path, protocols: tuple[str, ...], authorization: str, words: str
) -> None:
    key = key_generate("ec-p256")
    other = pki.leaf(None, ["localhost"])
    leaf, key_pem = (
        (answer(key, authorization), key_to_pem(key).decode()) if authorization else (other.pem, other.key_pem)
    )
    with serving(tmp_path, leaf, key_pem, *protocols) as port:
        seen = look(port)
    assert not seen.right
    assert words in seen.seen


def test_nobody_there_is_described() -> None:
    assert "no answer" in look(free_port()).seen
    nowhere = TlsAlpn01().look(Task("nowhere.invalid", "t", "t.x", "nowhere.invalid:5001"))
    assert "cannot find the name" in nowhere.seen


def test_of_a_private_address_only_our_own_answer_is_told(tmp_path: Path) -> None:
    """A CA names the port, and a name may lead anywhere: nothing is found out about what listens inside."""
    key, other = key_generate("ec-p256"), pki.leaf(None, ["localhost"])
    with serving(tmp_path, answer(key), key_to_pem(key).decode(), "acme-tls/1") as port:
        assert look(port, allow_private=False).right
    with serving(tmp_path, other.pem, other.key_pem, "http/1.1") as port:
        told = {look(each, allow_private=False).seen for each in (port, free_port())}
    assert len(told) == 1
    assert "which is not on the Internet" in told.pop()


@pytest.mark.parametrize(
    ("name", "asked", "place"),
    [
        ("a.example.com", "", "a.example.com:443"),
        ("a.example.com", "192.0.2.7:5001", "a.example.com:5001"),
        ("a.example.com", "a.example.com:99999", "a.example.com:443"),
        ("2001:db8::7", "[2001:db8::7]:5001", "[2001:db8::7]:5001"),
        ("2001:db8::7", "nonsense[", "[2001:db8::7]:443"),
    ],
)
def test_it_looks_where_the_ca_looked(name: str, asked: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.solvers.tlsalpn01._seen", lambda *_: "nothing")
    assert TlsAlpn01().look(Task(name, "t", "t.x", asked)).url == f"tls://{place}"


@pytest.mark.django_db
def test_any_node_answers_so_there_is_nothing_to_put_or_take() -> None:
    solver = solver_make("tlsalpn01")
    assert solver.by_portal
    assert solver.addresses
    assert not solver.wildcards
    assert solver.present(TASK) == {}
    solver.clean(TASK, {})
