"""Our own ACME server is strict where it is not told otherwise, and counts what the proofs rest on."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.acme.client import AcmeClient, ExternalAccount
from certs.acme.network import jwk_of
from certs.acme.sessions import Account, session, sessions_forget
from certs.domain.csr import csr_make
from certs.domain.errors import AcmeFailure
from certs.domain.keys import key_generate
from tests.harness.acme_server import AcmeServer, Dated, Fault

NAMES = ["a.test", "b.test"]
HMAC = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")


@pytest.fixture
def ca() -> Iterator[AcmeServer]:
    with AcmeServer() as running:
        yield running
    sessions_forget()


def client_of(ca: AcmeServer, uid: str = "one", **options: Any) -> AcmeClient:
    key = key_generate("ec-p256")
    account = Account(uid, ca.directory_url, "", "1", ca.ca_bundle_pem, allow_private=True, key=lambda: key)
    with session(account) as client:
        client.account_register(email="", terms_agreed=True, **options)
    return client


def ready(client: AcmeClient) -> Any:
    order = client.order_new(NAMES)
    for url in order.authorizations:
        challenge = client.authorization_read(url).challenge("http-01")
        assert challenge is not None
        client.challenge_answer(challenge.url)
    while (order := client.order_read(order.url)).status == "pending":
        pass
    return order


def issued(client: AcmeClient, key: Any = None) -> bytes:
    order = ready(client)
    order = client.order_finalize(order.url, order.finalize, csr_make(key or key_generate("ec-p256"), NAMES))
    return client.certificate_read(order.certificate).default


def refusal(call: Any) -> str:
    with pytest.raises(AcmeFailure) as caught:
        call()
    return caught.value.code.removeprefix("acme-")


def test_a_certificate_holds_the_names_asked_for(ca: AcmeServer) -> None:
    assert issued(client_of(ca)).count(b"BEGIN CERTIFICATE") == 2
    assert (len(ca.orders), len(ca.issued), ca.count("finalize")) == (1, 1, 1)


def test_a_nonce_is_good_once(ca: AcmeServer) -> None:
    client = client_of(ca)
    nonce = ca.nonce()
    client.net._pool.extend([nonce] * 30)
    assert refusal(lambda: [client.order_new(NAMES) for _ in range(3)]) == "badNonce"
    assert len(ca.orders) == 2  # by the nonce that came with the account, and once by this


def test_another_key_cannot_sign_for_the_account(ca: AcmeServer) -> None:
    client = client_of(ca)
    client.net.key = jwk_of(key_generate("ec-p256"))
    assert refusal(lambda: client.order_new(NAMES)) == "malformed"


def test_an_order_is_its_account_s_and_is_issued_only_when_ready_and_for_its_names(ca: AcmeServer) -> None:
    client = client_of(ca)
    order = client.order_new(NAMES)
    assert refusal(lambda: client_of(ca, "two").order_read(order.url)) == "unauthorized"
    csr = csr_make(key_generate("ec-p256"), NAMES)
    assert refusal(lambda: client.order_finalize(order.url, order.finalize, csr)) == "orderNotReady"
    order = ready(client)
    csr = csr_make(key_generate("ec-p256"), ["else.test"])
    assert refusal(lambda: client.order_finalize(order.url, order.finalize, csr)) == "badCSR"
    assert not ca.issued


def test_a_wrong_answer_at_the_name_fails_the_challenge(ca: AcmeServer) -> None:
    from tests.harness.ports import free_port

    ca.http_port = free_port()  # nobody is there
    order = ready(client_of(ca))
    assert order.status == "invalid"


def test_an_external_account_binding_is_wanted_and_used_once() -> None:
    with AcmeServer(eab={"kid": HMAC}) as ca:
        right = ExternalAccount("kid", b"k" * 32)
        assert refusal(lambda: client_of(ca)) == "externalAccountRequired"
        assert refusal(lambda: client_of(ca, "a", eab=ExternalAccount("kid", b"x" * 32))) == "malformed"
        client_of(ca, "b", eab=right)
        assert refusal(lambda: client_of(ca, "c", eab=right)) == "unauthorized"
    sessions_forget()


def test_a_rolled_over_key_signs_from_then_on(ca: AcmeServer) -> None:
    client = client_of(ca)
    old = client.net.key
    client.account_rollover(key_generate("ec-p256"))
    client.order_new(NAMES)
    client.net.key = old
    assert refusal(lambda: client.order_new(NAMES)) == "malformed"


def test_revocation_takes_the_account_or_the_certificate_s_key(ca: AcmeServer) -> None:
    client, key = client_of(ca), key_generate("ec-p256")
    issued(client)
    issued(client, key)
    first, second = (one.public_bytes(Encoding.DER) for one in ca.issued)
    assert refusal(lambda: client_of(ca, "two").certificate_revoke(first)) == "unauthorized"
    assert refusal(lambda: client_of(ca, "two").certificate_revoke(first, key=key)) == "unauthorized"
    client.certificate_revoke(first, 4)
    client.certificate_revoke(second, key=key)
    assert sorted(ca.revoked.values()) == [0, 4]
    assert refusal(lambda: client.certificate_revoke(first)) == "alreadyRevoked"


@pytest.mark.parametrize("said", [30, Dated(30), Dated(30, zone="+0100")])
@pytest.mark.parametrize(("later", "early"), [(28, True), (31, False)])
def test_calls_before_retry_after_are_counted(said: Any, later: float, early: bool) -> None:
    ahead = timedelta(0)
    with AcmeServer(clock=lambda: datetime.now(UTC) + ahead) as ca:
        client = client_of(ca)
        planned = ca.fault("newOrder", Fault.RATE_LIMITED, retry_after=said)
        assert refusal(lambda: client.order_new(NAMES)) == "rateLimited"
        ahead = timedelta(seconds=later)
        client.order_new(["other.test"])  # not what was refused
        client.order_new(NAMES)
        assert planned.used == 1
        assert [call.resource for call in ca.early] == (["newOrder"] if early else [])
    sessions_forget()


def test_faults_begin_and_end_as_they_were_set(ca: AcmeServer) -> None:
    client = client_of(ca)
    ca.fault("newOrder", Fault.UNAVAILABLE, after=1, times=2)
    client.order_new(NAMES)
    assert [refusal(lambda: client.order_new(NAMES)) for _ in range(2)] == ["serverInternal"] * 2
    client.order_new(NAMES)
    ca.fault("*", Fault.UNAVAILABLE, times=None)
    assert refusal(lambda: client.order_new(NAMES)) == "serverInternal"
    ca.heal()
    client.order_new(NAMES)
    assert len(ca.orders) == 3
