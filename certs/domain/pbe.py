"""Encryption by password in PKCS#8 and PKCS#12: what a file asks for is bounded first, then done.

PBES2 with PBKDF2 or scrypt (RFC 8018, RFC 7914), the old schemes of PKCS#12 (RFC 7292 appendix B and C), and PBMAC1
(RFC 9579). How many rounds a derivation takes is the file's word, so all of them are paid from one `Effort`.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from asn1crypto import algos, core, pkcs12
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from certs.domain.errors import StoreRefused
from certs.domain.rc2 import rc2_cbc_decrypt

ROUNDS_LIMIT = 5_000_000  # of all derivations of one upload; today's writers ask for 2,048 to 600,000 each
SCRYPT_LIMIT = 64 * 1024 * 1024  # bytes of memory of one derivation: 128 · N · r
_SLOW_LIMIT = 256 * 1024  # bytes that are decrypted by RC2 in Python
_SALT_LIMIT = 1024
_PASSWORD_LIMIT = 1024  # characters
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_PBMAC1 = "1.2.840.113549.1.5.14"
_HASHES = {"sha1", "sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256"}


class ScryptParameters(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    """RFC 7914 §7.1."""

    _fields = [
        ("salt", core.OctetString),
        ("cost", core.Integer),
        ("block_size", core.Integer),
        ("parallel", core.Integer),
        ("key_length", core.Integer, {"optional": True}),
    ]


class Pbmac1Parameters(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    """RFC 8018 §A.5."""

    _fields = [
        ("key_derivation", algos.KdfAlgorithm),
        ("mac", algos.HmacAlgorithm),
    ]


@dataclass(frozen=True)
class Stretching:
    """What makes a derivation slow and its result the file's own."""

    salt: bytes
    rounds: int
    hash: str


@dataclass
class Effort:
    """How much derivation one upload may still ask for. The same derivation twice is done once."""

    left: int = ROUNDS_LIMIT
    known: dict[tuple[object, ...], bytes] = field(default_factory=dict)

    def spend(self, rounds: int) -> None:
        """Raises StoreRefused (code "too-much-work") before anything is computed."""
        if not 1 <= rounds <= self.left:
            raise StoreRefused(
                f"The file asks for {rounds} rounds of key derivation; at most {ROUNDS_LIMIT} are done for one upload."
                if rounds > ROUNDS_LIMIT or rounds < 1
                else f"These files ask for more than {ROUNDS_LIMIT} rounds of key derivation.",
                advice="Write the file anew with usual settings (openssl pkcs12 -export), or give fewer at a time.",
                code="too-much-work",
            )
        self.left -= rounds

    def derive(self, kind: str, rounds: int, compute: Callable[[], bytes], *asked: object) -> bytes:
        name = (kind, rounds, *asked)
        if name not in self.known:
            self.spend(rounds)
            self.known[name] = compute()
        return self.known[name]


class NotOpened(Exception):
    """The password does not fit, or what it hides is damaged: the padding at its end is none."""


def decrypt(algorithm: algos.EncryptionAlgorithm, data: bytes, password: str | None, effort: Effort) -> bytes:
    """What `data` hides. `password` None is none at all, which PKCS#12's own derivation tells from an empty one.

    Raises NotOpened, StoreRefused ("too-much-work", "unsupported"), ValueError for parameters that are none.
    """
    name = algorithm["algorithm"].native
    if name == "pbes2":
        return _pbes2(algorithm["parameters"], data, password or "", effort)
    if name not in _OLD:
        raise _unsupported(name)
    length, vector_length, open_ = _OLD[name]
    parameters = algorithm["parameters"]
    stretching = Stretching(_salt(parameters["salt"].native), parameters["iterations"].native, "sha1")
    key = pkcs12_derive(password, stretching, length, 1, effort)
    vector = pkcs12_derive(password, stretching, vector_length, 2, effort) if vector_length else b""
    return open_(key, vector, data)


def is_known(algorithm: algos.EncryptionAlgorithm) -> bool:
    """Whether `decrypt` opens it."""
    return algorithm["algorithm"].native in {"pbes2", *_OLD}


def rounds_check(algorithm: algos.EncryptionAlgorithm, effort: Effort) -> None:
    """Pays for a derivation that another library is about to do. Raises as `decrypt`."""
    name, parameters = algorithm["algorithm"].native, algorithm["parameters"]
    if name != "pbes2":
        if not isinstance(parameters, algos.Pbes1Params):
            raise _unsupported(name)
        effort.spend(parameters["iterations"].native)
        return
    derivation = parameters["key_derivation_func"]
    if derivation["algorithm"].native == _SCRYPT:
        _, cost = _scrypt_cost(ScryptParameters.load(derivation["parameters"].dump()))
        effort.spend(cost)
    elif derivation["algorithm"].native == "pbkdf2":
        effort.spend(derivation["parameters"]["iteration_count"].native)
    else:
        raise _unsupported(derivation["algorithm"].native)


