"""The test of a method really puts something in place, looks at it, and leaves nothing behind, whatever happens."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ
from pytest_django import Settings

from certs.domain.errors import ConflictError, InputError, NameRefused
from certs.models import AuditEvent, ChallengeMethod, JobEvent
from certs.services import method_tests
from certs.services.method_tests import method_test_begin, method_test_run, method_tests_sweep
from certs.services.methods import method_create, method_delete, method_update
from certs.tasks import run_method_test
from tests.harness.need import need
from tests.harness.ports import LOOPBACK
from tests.harness.powerdns import API_KEY, PowerDns

pytestmark = pytest.mark.django_db


@pytest.fixture
def web(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), partial(Quiet, directory=str(tmp_path / "served")))
    (tmp_path / "served").mkdir()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    settings.PROBE_PORT = server.server_address[1]
    settings.ALLOW_PRIVATE_CA = True  # else no loopback address is asked for anything
    settings.ALLOW_PRIVATE_CA = True
    yield tmp_path / "served"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def powerdns() -> Iterator[PowerDns]:
    need("powerdns")
    with PowerDns() as server:
        yield server


def webroot(root: Path) -> ChallengeMethod:
    return method_create(kind="http01_webroot", name="Web", given={"webroot": str(root)}, actor="test")


def dns(server: PowerDns, **given: Any) -> ChallengeMethod:
    given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": server.api, **given}
    return method_create(kind="dns01_provider", name="DNS", given=given, actor="test")


def test_a_webroot_that_is_served_passes_and_is_clean_again(web: Path) -> None:
    method = webroot(web)
    job = method_test_begin(method, "localhost", actor="test")
    assert OrmQ.objects.count() == 1
    run_method_test(str(method.pk))
    method.refresh_from_db()
    assert method.test_ok, method.test_words
    assert method.tested_at is not None
    assert method.trial == {}
    assert not list(web.iterdir())
    lines = list(JobEvent.objects.filter(job=job).values_list("message", flat=True))
    assert lines[0] == "Testing Web (HTTP (webroot)) with localhost."
    assert any("The right answer is seen" in line and "curl -i http://localhost:" in line for line in lines)
    assert lines[-1].startswith("It works")
    assert AuditEvent.objects.filter(action="challenge-method.test").exists()


def test_a_webroot_that_is_not_the_served_one_fails_with_what_is_seen(web: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    method = webroot(other)
    method_test_begin(method, "localhost", actor="test")
    result = method_test_run(method.pk)
    assert result is not None
    assert not result.ok
    assert "HTTP 404" in result.words
    assert not list(other.iterdir())


def test_a_credential_is_proven_at_the_provider(powerdns: PowerDns, settings: Settings) -> None:
    settings.DNS_AUTHORITIES = [powerdns.address]
    method = dns(powerdns)
    said: list[str] = []
    method_test_begin(method, "*.One.test", actor="test", queue=False)
    result = method_test_run(method.pk, say=said.append)
    assert result is not None
    assert result.ok, result
    assert any("dig @" in line and "The right answer is seen" in line for line in said)
    assert powerdns.values("_acme-challenge.one.test") == set()
    assert not OrmQ.objects.exists()


def test_a_wrong_credential_is_found_and_not_told(powerdns: PowerDns, settings: Settings) -> None:
    settings.DNS_AUTHORITIES = [powerdns.address]
    method = dns(powerdns, auth_token="wrong-token-123")
    method_test_begin(method, "one.test", actor="test")
    result = method_test_run(method.pk)
    assert result is not None
    assert "refuses these credentials" in result.words
    assert "wrong-token-123" not in "".join(JobEvent.objects.values_list("message", flat=True)) + result.words


def test_a_record_that_never_shows_is_given_up_and_taken_away(
    powerdns: PowerDns, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal looks at servers that the provider does not serve."""
    with PowerDns() as elsewhere:
        settings.DNS_AUTHORITIES = [elsewhere.address]
        monkeypatch.setattr(method_tests, "WAIT_SECONDS", 0.5)
        method = dns(powerdns)
        method_test_begin(method, "one.test", actor="test")
        result = method_test_run(method.pk)
    assert result is not None
    assert "Not seen within 0.5 s" in result.words
    assert powerdns.values("_acme-challenge.one.test") == set()


@pytest.mark.parametrize("kind", ["http01", "dns01_manual"])
def test_what_puts_nothing_in_place_has_no_test(kind: str) -> None:
    method = method_create(kind=kind, name="x", given={}, actor="test")
    with pytest.raises(InputError, match="nothing in place"):
        method_test_begin(method, "a.example", actor="test")


