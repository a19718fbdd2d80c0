"""Nonces, lost connections and strange answers: the transport below the client."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from certs.acme.network import BAD_NONCE_RETRIES, LOST_CONNECTION_RETRIES, NO_ANSWER, PROXY, UNTRUSTED, Network
from certs.domain.errors import AcmeRefused, AcmeRetry, InputError
from certs.transports.connections import trust_context
from tests.acme.scripted import Answer, Scripted, document, problem
from tests.harness.ports import free_port
from tests.harness.raw import serving

OK = document({"ok": True})


@contextmanager
def network(*answers: Answer | None, trusted: bool = True, **options: object) -> Iterator[tuple[Network, Scripted]]:
    with Scripted(*answers) as server:
        made = Network(
            JWKEC(key=ec.generate_private_key(ec.SECP256R1())),
            label="Our CA",
            version="9.9",
            ca_bundle=server.authority.pem if trusted else "",
            **{"allow_private": True, **options},  # type: ignore[arg-type]
        )
        try:
            yield made, server
        finally:
            made.close()


def post(made: Network, server: Scripted) -> object:
    return made.post(f"{server.url}/resource", None, new_nonce_url=f"{server.url}/nonce").json()


def test_nonces_are_used_first_in_first_out_and_once_each() -> None:
    answers = [document({}, **{"Replay-Nonce": f"aaa{number}"}) for number in range(4)]
    with network(*answers) as (made, server):
        for _ in range(4):
            post(made, server)
    assert server.nonces == ["n001", "aaa0", "aaa1", "aaa2"]


def test_the_nonce_of_an_error_is_kept() -> None:
    with network(problem("malformed", **{"Replay-Nonce": "from-error-x"}), OK) as (made, server):
        with pytest.raises(AcmeRefused, match="this is malformed"):
            post(made, server)
        post(made, server)
    assert server.nonces == ["n001", "from-error-x"]


def test_a_rejected_nonce_is_replaced_up_to_ten_times() -> None:
    refusals = [problem("badNonce", **{"Replay-Nonce": f"bbb{chr(65 + n)}"}) for n in range(BAD_NONCE_RETRIES)]
    with network(*refusals, OK) as (made, server):
        assert post(made, server) == {"ok": True}
    assert server.nonces == ["n001", *(f"bbb{chr(65 + n)}" for n in range(BAD_NONCE_RETRIES))]


def test_after_that_it_is_tried_again_later() -> None:
    with network(problem("badNonce")) as (made, server), pytest.raises(AcmeRetry, match="this is badNonce"):
        post(made, server)
    assert len(server.nonces) == BAD_NONCE_RETRIES + 1


@pytest.mark.parametrize("strange", ["no/nonce==", "abcde", "abcé", "AAB"])
def test_a_nonce_that_is_none_is_not_sent_back(strange: str) -> None:
    with network(document({}, **{"Replay-Nonce": strange}), OK) as (made, server):
        post(made, server)
        post(made, server)
    assert server.nonces == ["n001", "n002"]


def test_a_lost_post_is_signed_again_with_a_new_nonce() -> None:
    with network(None, None, OK) as (made, server):
        assert post(made, server) == {"ok": True}
    assert len(set(server.nonces)) == 3


def test_posts_are_lost_three_times_at_most() -> None:
    with network(None) as (made, server), pytest.raises(AcmeRetry, match="Our CA gave no answer") as caught:
        post(made, server)
    assert caught.value.code == NO_ANSWER  # each may have been carried out
    assert len(server.posts()) == LOST_CONNECTION_RETRIES + 1


def test_what_a_proxy_keeps_back_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the order would wait for an answer to what the CA never heard of."""
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with serving(refusal) as proxy, network(OK) as (made, server):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:s3cret@"))
        with pytest.raises(AcmeRetry, match=rf"127\.0\.0\.1:{proxy.port} \(HTTPS_PROXY\) refuses the way") as caught:
            post(made, server)
        assert len(proxy.requests) == 1  # it would not say otherwise a moment later
        assert not server.requests
    assert caught.value.code == PROXY
    assert "s3cret" not in str(caught.value)


