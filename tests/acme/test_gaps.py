"""What acme 5.9.0 lacks, row by row of the design's table: the library fails where ours does not.

Where a row is a matter of the engine, or is proven elsewhere at length, `ELSEWHERE` names those tests. Each part that
shows the library's own failure tells, on the day a new release mends it, that our override may go.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from acme import challenges, client, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import DeserializationError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from certs.acme.network import BAD_NONCE_RETRIES, Network
from certs.acme.problems import Problem, failure, retry_after
from certs.domain.errors import AcmeRefused, AcmeRetry
from certs.domain.names import names_parse
from tests.acme.scripted import Answer, Scripted, document, problem
from tests.acme.test_client import authorization, order, sent, talking
from tests.harness import pki

OK = document({"ok": True})
ELSEWHERE: dict[int, tuple[str, ...]] = {
    1: (
        "tests.acme.test_network:test_nonces_are_used_first_in_first_out_and_once_each",
        "tests.e2e.test_issue_pebble:test_all_succeed_however_often_the_ca_rejects_nonces",
    ),
    6: (
        "tests.services.test_orders:test_a_validation_that_takes_long_gives_its_place_to_others",
        "tests.services.test_orders:test_the_other_names_of_a_failed_order_are_given_up",
        "tests.acme.test_problems:test_polls_wait_as_asked_but_between_one_second_and_one_minute",
    ),
    7: (
        "tests.services.test_orders:test_a_request_that_failed_for_now_is_made_again_and_nothing_is_issued_twice",
        "tests.e2e.test_kill:test_a_worker_killed_at_any_step_costs_nothing_but_time",
    ),
    9: (
        "tests.domain.test_ari:test_the_time_is_chosen_again_only_when_the_window_has_changed",
        "tests.domain.test_pem:test_the_renewal_id_is_the_one_of_the_standard",
    ),
    10: (
        "tests.acme.test_client:test_a_change_of_key_is_signed_by_both",
        "tests.e2e.test_accounts_pebble:test_a_change_of_key_survives_a_kill_at_each_step",
    ),
    11: (
        "tests.acme.test_sessions:test_no_two_flows_hold_the_same_session",
        "tests.acme.test_sessions:test_a_forked_child_opens_its_own",
    ),
}


@pytest.mark.parametrize("name", [name for names in ELSEWHERE.values() for name in names])
def test_what_is_proven_elsewhere_is_there(name: str) -> None:
    module, _, function = name.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_row_has_its_test() -> None:
    here = {int(name.split("_")[2]) for name in globals() if name.startswith("test_row_")}
    assert here | set(ELSEWHERE) == set(range(1, 15))


@contextmanager
def both(folder: Path, *answers: Answer | None) -> Iterator[Callable[[type[client.ClientNetwork]], Any]]:
    """Posts once, by ours or by the library's own network, each to a server of its own with the same answers."""

    def post(kind: type[client.ClientNetwork]) -> Any:
        with Scripted(*answers) as server:
            key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
            if kind is Network:
                pem = server.authority.pem
                network: Any = Network(key, label="Our CA", version="9", ca_bundle=pem, allow_private=True)
            else:
                (folder / "root.pem").write_text(server.authority.pem)
                network = kind(key, alg=ES256, verify_ssl=str(folder / "root.pem"))  # type: ignore[arg-type]
            try:
                return network.post(f"{server.url}/x", None, new_nonce_url=f"{server.url}/nonce").json()
            finally:
                network.session.close()

    yield post


def test_row_1_a_nonce_refused_more_than_once(tmp_path: Path) -> None:
    refusals = [problem("badNonce", **{"Replay-Nonce": f"bbb{chr(65 + n)}"}) for n in range(BAD_NONCE_RETRIES)]
    with both(tmp_path, *refusals, OK) as post:
        assert post(Network) == {"ok": True}
        with pytest.raises(messages.Error, match="badNonce"):
            post(client.ClientNetwork)


@pytest.mark.parametrize("status", [429, 503])
def test_row_2_when_to_come_back_after_too_many_requests(tmp_path: Path, status: int) -> None:
    with both(tmp_path, problem("rateLimited", status, **{"Retry-After": "3600"})) as post:
        with pytest.raises(AcmeRetry) as ours:
            post(Network)
        assert ours.value.retry_at is not None
        assert ours.value.retry_at > datetime.now(UTC) + timedelta(minutes=59)
        with pytest.raises(messages.Error) as theirs:
            post(client.ClientNetwork)
        assert "3600" not in repr(vars(theirs.value))


def test_row_2_why_a_conflict_is_one(tmp_path: Path) -> None:
    with both(tmp_path, problem("alreadyReplaced", 409)) as post:
        with pytest.raises(AcmeRefused) as ours:
            post(Network)
        assert (ours.value.code, ours.value.problem["status"]) == ("acme-alreadyReplaced", 409)
        with pytest.raises(errors.ConflictError) as theirs:
            post(client.ClientNetwork)
        assert "alreadyReplaced" not in repr(vars(theirs.value))


def test_row_3_problems_newer_than_the_code() -> None:
    prefix = "urn:ietf:params:acme:error:"
    said = {"type": f"{prefix}invalidWeather", "detail": "It rains.", "instance": "https://ca/terms/2", "more": [1]}
    ours = failure(Problem.from_document(said), "Our CA")
    assert ours.code == "acme-invalidWeather"
    assert ours.problem == said
    assert messages.Error.from_json(said).code is None
    sub = {"type": f"{prefix}dns", "detail": "No.", "identifier": {"type": "tn-auth", "value": "x"}}
    assert Problem.from_document({**said, "subproblems": [sub]}).subproblems[0].identifier == "x"
    with pytest.raises(DeserializationError):
        messages.Error.from_json({**said, "subproblems": [sub]})


