"""URLs that people, files and other servers give."""

from urllib.parse import SplitResult, urlsplit

_NOTHING = SplitResult("", "", "", "", "")


def url_split(text: str) -> SplitResult:
    """Like `urlsplit`, but all parts are empty where the text cannot be split at all, such as `http://[`."""
    try:
        return urlsplit(text)
    except ValueError:
        return _NOTHING
