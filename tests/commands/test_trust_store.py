"""`manage.py certs trust-store`."""

from pathlib import Path

import pytest

from certs.domain.jks import TrustedEntry, jks_read
from certs.models import Certificate
from certs.services.keys import key_import
from certs.services.versions import version_add
from tests import stock
from tests.commands.running import run
from tests.harness import pki

pytestmark = pytest.mark.django_db


def authority(name: str) -> pki.Pair:
    pair = pki.authority(name)
    row = Certificate.objects.create(name=name, source=Certificate.Source.UPLOADED)
    version_add(row, leaf=pair.certificate, chain=[], key=key_import(pair.key))  # type: ignore[arg-type]
    return pair


def test_chosen_authorities_in_one_file(tmp_path: Path) -> None:
    pairs = [authority(name) for name in ("Root A", "Root B")]
    (tmp_path / "password").write_text("changeit\n")
    words = ["-o", tmp_path / "our.jks", "--set-file", f"password={tmp_path / 'password'}"]
    ran = run("certs", "trust-store", "truststore-jks", "Root A", "Root B", *words)
    assert ran.code == 0, ran
    entries = jks_read((tmp_path / "our.jks").read_bytes(), "changeit")
    assert [entry.certificate for entry in entries if isinstance(entry, TrustedEntry)] == [
        pair.certificate for pair in pairs
    ]


def test_a_leaf_and_another_format_are_refused(tmp_path: Path) -> None:
    stock.uploaded("a.example")
    ran = run("certs", "trust-store", "trust-pem", "a.example", "-o", tmp_path)
    assert ran.code == 4
    assert "no CA certificate" in ran.err
    assert run("certs", "trust-store", "pkcs12", "a.example", "-o", tmp_path).code != 0
    assert not list(tmp_path.iterdir())


def test_one_goes_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = authority("Root A")
    ran = run("certs", "trust-store", "trust-pem", "Root A", "-o", "-")
    assert (ran.code, list(tmp_path.iterdir())) == (0, [])
    assert pair.pem.strip() in ran.out