@pytest.mark.parametrize("name", ["", "a b", "*.example.com", "http://x/"])
def test_a_name_that_cannot_be_tested_begins_nothing(tmp_path: Path, name: str) -> None:
    method = webroot(tmp_path)
    with pytest.raises(NameRefused):
        method_test_begin(method, name, actor="test")
    method.refresh_from_db()
    assert method.trial == {}


def test_there_is_one_test_at_a_time_and_it_runs_once(web: Path) -> None:
    method = webroot(web)
    method_test_begin(method, "localhost", actor="test")
    with pytest.raises(ConflictError, match="under way"):
        method_test_begin(method, "localhost", actor="test")
    assert method_test_run(method.pk) is not None
    assert method_test_run(method.pk) is None
    method_test_begin(method, "localhost", actor="test")


def test_what_a_crash_left_is_taken_away_by_the_sweeper(
    web: Path, monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]
) -> None:
    method = webroot(web)
    method_test_begin(method, "localhost", actor="test")

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(method_tests, "_await", killed)
    with pytest.raises(SystemExit):
        method_test_run(method.pk)
    assert list(web.rglob("acme-challenge/*"))
    assert method_test_run(method.pk) is None, "a task that comes twice tests once"
    assert method_tests_sweep() == 0, "not yet: somebody may be at it"
    move_clock(700)
    assert method_tests_sweep() == 1
    assert not list(web.iterdir())
    method.refresh_from_db()
    assert (method.trial, method.trial_at, method.test_ok) == ({}, None, False)
    method_delete(method, actor="test")


def test_one_that_was_never_begun_is_let_go(tmp_path: Path, move_clock: Callable[[float], None]) -> None:
    method = webroot(tmp_path)
    method_test_begin(method, "localhost", actor="test")
    move_clock(700)
    assert method_tests_sweep() == 1
    method_test_begin(method, "localhost", actor="test")


def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from certs.solvers.http01_webroot import Http01Webroot

    def fail(*_: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(Http01Webroot, "clean", fail)


def test_an_answer_that_cannot_be_taken_away_is_tried_again(
    web: Path, monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]
) -> None:
    method = webroot(web)
    method_test_begin(method, "localhost", actor="test")
    with monkeypatch.context() as broken:
        _broken(broken)
        result = method_test_run(method.pk)
        assert result is not None
        assert not result.ok
        assert "cannot be undone" in result.words
        move_clock(700)
        assert method_tests_sweep() == 0
    assert method_tests_sweep() == 0, "at once it would meet the same again"
    move_clock(1400)
    assert method_tests_sweep() == 1
    assert not list(web.iterdir())
    method.refresh_from_db()
    assert (method.trial, method.trial_at) == ({}, None)


def test_the_next_test_takes_away_what_the_last_one_could_not(web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = webroot(web)
    method_test_begin(method, "localhost", actor="test")
    with monkeypatch.context() as broken:
        _broken(broken)
        method_test_run(method.pk)
    assert list(web.iterdir())
    method_test_begin(method, "localhost", actor="test")
    result = method_test_run(method.pk)
    assert result is not None
    assert result.ok
    assert not list(web.iterdir())
    method.refresh_from_db()
    assert method.trial == {}


def test_after_a_refusal_the_next_test_need_not_wait(powerdns: PowerDns, settings: Settings) -> None:
    """Nothing was put in place, so nothing is to be taken away: the person mends the credential and tests again."""
    settings.DNS_AUTHORITIES = [powerdns.address]
    method = dns(powerdns, auth_token="wrong-token-123")
    method_test_begin(method, "one.test", actor="test")
    method_test_run(method.pk)
    method.refresh_from_db()
    assert method.trial == {}
    assert "refuses these credentials" in method.test_words
    given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": powerdns.api}
    method_update(method, actor="test", given=given)
    method_test_begin(method, "one.test", actor="test")
    result = method_test_run(method.pk)
    assert result is not None
    assert result.ok


def test_a_sweep_that_takes_long_leaves_the_rest_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]
) -> None:
    made = [
        method_create(kind="http01_webroot", name=name, given={"webroot": str(tmp_path)}, actor="test") for name in "ab"
    ]
    for method in made:
        method_test_begin(method, "localhost", actor="test")
    move_clock(700)
    clean = method_tests._clean_stale

    def slow(method: ChallengeMethod) -> bool:
        time.sleep(0.1)
        return clean(method)

    monkeypatch.setattr(method_tests, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(method_tests, "_clean_stale", slow)
    assert [method_tests_sweep() for _ in range(3)] == [1, 1, 0]
