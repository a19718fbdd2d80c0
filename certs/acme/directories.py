"""The directories known by name, and what can be said of any directory by its address."""

from dataclasses import dataclass

from certs.domain.urls import url_split


@dataclass(frozen=True)
class Directory:
    key: str  # stable, used by forms and the command line
    label: str  # how the CA is called in sentences
    url: str
    is_test: bool = False  # browsers do not trust what it issues
    rehearsal: str = ""  # the key of its staging directory


KNOWN: dict[str, Directory] = {
    directory.key: directory
    for directory in (
        Directory(
            "letsencrypt",
            "Let's Encrypt",
            "https://acme-v02.api.letsencrypt.org/directory",
            rehearsal="letsencrypt-staging",
        ),
        Directory(
            "letsencrypt-staging",
            "Let's Encrypt staging",
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            is_test=True,
        ),
    )
}
_BY_URL = {directory.url: directory for directory in KNOWN.values()}


def is_test_directory(url: str) -> bool:
    known = _BY_URL.get(url)
    return known is not None and known.is_test


def directory_label(url: str) -> str:
    """How the CA is called in a sentence: its name, or the host of an unknown directory."""
    if known := _BY_URL.get(url):
        return known.label
    return url_split(url).netloc or url