def test_what_was_sent_once_stays_so_when_the_proxy_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost after the POST, and then nobody can be asked any more."""
    with network(None) as (made, server):
        origin = server.url
        send = made._post_once

        def once(*args: Any, **options: Any) -> Any:
            try:
                return send(*args, **options)
            finally:
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
                made._proxies.clear()

        monkeypatch.setattr(made, "_post_once", once)
        with pytest.raises(AcmeRetry, match="proxy") as caught:
            post(made, server)
        assert origin
    assert caught.value.code == NO_ANSWER


def test_hosts_that_need_no_proxy_are_told_by_their_port_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with network(OK) as (made, server):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("NO_PROXY", server.url.removeprefix("https://"))
        assert post(made, server) == {"ok": True}
        with pytest.raises(AcmeRetry, match="proxy"):
            made.get("https://127.0.0.1:9/directory")


def test_a_lost_get_is_asked_again() -> None:
    with network(None, OK) as (made, server):
        assert made.get(f"{server.url}/directory").json() == {"ok": True}


@pytest.mark.parametrize("status", [429, 503])
def test_too_many_requests_keep_their_problem_and_retry_after(status: int) -> None:
    with (
        network(problem("rateLimited", status, **{"Retry-After": "3600"})) as (made, server),
        pytest.raises(AcmeRetry) as caught,
    ):
        post(made, server)
    wait = caught.value.retry_at - datetime.now(UTC) if caught.value.retry_at else timedelta(0)
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)
    assert caught.value.code == "acme-rateLimited"
    assert caught.value.problem["detail"] == "this is rateLimited"


def test_a_conflict_keeps_its_problem() -> None:
    with (
        network(problem("alreadyReplaced", 409, Location="https://elsewhere.example/")) as (made, server),
        pytest.raises(AcmeRefused) as caught,
    ):
        post(made, server)
    assert caught.value.code == "acme-alreadyReplaced"
    assert caught.value.problem["status"] == 409


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"), AcmeRetry),
        ((404, {"Content-Type": "text/html"}, b"\xff\xfe"), AcmeRefused),
        ((200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), AcmeRetry),  # maintenance goes by
        ((200, {}, b""), AcmeRetry),
    ],
)
def test_what_is_no_json_is_survived(answer: Answer, kind: type[Exception]) -> None:
    with network(answer) as (made, server), pytest.raises(kind, match="Our CA"):
        made.get(f"{server.url}/directory")


def test_a_redirect_is_named_and_not_followed() -> None:
    with (
        network((302, {"Location": "https://internal.example/"}, b"")) as (made, server),
        pytest.raises(AcmeRefused, match=r"internal\.example"),
    ):
        made.get(f"{server.url}/directory")
    assert len(server.requests) == 1


def test_an_untrusted_certificate_says_so_and_is_not_asked_again() -> None:
    with network(OK, trusted=False) as (made, server), pytest.raises(AcmeRefused, match="not trusted here") as caught:
        post(made, server)
    assert "CA bundle" in caught.value.advice
    assert caught.value.code == UNTRUSTED
    assert not server.requests


def test_the_system_roots_stay_beside_a_bundle() -> None:
    with Scripted(OK) as server:
        own = trust_context(server.authority.pem).cert_store_stats()["x509_ca"]
        assert own == trust_context("").cert_store_stats()["x509_ca"] + 1


@pytest.mark.parametrize("bundle", ["not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é"])
def test_a_bundle_that_cannot_be_read_is_refused(bundle: str) -> None:
    with pytest.raises(InputError, match="CA bundle"):
        trust_context(bundle)


def test_we_say_who_we_are() -> None:
    with network(OK) as (made, server):
        post(made, server)
    assert all(headers["User-Agent"].startswith("Bindery/9.9 ") for _, _, headers in server.requests)


def test_a_private_address_named_by_the_ca_is_not_asked() -> None:
    with (
        network(OK, allow_private=False) as (made, server),
        pytest.raises(InputError, match="not on the Internet"),
    ):
        post(made, server)
    assert not server.requests


def test_a_machine_that_nobody_listens_on_is_named_as_unreachable() -> None:
    with network(OK) as (made, server):
        url = server.url
    with pytest.raises(AcmeRetry, match=r"cannot be reached: .*refused"):
        made.get(f"{url}/directory")


def test_a_host_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with network(OK) as (made, _), pytest.raises(AcmeRetry, match=r"ca\.example") as caught:
        made.get("https://ca.example/directory")
    assert caught.value.code == "acme-host"


def test_a_kept_connection_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = socket.getaddrinfo, []

    def counted(host: str, *args: object, **options: object) -> object:
        asked.append(host)
        return real(host, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    with network(OK) as (made, server):
        for _ in range(3):
            made.get(f"{server.url}/directory")
    assert asked == ["localhost"]


def test_an_answer_without_measure_is_refused() -> None:
    with network(document({"padding": "x" * (1 << 20)})) as (made, server), pytest.raises(AcmeRetry, match="more than"):
        made.get(f"{server.url}/directory")


def test_an_authorization_may_be_expired() -> None:
    body = messages.Authorization.from_json(
        {"status": "expired", "identifier": {"type": "dns", "value": "a.example"}, "challenges": []}
    )
    assert str(body.status.name) == "expired"
