"""Private keys: which kinds we make, which we accept, and their forms."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass

from asn1crypto.keys import EncryptedPrivateKeyInfo
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from certs.domain.errors import KeyRefused
from certs.domain.pbe import Effort, NotOpened, decrypt, is_known, rounds_check

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Digest = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

SIZE_LIMIT = 1024 * 1024  # bytes of a PEM text with a key
_BLOCK_LIMIT = 64 * 1024
_RSA_BITS = range(2048, 16385)
_CURVES = {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521"}
_CURVE_DIGESTS: dict[int, Digest] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}  # by its bits
_BLOCK = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z0-9 ]{0,20}PRIVATE KEY)-----(?P<body>(?:(?!-----).)*)-----END (?P=kind)-----", re.DOTALL
)


@dataclass(frozen=True)
class KeyType:
    id: str
    label: str
    help: str
    make: Callable[[], Key]


def _rsa(bits: int) -> Callable[[], Key]:
    return lambda: rsa.generate_private_key(public_exponent=65537, key_size=bits)


KEY_TYPES: dict[str, KeyType] = {
    kind.id: kind
    for kind in (
        KeyType("ec-p256", "EC P-256", "small and fast; every current client", lambda: _ec(ec.SECP256R1())),
        KeyType("ec-p384", "EC P-384", "a larger curve where a rule asks for it", lambda: _ec(ec.SECP384R1())),
        KeyType("rsa-2048", "RSA 2048", "for old clients", _rsa(2048)),
        KeyType("rsa-3072", "RSA 3072", "for old clients, until after 2030", _rsa(3072)),
        KeyType("rsa-4096", "RSA 4096", "for old clients; slow handshakes", _rsa(4096)),
        KeyType(
            "ed25519",
            "Ed25519",
            "browsers and public CAs refuse it; own services only",
            ed25519.Ed25519PrivateKey.generate,
        ),
    )
}
# Also what only our own CAs take.
OWN_KEY_TYPES: dict[str, KeyType] = KEY_TYPES | {
    "ec-p521": KeyType("ec-p521", "EC P-521", "the largest curve; some clients refuse it", lambda: _ec(ec.SECP521R1()))
}


def _ec(curve: ec.EllipticCurve) -> Key:
    return ec.generate_private_key(curve)


def key_generate(key_type: str) -> Key:
    """A new key; `key_type` is an id of OWN_KEY_TYPES. Raises KeyRefused. RSA takes up to seconds."""
    kind = OWN_KEY_TYPES.get(key_type)
    if kind is None:
        raise KeyRefused(f"“{key_type}” is no key type.", advice=f"Use one of {', '.join(OWN_KEY_TYPES)}.")
    return kind.make()


def key_type_of(key: object) -> str:
    """The id of the type. Raises KeyRefused for kinds and sizes that no TLS client of today takes."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise KeyRefused(
                f"The RSA key has {key.key_size} bits; between 2048 and 16384 are accepted.",
                advice="Make a new key, and a certificate for it.",
            )
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise KeyRefused(
                f"The key uses the curve {key.curve.name}, which browsers do not know.",
                advice="Use P-256 or P-384.",
            )
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return "ed25519"
    raise KeyRefused(
        f"A key of the kind {type(key).__name__.removesuffix('PrivateKey').removesuffix('PublicKey')} "
        "cannot be used for TLS here.",
        advice="Use RSA of 2048 bits or more, EC P-256 or P-384, or Ed25519.",
    )


def key_kind(public_key: object) -> str:
    """The same for a certificate that is only trusted: also of keys that nobody may use here, as "rsa-1024"."""
    try:
        return key_type_of(public_key)
    except KeyRefused:
        if isinstance(public_key, rsa.RSAPublicKey):
            return f"rsa-{public_key.key_size}"
        return "other"


def key_to_der(key: Key) -> bytes:
    """PKCS#8 DER, unencrypted: for sealing only."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def key_to_pem(key: Key) -> bytes:
    """PKCS#8 PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_der(der: bytes) -> Key:
    """Raises KeyRefused."""
    try:
        return _accepted(load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused("The stored private key cannot be read.") from error


def key_from_encrypted(der: bytes, password: str, effort: Effort) -> Key:
    """Of an EncryptedPrivateKeyInfo (PKCS#8). Raises KeyRefused (code "password-wrong" where it does not open), and
    StoreRefused (code "too-much-work") before a derivation that `effort` cannot pay."""
    try:
        info = EncryptedPrivateKeyInfo.load(der)
        algorithm = info["encryption_algorithm"]
        if is_known(algorithm):
            plain = decrypt(algorithm, bytes(info["encrypted_data"]), password, effort)
            return _accepted(load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True))
        rounds_check(algorithm, effort)  # what the library alone can open: the schemes of before 1999
        return _accepted(load_der_private_key(der, password.encode(), unsafe_skip_rsa_key_validation=True))
    except (*_UNREADABLE, NotOpened) as error:
        raise _wrong_password() from error


