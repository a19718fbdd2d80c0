"""Java's own key stores (JKS)."""

from dataclasses import dataclass

from certs.domain.formats.base import (
    Format,
    Group,
    Material,
    Need,
    TrustStoreOptions,
    alias_of,
    chain_certificates,
    password_check,
    password_option,
    trusted_aliases,
    trusted_of,
)
from certs.domain.jks import KeyEntry, TrustedEntry, jks_write
from certs.domain.options import option

_TYPE = "application/x-java-keystore"


@dataclass(frozen=True)
class Options:
    password: str = password_option("Password of the store")
    key_password: str = password_option(
        "Password of the key", default="", help="Empty: the same. Tomcat and most programs expect the same."
    )
    alias: str = option("Alias", default="", help="The name of the entry. Empty: the certificate's name.")
    root: bool = option("With the root", default=False)


def _key_store(material: Material, options: Options) -> bytes:
    chain = tuple(chain_certificates(material.whole_chain, root=options.root))
    entry = KeyEntry(alias_of(material, options.alias), material.now, material.private_key, chain)
    key_password = password_check(options.key_password, "key_password") if options.key_password else ""
    return jks_write([entry], password_check(options.password), key_password)


def trust_store(material: Material, options: TrustStoreOptions) -> bytes:
    certificates = trusted_of(material, options.what)
    aliases = trusted_aliases(certificates)
    entries = [TrustedEntry(alias, material.now, each) for alias, each in zip(aliases, certificates, strict=True)]
    return jks_write(entries, password_check(options.password))


JKS = Format(
    "jks",
    "JKS key store",
    "Java's older form, weakly encrypted by today's measure; PKCS#12 where the program takes it.",
    Group.STORE,
    ".jks",
    _TYPE,
    frozenset({Need.CERTIFICATE, Need.KEY}),
    _key_store,
    Options,
)
TRUST_STORE = Format(
    "truststore-jks",
    "JKS trust store",
    "The CAs to trust, for any Java. It holds no key.",
    Group.TRUST,
    ".truststore.jks",
    _TYPE,
    frozenset({Need.TRUSTED}),
    trust_store,
    TrustStoreOptions,
)
