"""Trees from the disk and out of archives: nothing outside is read, and nothing grows beyond its limit."""

import gzip
import io
import os
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.errors import InputError
from certs.transports import trees
from certs.transports.trees import archive_read, file_read, tree_read


def packed(*members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_files_and_links_inside(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/cert1.pem").write_bytes(b"1")
    (tmp_path / "cert.pem").symlink_to("archive/cert1.pem")
    (tmp_path / "folder").symlink_to("archive")
    (tmp_path / "absolute").symlink_to(tmp_path / "archive/cert1.pem")
    tree = tree_read(tmp_path)
    assert tree.files == {"archive/cert1.pem": b"1"}
    assert {tree.read(path) for path in ("cert.pem", "folder/cert1.pem", "absolute")} == {b"1"}
    assert not tree.unread


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"s")
    (root / "out").symlink_to("../secret")
    (root / "etc").symlink_to("/etc")
    (root / "nowhere").symlink_to("missing")
    os.mkfifo(root / "pipe")
    (root / "large").write_bytes(b"x" * (trees.FILE_BYTES + 1))
    tree = tree_read(root)
    assert not tree.files
    assert not tree.links
    assert set(tree.unread) == {"out", "etc", "nowhere", "pipe", "large"}
    with pytest.raises(InputError, match="too many levels"):
        file_read(root / "out")


def test_a_link_to_the_tree_itself_is_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("root")
    assert tree_read(tmp_path / "link").files == {"a": b"a"}


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        tree_read(tmp_path / name)


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x" * 10)
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        tree_read(tmp_path)
    monkeypatch.setattr(trees, "MOST_FILES", 9)
    monkeypatch.setattr(trees, "MOST_BYTES", 30)
    with pytest.raises(InputError, match="or 0 MiB"):
        tree_read(tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_and_the_directory_around_it(mode: str) -> None:
    link = special("letsencrypt/live/cert.pem", tarfile.SYMTYPE, "../archive/cert1.pem")
    hard = special("letsencrypt/archive/hard.pem", tarfile.LNKTYPE, "letsencrypt/archive/cert1.pem")
    data = packed(("./letsencrypt/archive/cert1.pem", b"1"), link, hard, mode=mode)
    tree = archive_read(data, "x.tar.gz")
    assert tree.files == {"archive/cert1.pem": b"1"}
    assert tree.read("live/cert.pem") == tree.read("archive/hard.pem") == b"1"
    assert not tree.unread


@pytest.mark.parametrize(
    "member",
    [
        ("../../etc/passwd", b"x"),
        special("a/link", tarfile.SYMTYPE, "../../../etc/passwd"),
        special("a/link", tarfile.SYMTYPE, "link"),
        special("a/device", tarfile.CHRTYPE),
        special("a/pipe", tarfile.FIFOTYPE),
        ("a/large", b"x" * (trees.FILE_BYTES + 1)),
    ],
)
def test_hostile_members_are_named_and_left(member: tarfile.TarInfo | tuple[str, bytes]) -> None:
    tree = archive_read(packed(("a/good", b"1"), ("b/good", b"2"), member), "x.tar.gz")
    assert tree.files == {"a/good": b"1", "b/good": b"2"}
    assert not tree.links
    assert len(tree.unread) == 1


def test_an_absolute_path_is_one_of_the_archive() -> None:
    assert archive_read(packed(("/etc/a", b"1"), ("/srv/b", b"2")), "x").files == {"etc/a": b"1", "srv/b": b"2"}


def test_a_path_without_end_takes_no_time() -> None:
    """Each directory of it was once taken off by itself."""
    begun = time.perf_counter()
    tree = archive_read(packed(("a/" * 500_000 + "b", b"1"), ("a/" * 2000 + "good", b"2")), "x")
    assert time.perf_counter() - begun < 2
    assert tree.files == {"good": b"2"}
    assert list(tree.unread.values()) == ["its name is too long"]


def test_an_archive_that_leads_back_to_its_beginning_ends() -> None:
    """A size below nothing (CVE-2025-8194): the same member comes again and again."""
    member = special("a/b", tarfile.FIFOTYPE)
    member.size = -512
    looped = member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    with suppress(InputError):
        archive_read(looped, "x")
    assert archive_read(packed(("a/good", b"1")), "x").files == {"good": b"1"}


def test_bombs_end_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ARCHIVE_CONTENT", 1024 * 1024)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        archive_read(gzip.compress(b"\0" * 20 * 1024 * 1024), "bomb.tar.gz")
    monkeypatch.setattr(trees, "ARCHIVE_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        archive_read(packed(*((f"a/{number}", b"") for number in range(9))), "many.tar.gz")
    with pytest.raises(InputError, match="more than 3 files"):
        archive_read(packed(*(special(f"a/{number}", tarfile.FIFOTYPE) for number in range(9))), "pipes.tar.gz")
    monkeypatch.setattr(trees, "ARCHIVE_BYTES", 100)
    with pytest.raises(InputError, match="is larger than"):
        archive_read(os.urandom(200), "large.tar.gz")


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_no_archive_is_a_surprise(data: bytes, zipped: bool, real: bool) -> None:
    head = packed(("a/b", b"1"), mode="w")[:600] if real else b""
    content = head + data
    try:
        archive_read(gzip.compress(content) if zipped else content, "x")
    except InputError as error:
        assert error.message  # noqa: PT017 - what it is, is another test's matter
