"""What differs between two certificates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cryptography import x509

from certs.domain.certinfo import CertInfo, certificate_info, common_name_of, extension_of
from certs.domain.keys import key_kind, spki_sha256


@dataclass(frozen=True)
class Fact:
    """One line of the comparison; `name` is for programs, `label` for people."""

    name: str
    label: str
    before: str
    after: str

    @property
    def is_same(self) -> bool:
        return self.before == self.after


@dataclass(frozen=True)
class Comparison:
    facts: tuple[Fact, ...]
    names_added: tuple[str, ...]  # with e-mail addresses and URIs
    names_removed: tuple[str, ...]
    key_changed: bool

    @property
    def differences(self) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if not fact.is_same)

    def as_json(self) -> dict[str, Any]:
        """`differences` holds only what is not the same."""
        return {
            "differences": [asdict(fact) for fact in self.differences],
            "names_added": list(self.names_added),
            "names_removed": list(self.names_removed),
            "key_changed": self.key_changed,
        }


def certificates_compare(before: Sequence[x509.Certificate], after: Sequence[x509.Certificate]) -> Comparison:
    """Each is a chain, the leaf first; both were read by `pem.certificates_read`."""
    old, new = certificate_info(before[0]), certificate_info(after[0])
    old_names, new_names = ([*info.names, *info.other_names] for info in (old, new))
    told = zip(_facts(before, old), _facts(after, new), strict=True)
    return Comparison(
        facts=tuple(Fact(name, label, was, now) for (name, label, was), (_, _, now) in told),
        names_added=tuple(name for name in new_names if name not in old_names),
        names_removed=tuple(name for name in old_names if name not in new_names),
        key_changed=spki_sha256(before[0].public_key()) != spki_sha256(after[0].public_key()),
    )


def _facts(chain: Sequence[x509.Certificate], info: CertInfo) -> list[tuple[str, str, str]]:
    leaf = chain[0]
    return [
        ("subject", "Subject", info.subject or "empty"),
        ("issuer", "Issuer", info.issuer),
        ("from", "Valid from", f"{info.not_before:%Y-%m-%d %H:%M:%S} UTC"),
        ("to", "Expiry", f"{info.not_after:%Y-%m-%d %H:%M:%S} UTC"),
        ("lifetime", "Lifetime", _lifetime(info)),
        ("key", "Key", key_kind(leaf.public_key())),
        ("spki", "Public key (SHA-256)", spki_sha256(leaf.public_key())),
        ("signature", "Signature", _signature(leaf)),
        ("usage", "Usage", ", ".join(_usages(leaf)) or "any"),
        ("ca", "Authority", "yes" if info.is_ca else "no"),
        ("chain", "Chain", " → ".join(map(_name, chain[1:])) or "none"),
        ("serial", "Serial", info.serial),
        ("fingerprint", "SHA-256", info.fingerprint_sha256),
    ]


def _lifetime(info: CertInfo) -> str:
    # RFC 5280 §4.1.2.5: the last second counts.
    hours = (info.not_after - info.not_before).total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"


def _signature(leaf: x509.Certificate) -> str:
    return getattr(leaf.signature_algorithm_oid, "_name", "") or leaf.signature_algorithm_oid.dotted_string


def _usages(leaf: x509.Certificate) -> list[str]:
    usage = extension_of(leaf.extensions, x509.ExtendedKeyUsage) or ()
    return [getattr(oid, "_name", "") or oid.dotted_string for oid in usage]


def _name(certificate: x509.Certificate) -> str:
    return common_name_of(certificate.subject) or certificate.subject.rfc4514_string()
