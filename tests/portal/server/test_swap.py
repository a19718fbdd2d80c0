"""Following the generation: keep the last good one, say why, try again."""

import logging
import os
import ssl
from itertools import pairwise

import pytest
from django.db import OperationalError

from certs.domain.errors import ServingError
from certs.domain.keys import key_generate
from certs.models import Binding, Certificate, NodeProcess, PrivateKey
from certs.services import serving
from certs.services.bindings import binding_set
from certs.services.certificates import certificate_import
from certs.services.keys import key_import
from certs.services.portal_state import generation_bump, generation_wanted
from portal.server import contexts, swap
from portal.server.swap import Follower
from tests.harness import pki

pytestmark = pytest.mark.django_db


class Moment:
    """Stands in for the time module of swap."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Moment:
    moment = Moment()
    monkeypatch.setattr(swap, "time", moment)
    return moment


@pytest.fixture
def follower(clock: Moment) -> Follower:
    serving.placeholder_ensure()
    return Follower()


def bind(server_name: str) -> Certificate:
    pair = pki.leaf(None, [server_name or "default.test"])
    certificate = certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")
    binding_set(server_name, certificate, actor="test")
    return certificate


def spoil(certificate: Certificate) -> PrivateKey:
    """A key that does not fit; returns the one that does."""
    version = certificate.versions.get()
    good = version.key
    assert good is not None
    version.key = key_import(key_generate("ec-p256"))
    version.save()
    generation_bump()
    return good


def row() -> NodeProcess:
    return NodeProcess.objects.get(pid=os.getpid())


def test_placeholder_is_served_first(follower: Follower) -> None:
    assert follower.context is None
    follower.step()
    assert follower.context is not None
    assert row().generation == generation_wanted()
    assert list(row().fingerprints) == [""]


def test_a_change_is_taken_over_and_nothing_is_built_without_one(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower.step()
    first = follower.context
    follower.step()
    assert follower.context is first
    certificate = bind("")
    follower.step()
    assert follower.context is not first
    assert certificate.current is not None
    assert row().fingerprints == {"": certificate.current.fingerprint_sha256}
    assert row().generation == generation_wanted()


def test_a_bad_pair_changes_nothing_and_is_told(
    follower: Follower, clock: Moment, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = bind("")
    follower.step()
    good, generation = follower.context, generation_wanted()
    key = spoil(certificate)
    bind("other.test")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            clock.now += 0.1
            follower.step()
    assert follower.context is good
    assert row().generation == generation
    assert "does not belong" in row().error
    assert len([record for record in caplog.records if "ALARM" in record.message]) == 1
    # The same generation again: what was wrong may be put right without a change of ours.
    certificate.versions.update(key=key)
    clock.now += 60
    follower.step()
    assert follower.context is not good
    assert (row().generation, row().error) == (generation_wanted(), "")


def test_retries_come_more_and_more_slowly(follower: Follower, clock: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = bind("")
    follower.step()
    spoil(certificate)
    tries: list[float] = []
    material = serving.serving_material
    monkeypatch.setattr(serving, "serving_material", lambda **options: tries.append(clock.now) or material(**options))
    for _ in range(200):
        clock.now += 1
        follower.step()
    gaps = [round(after - before) for before, after in pairwise(tries)]
    assert gaps[:4] == [1, 2, 4, 8]
    assert max(gaps) == 30
    generation_bump()
    clock.now += 1
    follower.step()
    assert tries[-1] == clock.now


def test_a_fresh_process_serves_what_is_good(follower: Follower, clock: Moment) -> None:
    good, bad = bind("good.test"), bind("bad.test")
    key = spoil(bad)
    follower.step()
    assert follower.context is not None
    assert set(row().fingerprints) == {"", "good.test"}
    assert row().generation == 0
    assert "bad.test" in row().error
    bad.versions.update(key=key)
    clock.now += 60
    follower.step()
    assert (row().generation, row().error) == (generation_wanted(), "")
    assert good.current is not None


def test_a_fresh_process_with_a_bad_default_serves_the_placeholder(follower: Follower) -> None:
    spoil(bind(""))
    follower.step()
    placeholder = serving.placeholder_ensure().current
    assert placeholder is not None
    assert row().fingerprints == {"": placeholder.fingerprint_sha256}
    assert row().generation == 0
    assert row().error


@pytest.mark.parametrize("server_name", ["", "a.test"])
def test_a_fresh_process_does_without_what_openssl_refuses(
    follower: Follower, server_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was good enough once may be too weak for the OpenSSL of today."""
    refused = bind(server_name).versions.get().fingerprint_sha256
    make = contexts.context_make

    def strict(pair: serving.BoundPair) -> ssl.SSLContext:
        if pair.fingerprint == refused:
            raise ServingError("key too small")
        return make(pair)

    for module in (contexts, swap):
        monkeypatch.setattr(module, "context_make", strict)
    follower.step()
    assert follower.context is not None
    assert list(row().fingerprints) == [""]
    assert row().fingerprints[""] != refused
    assert (row().generation, row().error) == (0, "key too small")


def test_an_unreachable_database_changes_nothing(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follower.step()
    good = follower.context

    def away() -> int:
        raise OperationalError("no such host")

    monkeypatch.setattr(swap.connection, "close", lambda: None)
    with monkeypatch.context() as broken, caplog.at_level(logging.INFO):
        broken.setattr(swap, "generation_wanted", away)
        for _ in range(3):
            follower._step_guarded()
    assert follower.context is good
    assert len([record for record in caplog.records if "cannot be reached" in record.message]) == 1
    with caplog.at_level(logging.INFO):
        follower._step_guarded()
    assert "The database is back." in caplog.text


def test_it_is_made_before_the_fork_and_has_no_thread_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 refuses to start, in a child, a thread that its parent has made: no process would serve."""
    made: list[str] = []
    monkeypatch.setattr("portal.server.swap.threading.Thread", lambda **options: made.append(options["name"]))
    Follower()
    assert made == []


def test_a_surprise_does_not_end_the_thread(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    follower.step()
    good = follower.context
    monkeypatch.setattr(swap.connection, "close", lambda: None)
    with monkeypatch.context() as broken:
        broken.setattr(swap, "generation_wanted", lambda: 1 // 0)
        follower._step_guarded()
    assert follower.context is good


def test_an_unchanged_process_writes_seldom(
    follower: Follower, clock: Moment, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    follower.step()
    with django_assert_num_queries(3):  # type: ignore[operator]  # a callable fixture
        for _ in range(3):
            clock.now += 1
            follower.step()
    with django_assert_num_queries(2):  # type: ignore[operator]  # a callable fixture
        clock.now += 2
        follower.step()


def test_a_lost_row_is_written_again(follower: Follower, clock: Moment) -> None:
    follower.step()
    serving.process_gone(os.getpid())
    clock.now += 10
    follower.step()
    assert row().generation == generation_wanted()


def test_unbinding_returns_to_the_placeholder(follower: Follower) -> None:
    bind("")
    follower.step()
    Binding.objects.all().delete()
    generation_bump()
    follower.step()
    placeholder = serving.placeholder_ensure().current
    assert placeholder is not None
    assert row().fingerprints == {"": placeholder.fingerprint_sha256}
