"""Key pairs and requests for CAs outside, from the shell; their answers come in by `certs import`."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.csr import csr_read
from certs.models import Certificate, PrivateKey
from portal import clock
from tests import stock
from tests.commands.running import run
from tests.harness import pki

pytestmark = pytest.mark.django_db


def test_a_key_pair() -> None:
    done = run("certs", "key-pair", "--key-type", "ed25519", "--name", "Tokens", "--tag", "jwt")
    row = Certificate.objects.get()
    assert done.code == 0
    assert str(row.pk) in done.out
    assert row.key is not None
    assert row.key.key_type == "ed25519"
    assert [each.tag for each in row.tag_rows.all()] == ["jwt"]


def test_a_request_goes_out_and_its_answer_comes_in(tmp_path: Path) -> None:
    file = tmp_path / "shop.csr"
    done = run("certs", "request", "shop.example.com", "192.0.2.7", "--organization", "Example", "-o", file)
    assert done.code == 0
    asked = csr_read(file.read_bytes())
    assert (asked.names, asked.subject) == (["shop.example.com", "192.0.2.7"], "O=Example")
    assert run("certs", "request", "--of", "shop.example.com").out == file.read_text()
    answer = tmp_path / "answer.pem"
    start = clock.now() - timedelta(hours=1)
    made = pki.certificate(stock.CA, asked.names, asked.public_key, days=90, start=start)
    answer.write_bytes(made.public_bytes(Encoding.PEM))
    assert "the answer to the request of" in run("certs", "import", answer).out
    row = Certificate.objects.get()
    assert row.current is not None
    assert row.current.key is not None
    assert row.request_pem == ""


def test_the_next_version_is_asked_for_with_the_same_key_or_a_new_one() -> None:
    row = stock.uploaded("own.example")
    first = csr_read(run("certs", "request", "--of", "own.example").out.encode())
    assert row.current is not None
    assert row.current.key is not None
    assert first.spki_sha256 == row.current.key.spki_sha256
    assert run("certs", "request", "other.example", "--of", "own.example").code != 0
    assert run("certs", "request", "--of", "own.example", "--key-type", "ec-p384").code != 0  # one waits already


def test_a_key_pair_is_asked_a_certificate_for() -> None:
    run("certs", "key-pair", "--name", "Tokens")
    asked = csr_read(run("certs", "request", "a.example.com", "--of", "Tokens").out.encode())
    row = Certificate.objects.get()
    assert row.key is not None
    assert asked.spki_sha256 == row.key.spki_sha256


def test_what_cannot_be_asked_for_or_written_makes_no_key(tmp_path: Path) -> None:
    there = tmp_path / "there.csr"
    there.write_text("mine")
    for words in (["a b"], [], ["a.example", "--country", "Germany"], ["a.example", "-o", there]):
        done = run("certs", "request", *words)
        assert done.code != 0
        assert done.err
    assert there.read_text() == "mine"
    assert not PrivateKey.objects.exists()
