"""What is told of lists, responders and offline CAs, how early, and that it is over when it is mended."""

from collections.abc import Callable
from unittest.mock import patch

import pytest

from certs.domain.alarms import Level
from certs.domain.errors import KeyRefused
from certs.models import Alarm, Authority
from certs.services import crls
from certs.services.alarm_watch import alarms_sweep
from certs.services.alarms import alarms_standing
from certs.services.crls import authority_publish, crl_sweep
from certs.services.health import portal_findings
from certs.services.revocations import version_release, version_revoke
from tests import own_ca

pytestmark = pytest.mark.django_db
DAY = 86_400.0


@pytest.fixture
def ca() -> Authority:
    return own_ca.root()


@pytest.fixture
def offline() -> Authority:
    return own_ca.root("Offline Root", passphrase=own_ca.PASSPHRASE, crl_days=90)


def told() -> dict[str, Alarm]:
    """The open alarms by their subject, the highest of each."""
    alarms_sweep()
    return {row.subject: row for row in alarms_standing()}


def test_all_is_well(ca: Authority, offline: Authority) -> None:
    assert told() == {}
    assert [finding.ok for finding in portal_findings() if finding.code == "crl"] == [True]


def test_while_the_tick_comes_nobody_hears_of_it(ca: Authority, move_clock: Callable[[float], None]) -> None:
    for day in (3, 8, 12, 17, 21):
        move_clock(day * DAY)
        crl_sweep()
        assert told() == {}


def test_where_it_does_not_come_the_list_runs_out(ca: Authority, move_clock: Callable[[float], None]) -> None:
    levels = {}
    for day in (4, 5, 6, 6.5, 8):
        move_clock(day * DAY)
        levels[day] = max((row.level for row in told().values()), default=None)
    assert levels == {4: None, 5: Level.WARNING, 6: Level.PRESSING, 6.5: Level.URGENT, 8: Level.OUTAGE}
    assert "Our Root: its revocation list has lapsed" in told()
    assert [finding.ok for finding in portal_findings() if finding.code == "crl"] == [False]
    crl_sweep()
    assert told() == {}


def test_what_cannot_be_signed_says_why(ca: Authority, move_clock: Callable[[float], None]) -> None:
    move_clock(4 * DAY)
    with patch.object(crls, "authority_key", side_effect=KeyRefused("The private key is gone.")):
        crl_sweep()
    (alarm,) = told().values()
    assert alarm.level == Level.WARNING
    assert "The private key is gone." in alarm.happened
    assert alarm.path == f"/authorities/{ca.pk}/publication/"
    crl_sweep()
    assert told() == {}


def test_of_an_offline_ca_people_hear_thirty_days_ahead(
    offline: Authority, move_clock: Callable[[float], None]
) -> None:
    reached = {}
    for left in (31, 29, 13, 6, 2, 0.5):
        move_clock((90 - left) * DAY)
        reached[left] = {subject.partition(": ")[2]: row.level for subject, row in told().items()}
    both = {"its revocation list ends", "its OCSP responder ends"}
    assert reached[31] == {}
    found = told()
    assert {subject.partition(": ")[2].partition(" in ")[0] for subject in found} >= both
    assert [max(reached[left].values()) for left in (29, 13, 6, 2, 0.5)] == [1, 2, 3, 4, 5]
    move_clock(91 * DAY)
    assert {row.level for row in told().values()} == {Level.OUTAGE}
    authority_publish(offline, own_ca.PASSPHRASE, actor="test")
    assert told() == {}


def test_what_an_offline_ca_has_revoked_waits_for_a_person(offline: Authority) -> None:
    leaf = own_ca.leaf(offline, passphrase=own_ca.PASSPHRASE)
    version_revoke(own_ca.version(leaf), "superseded", actor="test")
    assert "Offline Root: a new revocation list is to be signed" in told()
    authority_publish(offline, own_ca.PASSPHRASE, actor="test")
    assert "Offline Root: a new revocation list is to be signed" not in told()


def test_the_end_of_an_offline_ca_and_of_what_it_signed(
    offline: Authority, move_clock: Callable[[float], None]
) -> None:
    own_ca.leaf(offline, passphrase=own_ca.PASSPHRASE, auto_renew=True)
    move_clock(61 * DAY)
    (mine,) = [row for subject, row in told().items() if subject.startswith("www.example.com")]
    assert "Offline Root is offline: a person has to give its passphrase." in mine.advice
    move_clock(3621 * DAY)
    authority_publish(offline, own_ca.PASSPHRASE, actor="test")
    subjects = [subject for subject in told() if subject.startswith("Offline Root: the CA itself ends in")]
    assert len(subjects) == 1


def test_a_hold_waits_for_a_person(ca: Authority) -> None:
    leaf = own_ca.leaf(ca, auto_renew=True)
    first = own_ca.version(leaf)
    version_revoke(first, "certificateHold", actor="test")
    assert own_ca.version(leaf).pk == first.pk  # nothing is renewed meanwhile
    assert "www.example.com: it is on hold" in told()
    version_release(own_ca.version(leaf), actor="test")
    assert told() == {}


def test_a_responder_is_not_told_of_as_a_certificate_that_nobody_renews(
    ca: Authority, move_clock: Callable[[float], None]
) -> None:
    move_clock(13.5 * DAY)
    crls.crl_sign(ca, actor="test")
    assert [subject for subject in told() if "OCSP of" in subject] == []
    assert any("its OCSP responder ends" in subject for subject in told())
