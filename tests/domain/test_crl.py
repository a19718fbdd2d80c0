"""Lists that our own authorities sign, read by cryptography, openssl and certtool."""

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certs.domain.crl import Revoked, crl_build, entries_kept
from certs.domain.keys import Key, key_generate
from certs.domain.revocation import CRL_REASONS, HOLD, KEY_COMPROMISE, crl_read
from tests.harness import pki

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
CA = pki.authority("Our CA")


def revoked(serial: int, *, reason: str = "", at: datetime = NOW - DAY, ends: datetime = NOW + 30 * DAY) -> Revoked:
    return Revoked(serial, at, reason, ends)


def built(*entries: Revoked, ca: pki.Pair = CA, number: int = 7) -> bytes:
    key: Key = ca.key  # type: ignore[assignment]
    return crl_build(
        ca.certificate,
        key,
        entries,
        number=number,
        this_update=NOW,
        next_update=NOW + 7 * DAY,
    )


def test_what_stands_on_it() -> None:
    entries = [revoked(number, reason=reason) for number, reason in enumerate(sorted(CRL_REASONS), start=1)]
    crl = crl_read(built(*entries, revoked(99)), CA.certificate, "http://any/", NOW)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    own = CA.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    named = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert named.key_identifier == own.digest
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, NOW + 7 * DAY)
    for entry in entries:
        row = crl.get_revoked_certificate_by_serial_number(entry.serial)
        assert row is not None
        assert row.revocation_date_utc == entry.at
        if entry.reason == "unspecified":
            assert not list(row.extensions)  # RFC 5280 §5.3.1
        else:
            assert row.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == entry.reason
    unsaid = crl.get_revoked_certificate_by_serial_number(99)
    assert unsaid is not None
    assert not list(unsaid.extensions)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_openssl_and_certtool_take_it(key_type: str, tmp_path: Path, need: Callable[..., list[Path]]) -> None:
    openssl, certtool = need("openssl", "certtool")
    ca = pki.authority("Signed By Any Key", key=key_generate(key_type))
    good, bad = pki.leaf(ca, ["good.example"]), pki.leaf(ca, ["bad.example"])
    entry = revoked(bad.certificate.serial_number, reason=KEY_COMPROMISE)
    (tmp_path / "ca.pem").write_text(ca.pem)
    (tmp_path / "good.pem").write_text(good.pem)
    (tmp_path / "bad.pem").write_text(bad.pem)
    (tmp_path / "list.der").write_bytes(built(entry, revoked(5, reason=HOLD), ca=ca))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    shown = run(openssl, "crl", "-inform", "DER", "-in", "list.der", "-CAfile", "ca.pem", "-noout", "-text")
    assert "verify OK" in shown.stderr
    assert "Key Compromise" in shown.stdout
    assert "Certificate Hold" in shown.stdout
    assert run(openssl, "crl", "-inform", "DER", "-in", "list.der", "-out", "list.pem").returncode == 0
    verify = (openssl, "verify", "-x509_strict", "-crl_check_all", "-CAfile", "ca.pem", "-CRLfile", "list.pem")
    assert run(*verify, "good.pem").returncode == 0
    refused = run(*verify, "bad.pem")
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stderr
    second = run(certtool, "--verify-crl", "--load-ca-certificate", "ca.pem", "--infile", "list.pem")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Verified" in second.stdout


def test_an_empty_list_is_a_list() -> None:
    crl = crl_read(built(), CA.certificate, "http://any/", NOW)
    assert len(crl) == 0


def test_a_hundred_thousand_entries_are_no_matter() -> None:
    entries = [revoked(number, reason=KEY_COMPROMISE) for number in range(1 << 100, (1 << 100) + 100_000)]
    begun = time.monotonic()
    crl = x509.load_der_x509_crl(built(*entries))
    assert time.monotonic() - begun < 10  # some 0.6 s; the builder's own way takes minutes
    assert len(crl) == 100_000


def test_the_far_future_is_written_as_rfc_5280_asks() -> None:
    entry = revoked(1, at=datetime(2051, 1, 1, tzinfo=UTC), ends=datetime(2052, 1, 1, tzinfo=UTC))
    (row,) = x509.load_der_x509_crl(built(entry))
    assert row.revocation_date_utc == entry.at


LIFE = 7 * DAY


@pytest.mark.parametrize(
    ("ends", "at", "previous", "kept"),
    [
        (NOW + DAY, NOW - DAY, NOW - DAY, True),  # lives
        (NOW - DAY, NOW - 9 * DAY, None, True),  # expired, but no list has told of it yet
        (NOW - DAY, NOW - 9 * DAY, NOW - 2 * DAY, True),  # the last list is from before its end
        (NOW - 3 * DAY, NOW - 90 * DAY, NOW - 2 * DAY, True),  # after its end, but perhaps not a scheduled one
        (NOW - 30 * DAY, NOW - 90 * DAY, NOW - 2 * DAY, False),
        (NOW - 30 * DAY, NOW - DAY, NOW - 2 * DAY, True),  # revoked after its end: on one list at least
        (NOW - 30 * DAY, NOW - 90 * DAY, NOW - 40 * DAY, True),  # the portal was down all the while
    ],
)
def test_an_entry_goes_when_a_list_told_of_it_after_its_end(
    ends: datetime, at: datetime, previous: datetime | None, kept: bool
) -> None:
    entry = revoked(1, at=at, ends=ends)
    assert entries_kept([entry], previous=previous, life=LIFE) == ([entry] if kept else [])
