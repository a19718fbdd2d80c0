"""What the field's own rules say of a certificate before it is signed: pkilint, by RFC 5280 and the CA/Browser Forum.

What is linted are the very bytes to be signed, under a throw-away key of the issuer's kind. pkilint takes 0.4 s and
some 50 MB to import, so it is imported by the first certificate that is linted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.errors import InputError, NameRefused
from certs.domain.hosts import host_parse
from certs.domain.keys import Key, key_generate, key_type_of
from certs.domain.names import SELF_SIGNED, name_parse


class Severity(IntEnum):
    """As pkilint counts."""

    FATAL = 0
    ERROR = 1
    WARNING = 2
    NOTICE = 3
    INFO = 4


@dataclass(frozen=True)
class Finding:
    severity: Severity
    code: str  # pkilint's own, such as pkix.aki_keyidentifier_missing
    text: str  # one sentence
    where: str  # path of the field within the certificate

    @property
    def stops(self) -> bool:
        return self.severity <= Severity.ERROR


class LintRefused(InputError):
    """A rule forbids what was about to be signed; `findings` are all of them, the warnings too."""

    code = "lint"

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        stopping = [finding for finding in findings if finding.stops]
        said = " ".join(finding.text for finding in stopping[:3])
        more = f" And {len(stopping) - 3} more." if len(stopping) > 3 else ""
        super().__init__(
            f"It was not signed, since it would break a rule of its profile. {said}{more}",
            advice="Change what it names, or choose another profile.",
        )
        self.findings = findings


def lint(certificate: x509.Certificate, *, public_style: bool = False) -> tuple[Finding, ...]:
    """All findings from notices upwards, the gravest first. `public_style` adds the rules for public TLS servers."""
    validators = _validators(public_style)
    document = _load(certificate.public_bytes(Encoding.DER))
    results = validators.validate(document.root)
    if public_style:
        results = _superseded(results)
    found = [
        _finding(described, result)
        for result in results
        for described in result.finding_descriptions
        if described.finding.severity <= Severity.NOTICE and not (_is_name(described) or _is_uri(described))
    ]
    _take_apart(document.root)
    document.root = None
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.severity))


def _is_name(described: Any) -> bool:
    """What pkilint takes for no domain name, and is one: wildcards, which RFC 5280 does not know and RFC 9525 §6.3
    does, and single labels such as localhost, which are names by RFC 1034 §3.5."""
    found = _NAME.search(described.message or "")
    if described.finding.code != "pkix.invalid_domain_name_syntax" or found is None:
        return False
    name = found["name"]
    try:
        return (name.startswith("*.") or "." not in name) and name_parse(name, SELF_SIGNED) == name
    except NameRefused:
        return False


def _is_uri(described: Any) -> bool:
    """What pkilint takes for no URI, and is one: schemes that it does not know (spiffe, urn), and single labels."""
    found = _NAME.search(described.message or "")
    if described.finding.code != "pkix.invalid_uri_syntax" or found is None:
        return False
    try:
        return host_parse(f"uri:{found['name']}").value == found["name"]
    except NameRefused:
        return False


def lint_refuse(found: tuple[Finding, ...]) -> None:
    """Raises LintRefused where one of them stops the signature."""
    if any(finding.stops for finding in found):
        raise LintRefused(found)


def throwaway_key(key: Key) -> Key:
    """One that signs by the same algorithm as `key`; nothing that it signs leaves the process."""
    return throwaway("rsa" if isinstance(key, rsa.RSAPrivateKey) else key_type_of(key))


def throwaway(key_type: str) -> Key:
    """The same by an id of OWN_KEY_TYPES. Of RSA any size will do: what is linted does not tell it."""
    return _throwaway("rsa-2048" if key_type.startswith("rsa") else key_type)


@cache
def _throwaway(key_type: str) -> Key:
    return key_generate(key_type)


_NAME = re.compile(r'"(?P<name>[^"]+)"')
# What pkilint says in codes, for the rules that people meet.
_SENTENCES = {
    "pkix.invalid_uri_syntax": "A URI is not written as RFC 3986 has it.",
    "pkix.basic_constraints_has_pathlen_for_non_ca": "Only a CA has a path length.",
    "cabf.serverauth.validity_period_exceeds_398_days": "It would be valid for more than 398 days.",
    "cabf.internal_domain_name": "A name does not end in a public domain.",
    "cabf.internal_ip_address": "An address belongs to a private network.",
    "cabf.serverauth.subscriber.san_extension_missing": "It names no host.",
}


def _finding(described: Any, result: Any) -> Finding:
    code, message = described.finding.code, (described.message or "").strip().rstrip(".")
    plain = code.rpartition(".")[2].replace("_", " ").capitalize()
    sentence = _SENTENCES.get(code, f"{plain}.")
    message = message.removeprefix(f"{plain}: ")
    text = f"{sentence.rstrip('.')}: {message}." if message else sentence
    return Finding(Severity(described.finding.severity), code, f"{text} ({code})", result.node.path)


def _load(der: bytes) -> Any:
    from pkilint import loader  # noqa: PLC0415 (heavy: see the top)

    return loader.load_certificate(der, "certificate")


def _take_apart(node: Any) -> None:
    """Parents and children point at each other: so they go at once, and need not be found by the collector."""
    for child in node.children.values():
        _take_apart(child)
    node.children.clear()


class _Decoder:
    """Decodes as pkilint does, and remembers small parts: most extensions of certificates of one issuer are alike to
    the byte. Nothing changes what was decoded."""

    def __init__(self, decode: Callable[..., tuple[Any, bytes]]) -> None:
        self._decode = decode
        self._known: dict[tuple[int, bytes], tuple[Any, tuple[Any, bytes]]] = {}

    def __call__(self, substrate: Any, asn1Spec: Any) -> tuple[Any, bytes]:
        der = bytes(substrate)
        if len(der) > _PART_BYTES:
            return self._decode(der, asn1Spec=asn1Spec)
        # The schema is kept beside, since its id is the key.
        found = self._known.get((id(asn1Spec), der))
        if found is None:
            if len(self._known) >= _PARTS:
                self._known.clear()
            found = self._known[id(asn1Spec), der] = asn1Spec, self._decode(der, asn1Spec=asn1Spec)
        return found[1]


_PARTS, _PART_BYTES = 512, 256


@cache
def _remember_parts() -> None:
    from pkilint import document  # noqa: PLC0415 (heavy: see the top)

    document.decode_der = _Decoder(document.decode_der)


@cache
def _validators(public_style: bool) -> Any:
    from pkilint.cabf import serverauth  # noqa: PLC0415 (heavy: see the top)
    from pkilint.cabf.serverauth.serverauth_constants import CertificateType  # noqa: PLC0415 (heavy: see the top)
    from pkilint.pkix import certificate, extension, name  # noqa: PLC0415 (heavy: see the top)

    if public_style:
        decoding = serverauth.create_decoding_validators()
        rules = serverauth.create_validators(CertificateType.DV_FINAL_CERTIFICATE)
    else:
        decoding = certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS)
        rules = [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ]
    container = certificate.create_pkix_certificate_validator_container(decoding, rules)
    _index(container)
    _remember_parts()
    return container


def _superseded(results: Any) -> Any:
    """Without those of RFC 5280 that the CA/Browser Forum rules otherwise."""
    from pkilint import finding_filter  # noqa: PLC0415 (heavy: see the top)
    from pkilint.cabf import serverauth  # noqa: PLC0415 (heavy: see the top)
    from pkilint.cabf.serverauth.serverauth_constants import CertificateType  # noqa: PLC0415 (heavy: see the top)

    filters = serverauth.create_serverauth_finding_filters(CertificateType.DV_FINAL_CERTIFICATE)
    return finding_filter.filter_results(filters, results)[0]


def _index(container: Any) -> None:
    """Let each container ask only those of its validators that can match, which halves the time.

    Whether one can depends on the path of the node and on its class, and is remembered by these; the validator's own
    `match` is asked all the same. `tests/domain/test_lint.py` compares the findings with those of an untouched one.
    """
    for validator in container.validators:
        if hasattr(validator, "validators"):
            _index(validator)

    @lru_cache(maxsize=8192)
    def candidates(path: str, kind: type) -> tuple[Any, ...]:
        return tuple(one for one in container.validators if _can_match(one, path, kind))

    def visit(node: Any, results: list[Any]) -> None:
        for validator in candidates(str(node.path), type(node.pdu)):  # type: ignore[arg-type]  # a class is hashable
            if validator.match(node):
                result = validator.validate_wrapper(node)
                if isinstance(result, list):
                    results += result
                else:
                    results.append(result)
        for child in node.children.values():
            visit(child, results)

    container._validate_rec = visit


def _can_match(validator: Any, path: str, kind: type) -> bool:
    if validator._path is not None and validator._path != path:
        return False
    if validator._path_re is not None and validator._path_re.match(path) is None:
        return False
    return validator._pdu_class is None or issubclass(kind, validator._pdu_class)
