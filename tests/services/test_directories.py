"""The daily look at the directories of the CAs in use, against a real one on loopback."""

from collections.abc import Callable, Iterator

import pytest

from certs.models import AcmeAccount, AcmeDirectory
from certs.services.directories import directories_check
from portal import clock
from tests.harness.acme_server import AcmeServer
from tests.harness.issuing import account_at
from tests.harness.ports import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def ca() -> Iterator[AcmeServer]:
    with AcmeServer(http_port=free_port()) as running:
        account_at(running)
        AcmeAccount.objects.update(account_url=f"{running.url}/account/1")
        yield running


def test_each_is_asked_once_a_day(ca: AcmeServer, move_clock: Callable[[float], None]) -> None:
    assert [directories_check(), directories_check()] == [1, 0]
    move_clock(23.9 * 3600)
    assert directories_check() == 0
    move_clock(24.1 * 3600)
    assert directories_check() == 1
    row = AcmeDirectory.objects.get()
    assert (row.trouble, row.trouble_since) == ("", None)
    assert row.clock_skew is not None
    assert abs(row.clock_skew) < 5
    assert ca.count("directory") == 2


def test_what_was_set_by_the_operator_stays(ca: AcmeServer) -> None:
    AcmeDirectory.objects.create(directory_url=ca.directory_url, rehearsal_url="https://staging.example/")
    directories_check()
    assert AcmeDirectory.objects.get().rehearsal_url == "https://staging.example/"


def test_one_that_is_silent_is_asked_each_hour_and_keeps_since_when(
    ca: AcmeServer, move_clock: Callable[[float], None]
) -> None:
    ca.stop()
    directories_check()
    row = AcmeDirectory.objects.get()
    assert "cannot be reached" in row.trouble
    since = row.trouble_since
    assert since is not None
    move_clock(30 * 60)
    assert directories_check() == 0
    move_clock(61 * 60)
    assert directories_check() == 1
    row.refresh_from_db()
    assert row.trouble_since == since
    ca.start()
    move_clock(123 * 60)
    assert directories_check() == 1
    row.refresh_from_db()
    assert (row.trouble, row.trouble_since) == ("", None)


def test_one_whose_turn_another_node_has_taken_is_left_alone(ca: AcmeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    AcmeDirectory.objects.create(directory_url=ca.directory_url)
    stale = AcmeDirectory.objects.get()
    AcmeDirectory.objects.update(checked_at=clock.now())
    from certs.services.directories import _check

    assert not _check(stale)
    assert ca.count("directory") == 0


def test_where_no_account_is_nobody_is_asked(ca: AcmeServer) -> None:
    AcmeAccount.objects.update(account_url="")
    assert directories_check() == 0
    AcmeAccount.objects.update(account_url="https://x/1", deactivated_at=clock.now())
    assert directories_check() == 0
