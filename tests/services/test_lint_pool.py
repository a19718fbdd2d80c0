"""Every certificate of a bulk is linted, whatever becomes of the processes that help with it."""

import json
import subprocess

import pytest

from certs.domain.lint import LintRefused
from certs.domain.wishes import Wish
from certs.models import Certificate
from certs.services import issued, lint_pool, lint_worker
from certs.services.issued import Item, authority_issue_many
from tests.harness import own_ca

pytestmark = pytest.mark.django_db
GOOD = [f"w{number}.example.com" for number in range(7)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    own_ca.address()
    monkeypatch.setattr(issued, "BATCH", 2)


def wishes() -> list[Item]:
    """Public style: the last of each two is refused by the lint alone."""
    names = [name for good in GOOD for name in (good, f"{good.partition('.')[0]}.internal")]
    return [Item(Wish(profile="public", hosts=(name,))) for name in names]


def judge(outcomes: list[issued.Outcome]) -> None:
    assert [one.certificate is not None for one in outcomes] == [True, False] * len(GOOD)
    assert all(isinstance(one.error, LintRefused) for one in outcomes[1::2])
    assert Certificate.objects.filter(names__0__endswith=".internal").count() == 0


def test_a_violation_is_found_in_every_batch() -> None:
    judge(list(authority_issue_many(own_ca.root(), wishes(), actor="test")))


def test_it_is_found_where_a_process_dies_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_pool, "_PROCESSES", 2)
    seen = []
    killed = False
    pools: list[lint_pool.LintPool] = []
    real = lint_pool.LintPool.begin

    def begin(self: lint_pool.LintPool, batch: object) -> None:
        pools.append(self)
        real(self, batch)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint_pool.LintPool, "begin", begin)
        for outcome in authority_issue_many(own_ca.root(), wishes(), actor="test"):
            seen.append(outcome)
            if len(seen) == 4:
                process = pools[-1]._linters[0]._process
                assert process is not None
                process.kill()
                killed = True
    assert killed
    judge(seen)


def test_it_is_found_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_pool.sys, "executable", "/nowhere/python")
    judge(list(authority_issue_many(own_ca.root(), wishes(), actor="test")))


def test_an_answer_about_other_bytes_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    monkeypatch.setattr(lint_pool._Linter, "_start", lambda self: subprocess.Popen(["cat"], **pipes))
    root = own_ca.root()
    built = issued._build_new(root, issued.authority_issuer(root), wishes()[1], "test")
    linter = lint_pool._Linter()
    linter._answers.put(json.dumps([lint_worker.name_of(b"another"), []]))
    assert any(finding.stops for finding in linter.answer((built.specimen, True)))
    assert linter._process is None


def test_many_are_answered_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fits into a pipe at once, each batch begun before the one before it was read."""
    monkeypatch.setattr(lint_pool, "_lint", pytest.fail)
    root = own_ca.root()
    issuer = issued.authority_issuer(root)
    built = [issued._build_new(root, issuer, item, "test") for item in wishes()[:2]]
    pair = [(one.specimen, one.plan.public_style) for one in built]
    with lint_pool.LintPool() as pool:
        pool.begin([])
        for _ in range(3):
            pool.begin(pair * 40)
        assert pool.end() == []
        for _ in range(3):
            assert [any(each.stops for each in found) for found in pool.end()] == [False, True] * 40


def test_nothing_is_left_running_when_the_caller_stops() -> None:
    linters: list[lint_pool._Linter] = []
    real = lint_pool._Linter._start

    def start(self: lint_pool._Linter) -> object:
        linters.append(self)
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint_pool._Linter, "_start", start)
        going = iter(authority_issue_many(own_ca.root(), wishes(), actor="test"))
        for _ in range(3):
            next(going)
        going.close()  # type: ignore[attr-defined]
    assert linters
    assert {linter._process for linter in linters} == {None}


def test_what_was_not_linted_is_not_signed() -> None:
    root = own_ca.root()
    issuer = issued.authority_issuer(root)
    built = issued._build_new(root, issuer, Item(Wish(hosts=("a.example.com",))), "test")
    with pytest.raises(Exception, match="not what was checked"):
        issued.sign(built, issuer.key)
