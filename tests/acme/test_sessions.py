"""Sessions are kept, lent to one flow at a time, and never shared with a forked child."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certs.acme import sessions
from certs.acme.sessions import Account, session, sessions_forget
from certs.domain.errors import AcmeRefused
from tests.acme.scripted import Scripted, document

DIRECTORY = {
    name: f"https://localhost/{name}" for name in ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(document(DIRECTORY)) as running:
        yield running
        sessions_forget()


@pytest.fixture
def account(server: Scripted) -> Account:
    key = ec.generate_private_key(ec.SECP256R1())
    return Account(
        uid="one",
        directory_url=f"{server.url}/directory",
        url="https://localhost/account/1",
        version="9.9",
        ca_bundle=server.authority.pem,
        allow_private=True,
        key=lambda: key,
    )


def test_a_session_is_used_again_and_the_directory_read_once(server: Scripted, account: Account) -> None:
    with session(account) as first:
        pass
    with session(account) as second:
        assert second is first
        with session(account) as third:
            assert third is not first
    assert len(server.requests) == 1


def test_an_account_found_later_uses_the_session_opened_before(account: Account) -> None:
    with session(replace(account, url="")) as first:
        assert first.net.account is None
    with session(account) as second:
        assert second is first
        assert second.net.account.uri == account.url


def test_no_two_flows_hold_the_same_session(account: Account) -> None:
    held: set[int] = set()
    lock, wrong = threading.Lock(), []

    def flow() -> None:
        for _ in range(20):
            with session(account) as client:
                with lock:
                    if id(client) in held:
                        wrong.append(client)
                    held.add(id(client))
                with lock:
                    held.discard(id(client))

    threads = [threading.Thread(target=flow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_flow_that_failed_does_not_leave_its_session_to_others(account: Account) -> None:
    with pytest.raises(RuntimeError), session(account) as first:
        raise RuntimeError
    with session(account) as second:
        assert second is not first


def test_accounts_do_not_share_sessions(account: Account) -> None:
    with session(account) as first:
        pass
    with session(replace(account, uid="two")) as second:
        assert second is not first


def test_an_old_session_is_not_used_any_more(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "IDLE_SECONDS", -1.0)
    with session(account) as first:
        pass
    with session(account) as second:
        assert second is not first


def test_a_forked_child_opens_its_own(account: Account) -> None:
    with session(account):
        pass
    pid = os.fork()
    if pid == 0:
        os._exit(1 if sessions._idle else 0)
    assert os.waitpid(pid, 0)[1] == 0
    assert sessions._idle


@pytest.mark.parametrize(
    "answer", [{}, {"newNonce": "https://x"}, [], {**DIRECTORY, "newOrder": 3}, {**DIRECTORY, "meta": 5}]
)
def test_what_is_no_directory_is_refused(account: Account, server: Scripted, answer: object) -> None:
    server.answers = [document(answer)]
    with pytest.raises(AcmeRefused, match="directory"), session(account):
        pass