def key_from_pem(data: bytes, password: bytes | None = None) -> Key:
    """The first private key of a PEM text: PKCS#8, PKCS#1 or SEC1, encrypted or not. Raises KeyRefused.

    A password for a key that has none is ignored. Other blocks (certificates, EC PARAMETERS) and text are skipped.
    """
    if len(data) > SIZE_LIMIT:
        raise KeyRefused("The file with the key is too large.", advice="Give the PEM file with just the key.")
    found = _BLOCK.search(data)
    if found is None:
        message, advice = _no_block(data)
        raise KeyRefused(message, advice=advice)
    # Indented by a mail program or an editor.
    block = b"\n".join(line.strip() for line in found[0].splitlines())
    if len(block) > _BLOCK_LIMIT:
        raise KeyRefused("The private key is too large.", advice="Give an RSA, EC or Ed25519 key in PEM form.")
    if found["kind"] == b"OPENSSH PRIVATE KEY":
        raise KeyRefused(
            "This is a key in OpenSSH's own form.", advice="Convert a copy of it with: ssh-keygen -p -m PKCS8 -f FILE"
        )
    encrypted = b"ENCRYPTED" in block
    if encrypted and not password:
        raise KeyRefused("The private key is encrypted.", advice="Give its password as well.", code="password-needed")
    return key_from_block(block, password if encrypted else None, Effort())


def key_from_block(block: bytes, password: bytes | None, effort: Effort) -> Key:
    """One PEM block with a private key; `password` only where it is encrypted. Raises as `key_from_encrypted`."""
    try:
        if password is not None and b"BEGIN ENCRYPTED PRIVATE KEY" in block:
            octets = b64decode(b"".join(block.split(b"-----")[2].split()), validate=True)
            return key_from_encrypted(octets, password.decode(errors="replace"), effort)
        if password is not None and not _VECTOR.search(block):
            raise ValueError("a vector of another length than the cipher's, at which the library panics")
        return _accepted(load_pem_private_key(block, password, unsafe_skip_rsa_key_validation=True))
    except _UNREADABLE as error:
        if password is not None:
            raise _wrong_password() from error
        raise KeyRefused(
            "The private key is damaged or of a kind that is not known here.",
            advice="Copy the whole file again, from its BEGIN line to its END line.",
        ) from error


# Of a key that OpenSSL encrypted its own way (RFC 1421 §4.6.1.3).
_VECTOR = re.compile(rb"DEK-Info: (AES-\d{3}-CBC,[0-9A-Fa-f]{32}|DES(-EDE3)?-CBC,[0-9A-Fa-f]{16})\s")
# What the library's parser and asn1crypto's raise for what they cannot read.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, UnsupportedAlgorithm)


def _wrong_password() -> KeyRefused:
    return KeyRefused(
        "The private key cannot be opened with this password.",
        advice="Type the password again; if it is right, the key file is damaged.",
        code="password-wrong",
    )


def _accepted(key: object) -> Key:
    key_type_of(key)
    if isinstance(key, rsa.RSAPrivateKey):
        _rsa_check(key)
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise KeyRefused("This is not a private key.")


def _rsa_check(key: rsa.RSAPrivateKey) -> None:
    """That its numbers belong together and it signs what its public half verifies. Raises ValueError.

    The library's own check proves the primes as well, which takes seconds for a large key that a file may bring.
    """
    numbers = key.private_numbers()
    public, d, p, q = numbers.public_numbers, numbers.d, numbers.p, numbers.q
    fits = (
        min(p, q) > 1
        and p * q == public.n
        and public.e * d % (p - 1) == 1
        and public.e * d % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and numbers.iqmp * q % p == 1
    )
    if not fits:
        raise ValueError("numbers of an RSA key that do not belong together")
    try:
        signature = key.sign(b"bindery", padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, b"bindery", padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise ValueError("an RSA key that does not sign") from error


def _no_block(data: bytes) -> tuple[str, str]:
    """Why there is no key in it, and what to give instead."""
    begin = "Give the text that begins with -----BEGIN PRIVATE KEY-----."
    if not data.strip():
        return "No private key was given.", begin
    if b"-----BEGIN" in data and b"PRIVATE KEY-----" in data:
        return "The private key is cut off.", "Copy the whole file, from its BEGIN line to its END line."
    if b"-----BEGIN CERTIFICATE" in data:
        return "This is a certificate, not a private key.", begin
    if data[:1] == b"\x30":
        return (
            "The key is in binary form (DER or PKCS#12).",
            "Convert it with: openssl pkey -inform der -in FILE, or openssl pkcs12 -nocerts -in FILE",
        )
    return "This is not a private key in PEM form.", begin


def spki_sha256(public_key: PublicKeyTypes) -> str:
    """Hex SHA-256 of the DER SubjectPublicKeyInfo: the identity of a key pair."""
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signature_hash(key: Key) -> Digest | None:
    """The digest to sign with: as strong as the curve (BR 7.1.3.2.2), none for Ed25519, which has its own."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return _CURVE_DIGESTS[key.curve.key_size] if isinstance(key, ec.EllipticCurvePrivateKey) else hashes.SHA256()
