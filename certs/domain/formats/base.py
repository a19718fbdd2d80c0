"""What a format is: how a certificate, its chain or its key is written to a file.

A new format is one more `Format` at the top of a module here, and its row in tests/domain/test_formats.py. Pages, the
API, the command line and the docs take it from there, its options from its Options (certs/domain/options.py).
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certs.domain.certinfo import certificate_info, common_name_of, is_self_signed
from certs.domain.errors import CertificateRefused, InputError
from certs.domain.keys import Key
from certs.domain.options import NoOptions, OptionRefused, option
from certs.domain.pem import Chain
from certs.domain.registry import declared

PASSWORD_LENGTHS = range(6, 129)  # Java's keytool takes none that is shorter
_WORDS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # nothing that looks like something else
_STEM_LIMIT = 100


class Need(StrEnum):
    """What a format cannot do without."""

    CERTIFICATE = "certificate"
    KEY = "private key"
    PUBLIC_KEY = "public key"
    TRUSTED = "trusted"  # certificates to trust: those above it, or chosen ones


class Group(StrEnum):
    PEM = "PEM files"
    STORE = "Key stores with a password"
    BINARY = "Binary and bundled certificates"
    TRUST = "Trust stores"
    KUBERNETES = "Kubernetes"


@dataclass(frozen=True)
class Material:
    """What there is to write. `chain` is None for a key pair; `key` where it is not wanted or not held here.

    `trusted` are the chosen certificates of a trust store; empty: those that stand above `chain`.
    """

    name: str
    now: datetime
    public_key: PublicKeyTypes | None = None
    chain: Chain | None = None
    key: Key | None = field(default=None, repr=False)
    trusted: tuple[x509.Certificate, ...] = ()

    @property
    def whole_chain(self) -> Chain:
        if self.chain is None:
            raise CertificateRefused(f"{self.name} has no certificate yet, only a key.")
        return self.chain

    @property
    def private_key(self) -> Key:
        if self.key is None:
            raise InputError(f"The private key of {self.name} is not held here.", code="key-not-here")
        return self.key

    @property
    def stem(self) -> str:
        return file_stem(self.name)


@dataclass(frozen=True)
class Format:
    """`make` gets the Material and an instance of `options`. `suffix` follows the certificate's name in the file's.

    `help` says who reads it.
    """

    id: str
    label: str
    help: str
    group: Group
    suffix: str
    media_type: str
    needs: frozenset[Need]
    make: Callable[[Material, Any], bytes]
    options: type[Any] = NoOptions

    @property
    def has_key(self) -> bool:
        """Whether the private key leaves with it."""
        return Need.KEY in self.needs

    def file_name(self, material: Material) -> str:
        return material.stem + self.suffix


def formats() -> dict[str, Format]:
    """All of them by id, group by group."""
    order = list(Group)
    found = declared("certs.domain.formats", Format)
    return {each.id: each for each in sorted(found, key=lambda each: order.index(each.group))}


def format_find(name: str) -> Format:
    """Raises InputError."""
    found = formats().get(name)
    if found is None:
        raise InputError(f"“{name[:40]}” is no format.", advice=f"Use one of {', '.join(formats())}.", code="format")
    return found


def file_stem(name: str) -> str:
    """A name that every file system and every header takes: ASCII letters, digits, dot, hyphen and underscore."""
    text = re.sub(r"[^a-z0-9._-]+", "_", name.lower().replace("*", "wildcard"))
    return text[:_STEM_LIMIT].strip("._-") or "certificate"


def alias_of(material: Material, alias: str) -> str:
    """The alias that was wished, or one of the certificate's name. Java compares them without regard to case."""
    alias = alias.strip().lower() or material.stem
    if len(alias) > 255 or not alias.isprintable():
        raise OptionRefused("The alias cannot be used.", field="alias", advice="Give up to 255 characters of one line.")
    return alias


def password_check(password: str, field: str = "password") -> str:
    """Readers agree on printable ASCII only: Java and Windows write other letters each in its own way.

    Raises OptionRefused.
    """
    if len(password) not in PASSWORD_LENGTHS:
        low, high = PASSWORD_LENGTHS[0], PASSWORD_LENGTHS[-1]
        raise OptionRefused(
            f"A password of {low} to {high} characters is needed.",
            field=field,
            advice="Java's keytool takes no shorter ones.",
        )
    if not password.isascii() or not password.isprintable():
        raise OptionRefused(
            "The password has letters that programs read differently.",
            field=field,
            advice="Use letters without accents, digits and signs.",
        )
    return password


def password_suggest() -> str:
    """A random one, 116 bits."""
    return "".join(secrets.choice(_WORDS) for _ in range(20))


def password_option(label: str = "Password", *, help: str = "At least six characters.", default: Any = None) -> Any:
    if default is None:
        return option(label, secret=True, verbatim=True, help=help)
    return option(label, secret=True, verbatim=True, help=help, default=default)


ANCHOR, ALL = "anchor", "all"


def what_option() -> Any:
    choices = ((ANCHOR, "the topmost that is known, usually the root"), (ALL, "every CA of the chain"))
    return option("Certificates", default=ANCHOR, choices=choices)


@dataclass(frozen=True)
class TrustStoreOptions:
    password: str = password_option(help="At least six characters; Java's custom is “changeit”.")
    what: str = what_option()


def chain_certificates(chain: Chain, *, leaf: bool = True, root: bool = False) -> list[x509.Certificate]:
    """In the order of TLS. Raises OptionRefused where the root is wished and not known."""
    if root and chain.root is None and not is_self_signed(chain.leaf):
        raise OptionRefused(
            "The root of this chain is not known here.",
            field="root",
            advice="Import it as a trusted certificate, or leave it out: servers do not send it.",
        )
    above = [*chain.intermediates, *([chain.root] if root and chain.root else [])]
    return [chain.leaf, *above] if leaf else above


def trusted_of(material: Material, what: str) -> list[x509.Certificate]:
    """What somebody must trust to accept it: the topmost certificate that is known, or every CA of the chain.

    A certificate that signs itself is trusted itself. Raises CertificateRefused.
    """
    if material.trusted:
        return list(dict.fromkeys(material.trusted))
    chain = material.whole_chain
    above = [*chain.intermediates, *([chain.root] if chain.root else [])]
    if certificate_info(chain.leaf).is_ca or is_self_signed(chain.leaf):
        above.insert(0, chain.leaf)
    if not above:
        raise CertificateRefused(
            f"None of the CAs above {material.name} is known here.",
            advice="Add the intermediates to the certificate, or import its root.",
        )
    return above if what == ALL else above[-1:]


def trusted_aliases(certificates: Sequence[x509.Certificate]) -> list[str]:
    """One alias each, of its common name, numbered where two are alike."""
    aliases: list[str] = []
    for certificate in certificates:
        base = file_stem(common_name_of(certificate.subject) or "ca")
        wished = (base if number == 1 else f"{base}-{number}" for number in count(1))
        aliases.append(next(alias for alias in wished if alias not in aliases))
    return aliases