def mac_fits(mac: pkcs12.MacData, data: bytes, password: str | None, effort: Effort) -> bool:
    """Whether the MAC of a PKCS#12 file is the one of this password. Raises as `decrypt`."""
    algorithm, expected = mac["mac"]["digest_algorithm"], mac["mac"]["digest"].native
    name = algorithm["algorithm"].native
    if name == _PBMAC1:
        parameters = Pbmac1Parameters.load(algorithm["parameters"].dump())
        hash_ = _hash(parameters["mac"]["algorithm"].native)
        size = parameters["key_derivation"]["parameters"]["key_length"].native
        if size is None or not 20 <= size <= 128:  # RFC 9579 §5: it must be there, and not be short
            raise ValueError("a PBMAC1 without the length of its key")
        key = _derivation(parameters["key_derivation"], size, effort)(password or "")
    else:
        hash_ = _hash(name)
        stretching = Stretching(_salt(mac["mac_salt"].native), mac["iterations"].native, hash_)
        key = pkcs12_derive(password, stretching, hashlib.new(hash_).digest_size, 3, effort)
    return hmac.compare_digest(hmac.new(key, data, hash_).digest(), expected)


def pkcs12_derive(password: str | None, stretching: Stretching, length: int, purpose: int, effort: Effort) -> bytes:
    """RFC 7292 appendix B.2. `purpose` is 1 for a key, 2 for a vector, 3 for a MAC."""
    return effort.derive(
        "pkcs12",
        _rounds(stretching.rounds, length, stretching.hash),
        lambda: _pkcs12_derive(password, stretching, length, purpose),
        password,
        stretching,
        length,
        purpose,
    )


def _pkcs12_derive(password: str | None, stretching: Stretching, length: int, purpose: int) -> bytes:
    make = partial(hashlib.new, stretching.hash)
    size = make().block_size
    # BMPString with its end; no password at all is not even that.
    secret = b"" if password is None else f"{password}\0".encode("utf-16-be")
    mixed = _stretch(stretching.salt, size) + _stretch(secret, size)
    made = b""
    while len(made) < length:
        digest = bytes([purpose]) * size + mixed
        for _ in range(stretching.rounds):
            digest = make(digest).digest()
        made += digest
        addend = int.from_bytes(_stretch(digest, size)[:size], "big") + 1
        parts = (mixed[place : place + size] for place in range(0, len(mixed), size))
        mixed = b"".join(
            ((int.from_bytes(part, "big") + addend) % (1 << 8 * size)).to_bytes(size, "big") for part in parts
        )
    return made[:length]


