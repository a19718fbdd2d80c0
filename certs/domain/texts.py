"""Text as editors and mail programs leave it, as the bytes of ASCII or UTF-8 that PEM is read from."""

import codecs

_MARKS = (  # the longer mark first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DASHES = b"-\0-\0-\0"  # of UTF-16; which half comes first tells the place where they begin


def text_of(data: bytes) -> bytes:
    """UTF-8 without a byte order mark; what is not UTF-16 or UTF-32 stays as it is, whatever it is."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace").encode()
    place = data.find(_DASHES)
    if place < 0:
        return data
    return data.decode("utf-16-be" if place % 2 else "utf-16-le", "replace").encode()
