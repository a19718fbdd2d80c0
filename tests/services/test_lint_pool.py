"""Every certificate of a bulk is linted, whatever becomes of the process that helps with it."""

import pytest

from certs.domain.lint import LintRefused
from certs.domain.wishes import Wish
from certs.models import Certificate
from certs.services import issued, lint_pool
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


def test_it_is_found_where_the_process_dies_on_the_way() -> None:
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
            if len(seen) == 4 and pools[-1]._process is not None:
                pools[-1]._process.kill()
                killed = True
    assert killed
    judge(seen)


def test_it_is_found_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_pool.sys, "executable", "/nowhere/python")
    judge(list(authority_issue_many(own_ca.root(), wishes(), actor="test")))


def test_nothing_is_left_running_when_the_caller_stops() -> None:
    pools: list[lint_pool.LintPool] = []
    real = lint_pool.LintPool._start

    def start(self: lint_pool.LintPool) -> None:
        real(self)
        pools.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint_pool.LintPool, "_start", start)
        going = iter(authority_issue_many(own_ca.root(), wishes(), actor="test"))
        for _ in range(3):
            next(going)
        going.close()  # type: ignore[attr-defined]
    assert pools[0]._process is None


def test_what_was_not_linted_is_not_signed() -> None:
    root = own_ca.root()
    issuer = issued.authority_issuer(root)
    built = issued._build_new(root, issuer, Item(Wish(hosts=("a.example.com",))), "test")
    with pytest.raises(Exception, match="not what was checked"):
        issued.sign(built, issuer.key)
