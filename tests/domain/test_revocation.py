"""What a CRL says, and which lists say nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.errors import InputError
from certs.domain.revocation import CrlRefused, crl_entry, crl_read, crl_urls, reason_number
from tests.harness import pki

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
URL = "http://ca.example/7.crl"
CA, OTHER = pki.authority("A CA"), pki.authority("Another CA")
Builder = x509.CertificateRevocationListBuilder


def crl(
    change: Callable[[Builder], Builder] = lambda builder: builder,
    *,
    signer: pki.Pair = CA,
    name: x509.Name | None = None,
    last: timedelta = -timedelta(hours=1),
    following: timedelta = timedelta(days=1),
) -> bytes:
    builder = (
        Builder().issuer_name(name or signer.certificate.subject).last_update(NOW + last).next_update(NOW + following)
    )
    return change(builder).sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def revoked(serial: int, reason: x509.ReasonFlags | None = None) -> Callable[[Builder], Builder]:
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(days=1))
    if reason is not None:
        entry = entry.add_extension(x509.CRLReason(reason), critical=False)
    return lambda builder: builder.add_revoked_certificate(entry.build())


def scope(**given: object) -> Callable[[Builder], Builder]:
    fields: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    point = x509.IssuingDistributionPoint(**{**fields, **given})  # type: ignore[arg-type]
    return lambda builder: builder.add_extension(point, critical=True)


def uri(text: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(text)]


def read(data: bytes) -> x509.CertificateRevocationList:
    return crl_read(data, CA.certificate, URL, NOW)


def test_an_entry_tells_when_and_why() -> None:
    found = crl_entry(read(crl(revoked(77, x509.ReasonFlags.key_compromise))), 77)
    assert found is not None
    assert (found.at, found.reason) == (NOW - timedelta(days=1), "keyCompromise")


def test_an_entry_without_a_reason_has_none_given() -> None:
    found = crl_entry(read(crl(revoked(77))), 77)
    assert found is not None
    assert found.reason == "unspecified"


def test_who_is_not_on_the_list_is_not_revoked() -> None:
    assert crl_entry(read(crl(revoked(77))), 78) is None


def test_pem_is_read_too() -> None:
    assert crl_entry(read(x509.load_der_x509_crl(crl(revoked(5))).public_bytes(Encoding.PEM)), 5)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a revocation list"),
        (b"<html>no</html>", "not a revocation list"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "not a revocation list"),
        (crl(signer=OTHER), "not signed by"),
        (crl(signer=OTHER, name=CA.certificate.subject), "not signed by"),
        (crl(last=timedelta(hours=1), following=timedelta(hours=2)), "from the future"),
        (crl(last=-timedelta(days=2), following=-timedelta(seconds=1)), "out of date"),
        (crl(following=timedelta(0)), "out of date"),
        (crl(scope(full_name=uri("http://ca.example/8.crl"))), "other certificates"),
        (crl(scope(only_contains_ca_certs=True)), "not about certificates"),
        (crl(scope(only_contains_attribute_certs=True)), "not about certificates"),
        (crl(scope(indirect_crl=True)), "not about certificates"),
        (crl(scope(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))), "not about certificates"),
        (crl(lambda b: b.add_extension(x509.DeltaCRLIndicator(3), critical=True)), "changes only"),
        (
            crl(lambda b: b.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x"), True)),
            "not known here",
        ),
    ],
)
def test_from_such_a_list_nothing_follows(data: bytes, why: str) -> None:
    with pytest.raises(CrlRefused, match=why):
        read(data)


def test_a_changed_list_is_not_believed() -> None:
    data = bytearray(crl(revoked(77)))
    data[-3] ^= 1
    with pytest.raises(CrlRefused):
        read(bytes(data))


def test_a_shard_of_ours_is_read() -> None:
    read(crl(scope(full_name=uri(URL), only_contains_user_certs=True)))


def with_points(*points: x509.DistributionPoint) -> x509.Certificate:
    leaf = pki.leaf(CA, ["a.example"])
    return (
        x509.CertificateBuilder()
        .subject_name(leaf.certificate.subject)
        .issuer_name(CA.certificate.subject)
        .public_key(leaf.certificate.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(x509.CRLDistributionPoints(points), critical=False)
        .sign(CA.key, hashes.SHA256())
    )


def test_only_whole_lists_of_the_issuer_itself_are_asked_for() -> None:
    reasons = frozenset({x509.ReasonFlags.superseded})
    certificate = with_points(
        x509.DistributionPoint(uri(URL), None, None, None),
        x509.DistributionPoint(uri("http://ca.example/some"), None, reasons, None),
        x509.DistributionPoint(uri("http://other"), None, None, [x509.DirectoryName(OTHER.certificate.subject)]),
    )
    assert crl_urls(certificate) == [URL]
    assert crl_urls(pki.leaf(CA, ["a.example"]).certificate) == []


def test_reasons_that_a_person_may_not_give() -> None:
    assert reason_number("superseded") == 4
    for text in ("certificateHold", "cACompromise", "", "4"):
        with pytest.raises(InputError):
            reason_number(text)