def _rounds(asked: int, length: int, hash_: str) -> int:
    """Each digest's worth of the result takes all of them again (RFC 8018 §5.2, RFC 7292 §B.2)."""
    return asked * -(-length // hashlib.new(hash_).digest_size)


def _stretch(octets: bytes, size: int) -> bytes:
    """Repeated until it fills whole blocks."""
    whole = -(-len(octets) // size) * size
    return (octets * (whole // len(octets) + 1))[:whole] if octets else b""


def _pbes2(parameters: core.Sequence, data: bytes, password: str, effort: Effort) -> bytes:
    scheme = parameters["encryption_scheme"]
    name = scheme["algorithm"].native
    if name not in _SCHEMES:
        raise _unsupported(name)
    length, open_ = _SCHEMES[name]
    if name == "rc2":
        length = scheme.key_length
        vector = scheme["parameters"]["iv"].native
    else:
        vector = scheme["parameters"].native
    return open_(_derivation(parameters["key_derivation_func"], length, effort)(password), vector, data)


def _derivation(algorithm: algos.KdfAlgorithm, length: int, effort: Effort) -> Callable[[str], bytes]:
    """Of a password, `length` bytes. What it costs is paid here, before the password is known."""
    name = algorithm["algorithm"].native
    if name == _SCRYPT:
        return _scrypt(ScryptParameters.load(algorithm["parameters"].dump()), length, effort)
    if name != "pbkdf2":
        raise _unsupported(name)
    parameters = algorithm["parameters"]
    salt, rounds = _salt(parameters["salt"].native), parameters["iteration_count"].native
    hash_ = _hash(parameters["prf"]["algorithm"].native)
    asked = parameters["key_length"].native
    if asked is not None and asked != length:
        raise ValueError("the length of the key is not that of the cipher")

    def derive(password: str) -> bytes:
        return effort.derive(
            "pbkdf2",
            _rounds(rounds, length, hash_),
            lambda: hashlib.pbkdf2_hmac(hash_, password.encode(), salt, rounds, length),
            password,
            salt,
            length,
            hash_,
        )

    return derive


def _scrypt_cost(parameters: ScryptParameters) -> tuple[tuple[int, int, int], int]:
    """N, r and p, and about how many rounds of a digest they are worth. Raises StoreRefused."""
    cost, block, parallel = (parameters[name].native for name in ("cost", "block_size", "parallel"))
    if cost < 2 or cost & (cost - 1) or block < 1 or not 1 <= parallel <= 16 or 128 * cost * block > SCRYPT_LIMIT:
        raise StoreRefused(
            f"The file asks for a key derivation (scrypt) of more than {SCRYPT_LIMIT >> 20} MiB.",
            advice="Write the file anew with usual settings.",
            code="too-much-work",
        )
    return (cost, block, parallel), 4 * cost * block * parallel


def _scrypt(parameters: ScryptParameters, length: int, effort: Effort) -> Callable[[str], bytes]:
    (cost, block, parallel), rounds = _scrypt_cost(parameters)
    salt = _salt(parameters["salt"].native)

    def derive(password: str) -> bytes:
        return effort.derive(
            "scrypt",
            rounds,
            lambda: Scrypt(salt, length, cost, block, parallel).derive(password.encode()),
            password,
            salt,
            length,
            cost,
            block,
            parallel,
        )

    return derive


def _aes(key: bytes, vector: bytes, data: bytes) -> bytes:
    return _unpad(_open(Cipher(AES(key), modes.CBC(vector)), data), 128)


def _triple_des(key: bytes, vector: bytes, data: bytes) -> bytes:
    return _unpad(_open(Cipher(TripleDES(key), modes.CBC(vector)), data), 64)


def _two_key_des(key: bytes, vector: bytes, data: bytes) -> bytes:
    return _triple_des(key + key[:8], vector, data)


def _rc2(key: bytes, vector: bytes, data: bytes) -> bytes:
    if len(data) > _SLOW_LIMIT:
        raise StoreRefused(
            f"More than {_SLOW_LIMIT // 1024} KiB of the file are encrypted by RC2, which is read in small files only.",
            advice="Write the file anew with usual settings (openssl pkcs12 -export).",
            code="too-much-work",
        )
    return _unpad(rc2_cbc_decrypt(key, vector, data), 64)


def _rc4(key: bytes, _vector: bytes, data: bytes) -> bytes:
    return _open(Cipher(ARC4(key), None), data)


def _open(cipher: Cipher[modes.CBC] | Cipher[None], data: bytes) -> bytes:
    try:
        decryptor = cipher.decryptor()
        return decryptor.update(data) + decryptor.finalize()
    except UnsupportedAlgorithm as error:  # a system without the old ciphers
        raise _unsupported(cipher.algorithm.name) from error


def _unpad(data: bytes, bits: int) -> bytes:
    unpadder = padding.PKCS7(bits).unpadder()
    try:
        return unpadder.update(data) + unpadder.finalize()
    except ValueError as error:
        raise NotOpened from error


_Open = Callable[[bytes, bytes, bytes], bytes]
# Bytes of the key, bytes of the vector, and the cipher.
_OLD: dict[str, tuple[int, int, _Open]] = {
    "pkcs12_sha1_tripledes_3key": (24, 8, _triple_des),
    "pkcs12_sha1_tripledes_2key": (16, 8, _two_key_des),
    "pkcs12_sha1_rc2_128": (16, 8, _rc2),
    "pkcs12_sha1_rc2_40": (5, 8, _rc2),
    "pkcs12_sha1_rc4_128": (16, 0, _rc4),
    "pkcs12_sha1_rc4_40": (5, 0, _rc4),
}
_SCHEMES: dict[str, tuple[int, _Open]] = {
    "aes128_cbc": (16, _aes),
    "aes192_cbc": (24, _aes),
    "aes256_cbc": (32, _aes),
    "tripledes_3key": (24, _triple_des),
    "rc2": (0, _rc2),  # its own parameters say
}


def _salt(salt: object) -> bytes:
    if not isinstance(salt, bytes) or len(salt) > _SALT_LIMIT:
        raise ValueError("a salt that is none")
    return salt


def _hash(name: str) -> str:
    if name not in _HASHES:
        raise _unsupported(name)
    return name


def _unsupported(name: object) -> StoreRefused:
    return StoreRefused(
        f"The file is protected by a method that is not read here ({name}).",
        advice="Write it anew with openssl pkcs12 -export, or give the parts in PEM form.",
        code="unsupported",
    )


def password_check(password: str) -> None:
    """Raises StoreRefused for what no program would have taken as a password."""
    if len(password) > _PASSWORD_LIMIT:
        raise StoreRefused(
            f"The password is longer than {_PASSWORD_LIMIT} characters.", advice="Type it again.", code="password-wrong"
        )
