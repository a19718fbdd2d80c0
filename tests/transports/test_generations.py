"""Generation directories: a whole one or none, with the right mode from the start, whatever happens in between."""

import contextlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certs.transports import generations
from certs.transports.generations import Access, Files, Shelf

GENERATION = re.compile(r"g\d+(\.\d+)?")
NAMES = ("cert.pem", "chain.pem", "privkey.pem")
NOBODY = 65534


def files(number: int) -> Files:
    return {name: f"{name} of {number}\n".encode() * 50 for name in NAMES}


def fine(_files: Files) -> None:
    pass


def shelf_at(root: Path, access: Access | None = None, grace: float = 0) -> Shelf:
    return Shelf(root / "acme", access or Access(), GENERATION, grace=grace)


def publish(shelf: Shelf, number: int, name: str = "a.test") -> bool:
    return shelf.publish(name, f"g{number}", files(number), fine)


def current(shelf: Shelf, name: str = "a.test") -> dict[str, bytes]:
    """As a careful reader: the directory is opened once."""
    directory = os.open(shelf.root / name / "current", os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = {}
        for each in NAMES:
            with os.fdopen(os.open(each, os.O_RDONLY, dir_fd=directory), "rb") as stream:
                found[each] = stream.read()
        return found
    finally:
        os.close(directory)


def modes(shelf: Shelf) -> dict[str, int]:
    """Every file and directory below the root, but not its links."""
    every = [shelf.root, *shelf.root.rglob("*")]
    return {
        str(path.relative_to(shelf.root)): stat.S_IMODE(path.lstat().st_mode)
        for path in every
        if not path.is_symlink() and path.name != ".lock"
    }


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_current_leads_to_a_whole_generation(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    assert publish(shelf, 1)
    assert not publish(shelf, 1), "nothing changed"
    assert os.readlink(shelf.root / "a.test" / "current") == "g1"
    assert current(shelf) == files(1)
    assert publish(shelf, 2)
    assert current(shelf) == files(2)


def test_old_generations_are_kept_for_a_while(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    for number in range(1, 7):
        publish(shelf, number)
    assert sorted(os.listdir(shelf.root / "a.test")) == ["current", "g4", "g5", "g6"]
    publish(shelf, 4)  # one goes back
    assert current(shelf) == files(4)


def test_young_generations_are_left_to_those_who_read_them(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path, grace=60)
    for number in range(1, 7):
        publish(shelf, number)
    assert len(os.listdir(shelf.root / "a.test")) == 7
    for number in range(1, 7):
        os.utime(shelf.root / "a.test" / f"g{number}", (number, number))
    publish(shelf, 7)
    assert sorted(os.listdir(shelf.root / "a.test")) == ["current", "g5", "g6", "g7"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize(("mode", "directory"), [(0o600, 0o700), (0o640, 0o755), (0o400, 0o700)])
def test_modes_are_as_set_under_any_umask(tmp_path: Path, mask: int, mode: int, directory: int) -> None:
    shelf = shelf_at(tmp_path, Access(mode))
    (tmp_path / "acme").mkdir(mode=0o700)
    with umask(mask):
        publish(shelf, 1)
    found = modes(shelf)
    assert {found[f"a.test/g1/{name}"] for name in NAMES} == {mode}
    assert {found["."], found["a.test"], found["a.test/g1"]} == {directory}


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_no_file_is_ever_wider_or_another_s_while_it_holds_something(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is looked at whenever the system is asked for anything."""
    seen: list[int] = []
    shelf = shelf_at(tmp_path, Access(mode))

    def watch(call: Callable[..., object]) -> Callable[..., object]:
        def watched(*args: object, **options: object) -> object:
            done = call(*args, **options)
            seen.extend(
                stat.S_IMODE(path.stat().st_mode)
                for path in (tmp_path / "acme").rglob("*.pem")
                if path.stat().st_size or stat.S_IMODE(path.stat().st_mode) & ~mode & 0o077
            )
            return done

        return watched

    for name in ("open", "fchmod", "fchown", "fsync", "rename", "mkdir", "symlink"):
        monkeypatch.setattr(generations.os, name, watch(getattr(os, name)))
    with umask(0):
        publish(shelf, 1)
    assert seen
    assert all(found & ~mode == 0 for found in seen), [oct(found) for found in seen]


def test_a_change_of_mode_reaches_what_is_there(tmp_path: Path) -> None:
    for number in (1, 2):
        publish(shelf_at(tmp_path, Access(0o640)), number)
    narrow = shelf_at(tmp_path)
    assert not publish(narrow, 2)
    assert {mode for path, mode in modes(narrow).items() if path.endswith(".pem")} == {0o600}
    assert {mode for path, mode in modes(narrow).items() if not path.endswith(".pem")} == {0o700}


def test_what_somebody_spoilt_is_written_anew_and_never_into_what_is_in_use(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    publish(shelf, 1)
    (shelf.root / "a.test" / "g1" / "privkey.pem").write_text("spoilt")
    assert publish(shelf, 1)
    assert os.readlink(shelf.root / "a.test" / "current") == "g1.2"
    assert current(shelf) == files(1)
    (shelf.root / "a.test" / "g1.2" / "cert.pem").unlink()
    assert publish(shelf, 1)
    (shelf.root / "a.test" / "current").unlink()
    assert publish(shelf, 1)
    assert current(shelf) == files(1)


def test_links_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    publish(shelf, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "privkey.pem").write_text("theirs")
    (shelf.root / "a.test" / "current").unlink()
    (shelf.root / "a.test" / "current").symlink_to(outside)
    (shelf.root / "b.test").symlink_to(outside)
    (shelf.root / "a.test" / "g9").symlink_to(outside)
    publish(shelf, 2)
    assert current(shelf) == files(2)
    with pytest.raises(OSError, match=r"b\.test"):
        publish(shelf, 2, name="b.test")
    for number in range(3, 8):
        publish(shelf, number)
    assert (outside / "privkey.pem").read_text() == "theirs"
    assert os.listdir(outside) == ["privkey.pem"]


def test_what_does_not_prove_good_leads_nowhere(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    publish(shelf, 1)

    def refuse(_files: Files) -> None:
        raise ValueError("no pair")

    with pytest.raises(ValueError, match="no pair"):
        shelf.publish("a.test", "g2", files(2), refuse)
    assert current(shelf) == files(1)
    assert sorted(os.listdir(shelf.root / "a.test")) == ["current", "g1"]


def test_removing_takes_ours_and_nothing_else(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    publish(shelf, 1)
    publish(shelf, 1, name="b.test")
    (shelf.root / "b.test" / "notes.txt").write_text("mine")
    assert shelf.remove("a.test")
    assert not shelf.remove("a.test")
    assert shelf.remove("b.test")
    assert not (shelf.root / "a.test").exists()
    assert os.listdir(shelf.root / "b.test") == ["notes.txt"]


# Kills.

CALLS = ("open", "mkdir", "fchmod", "fchown", "fsync", "rename", "symlink", "unlink", "rmdir", "write")


def die_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process that is gone before its call number `step` to the system; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        made = 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def guarded(*args: object, **options: object) -> object:
                nonlocal made
                made += 1
                if made > step:
                    os._exit(9)
                return call(*args, **options)

            return guarded

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_a_kill_at_any_step_leaves_current_on_a_whole_pair(tmp_path: Path) -> None:
    step = 0
    while True:
        shelf = shelf_at(tmp_path / str(step))
        for number in (1, 2, 3):
            publish(shelf, number)
        died = die_at(step, lambda shelf=shelf: publish(shelf, 4))
        assert current(shelf) in (files(3), files(4))
        # The next run ends what was begun, and nothing is left over.
        publish(shelf, 4)
        assert current(shelf) == files(4)
        left = sorted(os.listdir(shelf.root / "a.test"))
        assert not [name for name in left if name.startswith(".")]
        assert len(left) == 4
        if not died:
            break
        step += 1
    assert step > 20


def test_a_kill_during_the_very_first_writing_shows_nothing(tmp_path: Path) -> None:
    step = 0
    while True:
        shelf = shelf_at(tmp_path / str(step))
        died = die_at(step, lambda shelf=shelf: publish(shelf, 1))
        if (shelf.root / "a.test" / "current").exists():
            assert current(shelf) == files(1)
        publish(shelf, 1)
        assert current(shelf) == files(1)
        if not died:
            break
        step += 1
    assert step > 15


# Readers, and several writers.


def test_readers_never_see_a_mismatched_pair_during_fifty_swaps(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path, grace=60)
    publish(shelf, 0)
    wrong: list[dict[str, bytes]] = []
    counts = [0] * 4
    stop = threading.Event()
    whole = [files(number) for number in range(51)]

    def read(index: int) -> None:
        while not stop.is_set():
            found = current(shelf)
            counts[index] += 1
            if found not in whole:
                wrong.append(found)

    readers = [threading.Thread(target=read, args=(index,)) for index in range(4)]
    for each in readers:
        each.start()
    try:
        for number in range(1, 51):
            publish(shelf, number)
    finally:
        stop.set()
        for each in readers:
            each.join()
    assert wrong == []
    assert min(counts) > 50
    print(f"{sum(counts)} readings during 50 swaps, none mixed")


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path)
    children = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number in range(10):
                    publish(shelf, writer * 10 + number)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert current(shelf) in [files(number) for number in range(40)]
    assert len(os.listdir(shelf.root / "a.test")) == 4


# Owners.

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@needs_root
def test_owner_and_group_are_as_set(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path, Access(0o640, NOBODY, NOBODY))
    publish(shelf, 1)
    for name in NAMES:
        found = (shelf.root / "a.test" / "g1" / name).stat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)
    assert (shelf.root / "a.test").stat().st_uid == 0, "the directories stay ours"
    # And back again.
    publish(shelf_at(tmp_path), 1)
    found = (shelf.root / "a.test" / "g1" / "privkey.pem").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, os.getegid(), 0o600)


@needs_root
def test_an_owner_that_cannot_be_set_leaves_nothing_half_written(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    for parent in tmp_path.parents:  # pytest keeps them to itself; with several workers there is one more
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & stat.S_ISVTX and parent != Path("/"):
            os.chmod(parent, 0o755)

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        publish(shelf_at(tmp_path), 1)
        for act in (
            lambda: publish(shelf_at(tmp_path, Access(0o640, 1)), 2),
            lambda: publish(shelf_at(tmp_path, Access(0o640, -1, 1)), 2),
            shelf_at(tmp_path, Access(0o640, 1)).probe,
        ):
            try:
                act()
            except PermissionError as error:
                if str(tmp_path) in str(error.filename):
                    continue
            os._exit(3)
        os._exit(7)

    pid = os.fork()
    if pid == 0:
        try:
            as_nobody()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    shelf = shelf_at(tmp_path)
    assert sorted(os.listdir(shelf.root / "a.test")) == ["current", "g1"]
    assert sorted(os.listdir(shelf.root)) == [".lock", "a.test"]
    assert current(shelf) == files(1)
