"""Files that come with a request: in memory, never on disk, since private keys are among them."""

from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

FILE_LIMIT = 1024 * 1024  # bytes that are kept of one file
REQUEST_LIMIT = 8 * 1024 * 1024  # bytes that are kept of all files of a request


class MemoryUploadHandler(FileUploadHandler):
    """What is larger than the limit is read to its end but not kept: its `size` says so, its content is cut off."""

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._kept = 0
        self._size = 0
        self._file = BytesIO()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._file, self._size = BytesIO(), 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._size = start + len(raw_data)
        room = min(FILE_LIMIT + 1 - self._file.tell(), REQUEST_LIMIT - self._kept)
        self._kept += self._file.write(raw_data[: max(room, 0)])

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        if self.file_name is None:
            raise SkipFile
        self._file.seek(0)
        return InMemoryUploadedFile(
            file=self._file,
            field_name=self.field_name,
            name=self.file_name,
            content_type=self.content_type or "",
            size=self._size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )
