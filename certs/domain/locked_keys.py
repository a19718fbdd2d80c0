"""Private keys with a passphrase of their own: PKCS#8 EncryptedPrivateKeyInfo (RFC 5958), as openssl reads it.

PBES2 of PBKDF2-HMAC-SHA-256 and AES-256-CBC (RFC 8018). Written here, since cryptography's own writer has no choice of
the rounds.
"""

import hashlib
import os

from asn1crypto import algos, core, keys
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_der_private_key

from certs.domain.errors import KeyRefused
from certs.domain.keys import Key, key_from_der, key_to_der

ROUNDS = 600_000  # OWASP's figure of 2023; a quarter of a second
SHORTEST, LONGEST = 12, 1024  # characters of a passphrase


def passphrase_check(passphrase: str) -> None:
    """Of a new one. Raises KeyRefused."""
    if not SHORTEST <= len(passphrase) <= LONGEST or passphrase.strip() != passphrase:
        raise KeyRefused(
            f"A passphrase has {SHORTEST} to {LONGEST} characters and no space at its ends.",
            advice="Four or five unrelated words make a good one.",
            code="passphrase-weak",
        )


def key_lock(key: Key, passphrase: str, *, rounds: int = ROUNDS) -> bytes:
    """DER. The passphrase is stored nowhere: who loses it loses the key."""
    salt, vector = os.urandom(16), os.urandom(16)
    derived = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, rounds, 32)
    padder = PKCS7(128).padder()
    plain = padder.update(key_to_der(key)) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    scheme = {
        "key_derivation_func": {
            "algorithm": "pbkdf2",
            "parameters": {
                "salt": core.OctetString(salt),
                "iteration_count": rounds,
                "prf": {"algorithm": "sha256", "parameters": core.Null()},
            },
        },
        "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": vector},
    }
    algorithm = algos.EncryptionAlgorithm({"algorithm": "pbes2", "parameters": scheme})
    info = keys.EncryptedPrivateKeyInfo(
        {"encryption_algorithm": algorithm, "encrypted_data": encryptor.update(plain) + encryptor.finalize()}
    )
    return bytes(info.dump())


def key_unlock(der: bytes, passphrase: str) -> Key:
    """Raises KeyRefused (code passphrase-needed or passphrase-wrong)."""
    if not passphrase:
        raise KeyRefused(
            "The key of this CA has a passphrase, which is not stored: only a person can sign with it.",
            advice="Type the passphrase of the CA.",
            code="passphrase-needed",
        )
    try:
        plain = load_der_private_key(der, passphrase.encode())
        return key_from_der(key_to_der(plain))  # type: ignore[arg-type]  # checked by key_from_der
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(
            "The key of this CA cannot be opened with this passphrase.",
            advice="Type it again; it was chosen when the CA was made, and nobody can look it up.",
            code="passphrase-wrong",
        ) from error
