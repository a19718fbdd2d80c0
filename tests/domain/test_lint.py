"""The lint that we ask faster finds what pkilint finds."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pkilint import document, loader, validation
from pkilint.pkix import certificate, extension, name
from pyasn1_fasder import decode_der

from certs.domain.lint import LintRefused, lint, lint_refuse, throwaway
from certs.domain.plans import SKEW
from certs.domain.wishes import Wish
from tests.domain.test_authority import BELOW, NOW, ROOT, made


def untouched(given: x509.Certificate) -> set[str]:
    """Codes of pkilint as it comes, from notices upwards."""
    rules = [
        certificate.create_issuer_validator_container([]),
        certificate.create_validity_validator_container(),
        certificate.create_subject_validator_container([]),
        certificate.create_extensions_validator_container([]),
        certificate.create_spki_validator_container([]),
    ]
    decoding = certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS)
    container = certificate.create_pkix_certificate_validator_container(decoding, rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "decode_der", decode_der)
        results = container.validate(loader.load_certificate(given.public_bytes(Encoding.DER), "x").root)
    return {
        found.finding.code
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity <= validation.ValidationFindingSeverity.NOTICE
    }


def broken(*extensions: tuple[x509.ExtensionType, bool], serial: int = 5, common: str = "x") -> x509.Certificate:
    key = throwaway("ec-p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(BELOW.name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - SKEW)
        .not_valid_after(NOW)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())


SAMPLES = (
    ROOT.certificate,
    BELOW.certificate,
    made(Wish(profile="server", hosts=("a.example.com", "10.0.0.1")), BELOW),
    made(Wish(profile="custom", subject="CN=x", hosts=("me@example.com",), usages=("email",)), BELOW),
    broken(),
    broken((x509.BasicConstraints(False, None), False)),
    broken((x509.SubjectAlternativeName([x509.DNSName("a_b..c")]), False)),
    broken((x509.SubjectAlternativeName([x509.UniformResourceIdentifier("no uri")]), True)),
    broken((x509.NameConstraints([x509.DNSName("a_b")], None), False)),
    broken((x509.SubjectKeyIdentifier(b"x"), True), (x509.KeyUsage(*[False] * 9), False)),
)


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_the_index_loses_no_finding(sample: x509.Certificate) -> None:
    assert {finding.code for finding in lint(sample)} == untouched(sample)


def test_what_was_decoded_for_one_changes_no_finding_of_another() -> None:
    """Parts that are alike are decoded once; with rules between that look at them in other ways."""
    first = [lint(sample) for sample in SAMPLES]
    public = [lint(sample, public_style=True) for sample in SAMPLES]
    assert [lint(sample) for sample in reversed(SAMPLES)] == first[::-1]
    assert [lint(sample, public_style=True) for sample in SAMPLES] == public


def test_a_violation_stops_with_its_explanation() -> None:
    found = lint(broken())
    with pytest.raises(LintRefused) as caught:
        lint_refuse(found)
    assert "Authority key identifier extension absent" in caught.value.message
    assert caught.value.findings == found


def test_schemes_and_single_labels_are_uris_and_broken_ones_are_none() -> None:
    for uri in ("http://localhost:8000/pki/crl/1.crl", "http://pki/1.crl", "spiffe://example.org/a", "urn:uuid:a-b"):
        good = broken((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False))
        assert "pkix.invalid_uri_syntax" not in {finding.code for finding in lint(good)}
    for uri in ("http://a b/", "/pki/1.crl", "http://"):
        bad = broken((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False))
        assert "pkix.invalid_uri_syntax" in {finding.code for finding in lint(bad)}


def test_wildcards_and_single_labels_are_names_and_broken_ones_are_none() -> None:
    for name_ in ("*.example.com", "localhost", "intranet"):
        good = broken((x509.SubjectAlternativeName([x509.DNSName(name_)]), False))
        assert "pkix.invalid_domain_name_syntax" not in {finding.code for finding in lint(good)}
    for name_ in ("a.*.example.com", "*.a_b.com", "*", "a_b", "-x", "a..b"):
        bad = broken((x509.SubjectAlternativeName([x509.DNSName(name_)]), False))
        assert "pkix.invalid_domain_name_syntax" in {finding.code for finding in lint(bad)}
