"""Files that come with a request: in memory and bounded, however large they are."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from portal.uploads import FILE_LIMIT, REQUEST_LIMIT


def _sent(*files: SimpleUploadedFile) -> list[Any]:
    request = RequestFactory().post("/", {"f": list(files)})
    return request.FILES.getlist("f")


def test_a_file_comes_whole_up_to_the_limit() -> None:
    body = bytes(range(256)) * (FILE_LIMIT // 256)
    (file,) = _sent(SimpleUploadedFile("a.pem", body))
    assert (file.name, file.size) == ("a.pem", FILE_LIMIT)
    assert file.read() == body


def test_a_larger_one_is_known_by_its_size_and_neither_kept_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda *_, **__: pytest.fail("a file on disk"))
    size = 20 * FILE_LIMIT
    large, small = _sent(SimpleUploadedFile("disk.img", bytes(size)), SimpleUploadedFile("b.pem", b"after"))
    assert large.size == size
    assert len(large.read()) == FILE_LIMIT + 1
    assert small.read() == b"after"
    assert not list(tmp_path.iterdir())


def test_all_files_of_a_request_together_are_bounded() -> None:
    files = _sent(*[SimpleUploadedFile(f"{number}.pem", bytes(FILE_LIMIT)) for number in range(12)])
    assert sum(len(file.read()) for file in files) == REQUEST_LIMIT
    assert all(file.size == FILE_LIMIT for file in files)
