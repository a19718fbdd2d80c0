"""A copy, a restored or an older database is noticed; whatever happens to the real portal is not taken for one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from django.db.models import F

from certs.domain.errors import Unavailable
from certs.models import Alarm, AuditEvent, PortalIdentity
from certs.services import identity
from certs.services.identity import (
    COPIED,
    OLDER,
    OTHERS,
    RESTORED,
    identity_count,
    identity_held,
    identity_hold,
    identity_is_trial,
    identity_settle,
    identity_take_over,
)
from certs.transports import birth

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory that was started once."""
    home = tmp_path / "data"
    home.mkdir()
    monkeypatch.setenv("BINDERY_HOME", str(home))
    assert identity_settle() == ""
    return home


def move_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDERY_HOME", str(home))


def test_nothing_is_held_before_the_first_start_nor_after_it(place: Path) -> None:
    assert identity_held() == ""
    assert (place / "identity").stat().st_mode & 0o777 == 0o600
    before = PortalIdentity.objects.get().count
    assert identity_settle() == ""
    identity_count()
    assert PortalIdentity.objects.get().count == before + 2


def copied(home: Path) -> Path:
    return Path(shutil.copytree(home, home.with_name("copy"), copy_function=shutil.copy2))


def by_tar(home: Path) -> Path:
    archive = shutil.make_archive(str(home.with_name("saved")), "tar", home)
    shutil.unpack_archive(archive, home.with_name("unpacked"))
    return home.with_name("unpacked")


@pytest.mark.parametrize("copy", [copied, by_tar])
def test_a_copy_is_noticed_before_and_at_its_start(
    copy: Callable[[Path], Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = copy(place)
    assert identity_held() == ""
    move_to(there, monkeypatch)
    assert identity_held() == COPIED  # a command, before anything was started
    assert identity_settle() == identity_settle() == COPIED
    assert Alarm.objects.filter(key=identity.ALARM, cleared_at=None).count() == 1
    assert AuditEvent.objects.filter(action="portal.hold").count() == 1


def test_an_archive_unpacked_over_the_directory_is_noticed(place: Path) -> None:
    archive = shutil.make_archive(str(place.with_name("saved")), "tar", place)
    (place / "identity").unlink()
    shutil.unpack_archive(archive, place)
    assert identity_settle() == COPIED


def test_a_database_alone_in_another_directory_is_noticed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fresh").mkdir()
    move_to(tmp_path / "fresh", monkeypatch)
    assert identity_settle() == RESTORED


@pytest.mark.parametrize("since", [identity_settle, identity_count])
def test_an_older_database_put_back_is_noticed(since: Callable[[], object], place: Path) -> None:
    saved = PortalIdentity.objects.get().count
    since()
    PortalIdentity.objects.update(count=saved)
    assert identity_held() == OLDER


def test_what_was_saved_last_of_all_may_be_put_back(place: Path) -> None:
    """Nothing was started or ordered since: it is the same portal."""
    identity_count()
    PortalIdentity.objects.update(count=F("count"))
    assert identity_held() == ""


def test_the_way_back_to_a_version_without_identities_and_up_again_is_no_copy(place: Path) -> None:
    """The printed line takes the mark away, and such a version leaves none."""
    PortalIdentity.objects.all().delete()
    (place / "identity").unlink()
    assert identity_settle() == ""


def test_the_database_of_another_portal_is_noticed(place: Path) -> None:
    PortalIdentity.objects.update(uid=uuid4())
    assert identity_held() == OTHERS


def test_renaming_the_directory_modes_owners_and_times_are_no_copy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = place / "identity"
    os.utime(mark, (0, 0))
    mark.chmod(0o640)
    renamed = place.rename(place.with_name("elsewhere"))
    move_to(renamed, monkeypatch)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert identity_settle() == ""


def test_a_mark_that_cannot_be_written_is_said_and_stops_no_order(place: Path) -> None:
    """As where root has made it, or the disk is full."""
    mark = place / "identity"
    mark.unlink()
    mark.mkdir()  # root writes everywhere else
    identity_count()
    with pytest.raises(Unavailable, match="identity cannot be written"):
        identity_take_over(actor="a person")


@pytest.mark.parametrize("text", ["", "{", '{"portal": 1}', "\0" * 256])
def test_a_mark_that_a_crash_has_emptied_is_no_copy(place: Path, text: str) -> None:
    with (place / "identity").open("r+") as file:
        file.truncate()
        file.write(text)
    assert identity_settle() == ""


def test_taking_over_makes_the_copy_the_portal_and_the_old_place_is_none_any_more(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = copied(place)
    move_to(there, monkeypatch)
    identity_settle()
    assert identity_take_over(actor="a person")
    assert identity_settle() == ""
    assert not identity_take_over(actor="a person")
    assert not Alarm.objects.filter(cleared_at=None).exists()
    assert AuditEvent.objects.get(action="portal.take-over").before == {"held": COPIED}
    move_to(place, monkeypatch)  # this database back where it once was
    assert identity_settle() == COPIED


def test_a_copy_for_trying_stays_held_and_is_silent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move_to(copied(place), monkeypatch)
    identity_settle()
    identity_hold(actor="a person")
    assert identity_is_trial()
    assert identity_settle() == COPIED
    assert not Alarm.objects.filter(cleared_at=None).exists()
    assert identity_take_over(actor="a person")
    assert not identity_is_trial()


def test_a_clone_of_the_whole_disk_is_held_by_hand(place: Path) -> None:
    identity_hold(actor="a person")
    assert identity_held() == identity.BY_HAND


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({"inode": 5, "born": 7}, {"inode": 6, "born": 7}, True),  # numbers made up by the mount
        ({"inode": 5, "born": 7}, {"inode": 5, "born": 8}, False),  # a fresh volume counts inodes alike
        ({"inode": 5}, {"inode": 6}, False),
        ({"inode": 5}, {"inode": 5, "born": 8}, True),  # a newer kernel tells more
        ({}, {"inode": 6}, True),
        ({"inode": 5, "born": 7}, {}, True),
    ],
)
def test_places_are_compared_by_what_can_be_relied_on(before: dict[str, int], now: dict[str, int], same: bool) -> None:
    assert birth.same_place(before, now) is same


def test_birth_is_known_here_and_stays_through_writing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    born = birth.place_of(file)["born"]
    file.write_text("b" * 100)
    file.chmod(0o600)
    assert birth.place_of(file)["born"] == born == birth.place_of(file.rename(tmp_path / "other"))["born"]
    assert birth.place_of(Path(shutil.copy2(tmp_path / "other", file)))["born"] != born
