import pytest

from certs.acme.directories import KNOWN, directory_label, is_test_directory


def test_each_known_directory_is_called_by_its_key() -> None:
    assert all(directory.key == key for key, directory in KNOWN.items())
    assert all(directory.url.startswith("https://") for directory in KNOWN.values())


@pytest.mark.parametrize(
    ("url", "label", "test"),
    [
        (KNOWN["letsencrypt"].url, "Let's Encrypt", False),
        (KNOWN["letsencrypt-staging"].url, "Let's Encrypt staging", True),
        ("https://ca.example:9000/acme/directory", "ca.example:9000", False),
        ("http://[", "http://[", False),
    ],
)
def test_a_directory_is_known_by_its_address(url: str, label: str, test: bool) -> None:
    assert directory_label(url) == label
    assert is_test_directory(url) is test
