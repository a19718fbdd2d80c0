"""The keys of our own CAs: opened to sign, locked with a passphrase where a person must be there."""

from collections.abc import Iterator

from cryptography import x509

from certs.domain.certinfo import is_issued_by
from certs.domain.errors import KeyRefused, NotAllowed
from certs.domain.issuer import Issuer
from certs.domain.keys import Key, key_type_of, spki_sha256
from certs.domain.locked_keys import key_lock, key_unlock, passphrase_check
from certs.domain.pem import certificates_read
from certs.models import Authority, CertificateVersion, PrivateKey
from certs.services.keys import key_is_here, key_open, key_refuse_compromised
from certs.services.secrets import secret_open, secret_seal


def authority_key(authority: Authority, passphrase: str = "") -> Key:
    """The key to sign with. Raises KeyRefused: passphrase-needed, passphrase-wrong, key-not-here."""
    row = authority_version(authority).key
    if row is None or not key_is_here(row):
        raise KeyRefused(
            f"The private key of {authority} is not held here.",
            advice="Import the CA together with its key.",
            code="key-not-here",
        )
    if not row.locked:
        return key_open(row)
    return key_unlock(secret_open(PrivateKey.PURPOSE, row.id, row.sealed), passphrase)


def authority_version(authority: Authority) -> CertificateVersion:
    """Its certificate of today."""
    version = authority.certificate.current
    if version is None:
        raise NotAllowed(f"{authority} has no certificate.", advice="Renew it first.", code="authority-bare")
    return version


def authority_certificate(authority: Authority) -> x509.Certificate:
    return authority_version(authority).leaf


def authorities_above(authority: Authority) -> Iterator[Authority]:
    """Those of ours that signed it, from its parent upwards."""
    row, seen = authority, {authority.pk}
    while (parent := row.certificate.authority) is not None and parent.pk not in seen:
        yield parent
        seen.add(parent.pk)
        row = parent


def authority_above(authority: Authority) -> tuple[x509.Certificate, ...]:
    """From its own issuer up to the root, as far as it is known; empty for a root."""
    rows = [authority, *authorities_above(authority)]
    above = [authority_certificate(row) for row in rows[1:]]
    version = authority_version(rows[-1])
    if version.chain_pem:
        above += certificates_read(version.chain_pem.encode())
    top = above[-1] if above else authority_certificate(authority)
    if top.issuer != top.subject:
        above += _root_of(top)
    return tuple(above)


def _root_of(top: x509.Certificate) -> list[x509.Certificate]:
    """The root of somebody else, where the store holds it: its constraints hold for all below it."""
    rows = CertificateVersion.objects.filter(is_ca=True, self_signed=True, certificate__deleted_at=None)
    for pem in rows.filter(subject=top.issuer.rfc4514_string()[:500]).values_list("leaf_pem", flat=True)[:10]:
        root = certificates_read(pem.encode())[0]
        if is_issued_by(top, root):
            return [root]
    return []


def chain_below(issuer: Issuer) -> list[x509.Certificate]:
    """What is sent along with a certificate that this issuer signed: all but the root (RFC 8446 §4.4.2)."""
    chain = [issuer.certificate, *issuer.above]
    return [one for one in chain if one.issuer != one.subject]


def locked_key_import(key: Key, passphrase: str) -> PrivateKey:
    """As `key_import`, but locked; one that is here already stays as it is. Raises KeyRefused, also for a weak
    passphrase."""
    spki = spki_sha256(key.public_key())
    row = PrivateKey.objects.filter(spki_sha256=spki).first() or PrivateKey(key_type=key_type_of(key), spki_sha256=spki)
    key_refuse_compromised(row)
    if not row.sealed:
        key_row_lock(row, key, passphrase)
        row.held = PrivateKey.Held.HERE
        row.save()
    return row


def key_row_lock(row: PrivateKey, key: Key, passphrase: str) -> None:
    """Set, not saved: `sealed` becomes the encrypted PKCS#8. Raises KeyRefused for a weak passphrase."""
    passphrase_check(passphrase)
    row.sealed = secret_seal(PrivateKey.PURPOSE, row.id, key_lock(key, passphrase))
    row.locked = True
