import base64
from urllib.parse import quote

import pytest

from certs.domain.redaction import MASK, Redaction, host_of_url, secrets_of_url, spellings

SECRET = "s3cr3t-p@ss/word+with=signs"
REDACTION = Redaction(frozenset({SECRET, "abc"}))


@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_a_known_secret_is_found_in_every_spelling(before: str, after: str) -> None:
    whole = f"{before}{SECRET}{after}"
    forms = [
        whole,
        quote(whole, safe=""),
        whole.encode().hex(),
        base64.b64encode(whole.encode()).decode(),
        base64.urlsafe_b64encode(whole.encode()).decode(),
    ]
    for form in forms:
        found = REDACTION.known(f"it says {form} here")
        assert MASK in found
        for spelling in spellings(SECRET):
            assert spelling not in found


def test_what_is_too_short_to_be_told_from_a_word_is_left() -> None:
    assert REDACTION.known("abc") == "abc"
    assert spellings("abc") == set()


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://bindery:hunter22@db/portal", "hunter22"),
        ("http://someone@proxy:3128 is dead", "someone@"),
        ("see https://x.example/setup/AAAABBBBCCCCDDDD/", "AAAABBBB"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "MHcCAQ"),
        ("-----BEGIN PRIVATE KEY-----\nMHcCAQ cut off", "MHcCAQ"),
    ],
)
def test_what_is_a_secret_by_its_shape_goes_for_everybody(text: str, gone: str) -> None:
    assert gone in text
    assert gone not in Redaction().known(text)
    assert gone not in Redaction().strict(text)


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("asked http://a.example/.well-known/acme-challenge/tok-en_1 for it", "tok-en_1"),
        ("posted to https://hooks.example/T0/B0/short: 404", "short"),
        ("posted to https://hooks.example?key=short: 404", "short"),
        ("mail to ann.smith@example.com failed", "ann.smith"),
        ("password = hunter2", "hunter2"),
        ('{"api_key": "hunter2"}', "hunter2"),
        ("Authorization: Bearer hunter2", "hunter2"),
        ("the answer was evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "evaGxfADs6"),
        ("hmac 8f14e45fceea167a5a36dedd4bea2543", "8f14e45fceea"),
    ],
)
def test_for_others_more_goes(text: str, gone: str) -> None:
    assert gone in text
    assert gone not in Redaction().strict(text)


@pytest.mark.parametrize(
    "text",
    [
        "shop.example.com has no address in DNS.",
        "job 0d2c9a0e-7d1c-4b52-8f6a-0f1e2d3c4b5a ended",
        "http://portal.example:8000 answers",
        "/var/lib/bindery/keyring.json is open to others",
        "Port 443 is taken: nginx (process 12, user root) listens on it.",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Redaction().strict(text) == text


def test_a_directory_that_everybody_knows_stays() -> None:
    url = "https://acme-v02.api.letsencrypt.org/directory"
    assert Redaction(urls=frozenset({url})).strict(f"{url} answers") == f"{url} answers"
    assert "directory" not in Redaction().strict(f"{url} answers")


def test_urls_tell_their_secrets_and_their_host() -> None:
    assert list(secrets_of_url("http://ann:pass%20word@proxy:3128/x")) == ["pass%20word"]
    assert list(secrets_of_url("http://proxy:3128")) == []
    assert host_of_url("http://ann:pw@proxy:3128/path?x=1") == "http://proxy:3128"
    assert host_of_url("nonsense") == MASK