def test_row_4_authorizations_that_expired() -> None:
    said = {"status": "expired", "identifier": {"type": "dns", "value": "a.example"}, "challenges": []}
    assert str(messages.Authorization.from_json(said).status.name) == "expired"
    alone = f"from acme import messages; messages.Authorization.from_json({said!r})"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=False)
    assert "DeserializationError" in done.stderr


def test_row_5_what_a_new_order_can_say() -> None:
    when = datetime(2026, 12, 1, tzinfo=UTC)
    with talking(order(), renewalInfo="https://ca/ari") as (made, server):
        made.order_new(["a.example"], replaces="id.1", profile="short", not_before=when, not_after=when)
        said = sent(server)[1]
    assert (said["replaces"], said["profile"]) == ("id.1", "short")
    assert said["notBefore"] == said["notAfter"] == "2026-12-01T00:00:00Z"
    assert {"replaces", "notBefore", "notAfter"}.isdisjoint(messages.NewOrder._fields)  # type: ignore[attr-defined]


def test_row_5_a_ca_without_renewal_information_is_not_told_of_it() -> None:
    with talking(order()) as (made, server):
        made.order_new(["a.example"], replaces="id.1")
        assert "replaces" not in sent(server)[1]


def test_row_5_names_that_the_ca_put_in_place_of_ours() -> None:
    other = [{"type": "dns", "value": "evil.example"}]
    with talking(order(identifiers=other)) as (made, _), pytest.raises(AcmeRefused, match=r"evil\.example"):
        made.order_new(["a.example"])


def test_row_8_dates_in_other_zones() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    header = "Sat, 21 Nov 2026 14:00:00 +0100"
    assert retry_after(header, now) == datetime(2026, 11, 21, 13, tzinfo=UTC)
    theirs = client.ClientV2.retry_after(SimpleNamespace(headers={"Retry-After": header}), default=5)  # type: ignore[arg-type]
    assert theirs.tzinfo is None
    assert theirs.year == 2017


def test_row_9_the_time_to_renew_is_another_at_each_call() -> None:
    """Ours is chosen once and stored: tests.domain.test_ari."""
    window = {"suggestedWindow": {"start": "2026-12-01T00:00:00Z", "end": "2026-12-20T00:00:00Z"}}
    net = SimpleNamespace(get=lambda *_, **__: SimpleNamespace(json=lambda: window, headers={}))
    library = client.ClientV2(messages.Directory({"renewalInfo": "https://ca/ari"}), net)  # type: ignore[arg-type]

    pem = pki.leaf(pki.authority(), ["a.example"]).pem.encode()
    assert len({library.renewal_time(pem)[0] for _ in range(8)}) > 1


def test_row_10_a_change_of_key() -> None:
    assert not [name for name in dir(client.ClientV2) if "key" in name.lower() and "change" in name.lower()]
    with talking(OK) as (made, server):
        made.account_rollover(ec.generate_private_key(ec.SECP256R1()))
        assert server.posts() == ["/keyChange"]


@pytest.mark.parametrize("kind", ["dns-account-01", "dns-persist-01", "tls-alpn-02"])
def test_row_12_challenges_that_the_library_does_not_know(kind: str) -> None:
    said = {"type": kind, "url": "https://ca/c", "token": "t", "issuer-domain-names": ["ca.example"]}
    with talking(authorization(said)) as (made, server):
        view = made.authorization_read(f"{server.url}/authz")
    found = view.challenge(kind)
    assert found is not None
    assert found.issuers == ("ca.example",)
    assert kind not in challenges.Challenge.TYPES


def test_row_12_an_answered_challenge_needs_no_link_up() -> None:
    said = {"type": "http-01", "url": "https://ca/c", "token": "A" * 22, "status": "processing"}
    with talking(document(said)) as (made, server):
        made.challenge_answer(f"{server.url}/c")
        assert sent(server)[1] == {}
        body = messages.ChallengeBody.from_json({**said, "url": f"{server.url}/c"})
        response = challenges.HTTP01Response()
        with pytest.raises((errors.ClientError, KeyError)):
            client.ClientV2.answer_challenge(made, body, response)


def test_row_13_connections_that_are_lost(tmp_path: Path) -> None:
    with both(tmp_path, None, None, OK) as post:
        assert post(Network) == {"ok": True}
        with pytest.raises(Exception, match=r"[Cc]onnection|aborted"):
            post(client.ClientNetwork)


def test_row_14_names_as_a_ca_wants_them() -> None:
    assert names_parse("B.example, a.EXAMPLE., bücher.example,a.example") == [
        "a.example",
        "b.example",
        "xn--bcher-kva.example",
    ]
    answered = [{"type": "ip", "value": "2001:db8::1"}, {"type": "dns", "value": "a.example"}]
    with talking(order(identifiers=answered)) as (made, server):
        made.order_new(["a.example", "2001:0DB8::0001"])
        asked = sent(server)[1]["identifiers"]
    assert asked == [{"type": "dns", "value": "a.example"}, {"type": "ip", "value": "2001:db8::1"}]
