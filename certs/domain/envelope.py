"""Envelope encryption of secrets: AES-256-GCM with a fresh data key per secret, wrapped by a key of the ring.

The stored form is JSON: {"v": 1, "kek": id, "wrap": b64, "data": b64}; each part is nonce ‖ ciphertext ‖ tag
(NIST SP 800-38D, 96-bit random nonces). Version, ring key id and binding `purpose:uid` are authenticated, so a sealed
secret cannot be moved to another row or passed off as another version.
"""

import json
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certs.domain.errors import SecretError

VERSION = 1
_NONCE = 12


@dataclass(frozen=True)
class KeyRing:
    """Key-encryption keys by id, 32 bytes each; new secrets are wrapped with `primary`."""

    primary: str
    keys: dict[str, bytes]

    @classmethod
    def generate(cls) -> "KeyRing":
        primary = os.urandom(6).hex()
        return cls(primary, {primary: os.urandom(32)})

    @classmethod
    def from_json(cls, text: str) -> "KeyRing":
        """Reads what `to_json` wrote; raises SecretError when it is not a ring."""
        try:
            document = json.loads(text)
            keys = {str(name): b64decode(key, validate=True) for name, key in document["keys"].items()}
            primary = str(document["primary"])
        except (ValueError, KeyError, TypeError, AttributeError, Base64Error) as error:
            raise SecretError("The key ring is not readable: it must be the JSON text that Bindery wrote.") from error
        if primary not in keys or any(len(key) != 32 for key in keys.values()):
            raise SecretError("The key ring is damaged: its primary key is missing or a key is not 32 bytes long.")
        return cls(primary, keys)

    def to_json(self) -> str:
        keys = {name: b64encode(key).decode() for name, key in self.keys.items()}
        return json.dumps({"v": VERSION, "primary": self.primary, "keys": keys})


def seal(ring: KeyRing, purpose: str, uid: str, secret: bytes) -> str:
    data_key = os.urandom(32)
    bound = _bound(VERSION, ring.primary, purpose, uid)
    return json.dumps(
        {
            "v": VERSION,
            "kek": ring.primary,
            "wrap": _encrypt(ring.keys[ring.primary], data_key, bound),
            "data": _encrypt(data_key, secret, bound),
        }
    )


def unseal(ring: KeyRing, purpose: str, uid: str, sealed: str) -> bytes:
    """Raises SecretError when the ring lacks the key, or the text was altered or belongs to another row."""
    try:
        document = json.loads(sealed)
        version, kek = int(document["v"]), str(document["kek"])
        wrap, data = b64decode(document["wrap"], validate=True), b64decode(document["data"], validate=True)
    except (ValueError, KeyError, TypeError, Base64Error) as error:
        raise SecretError("A stored secret is damaged and cannot be read.") from error
    if version != VERSION:
        raise SecretError(f"A stored secret has format {version}, which this version does not know.")
    if kek not in ring.keys:
        raise SecretError(
            f"The key ring has no key {kek!r}, which protects this secret.",
            advice="Put back the key ring that this database was made with.",
        )
    bound = _bound(version, kek, purpose, uid)
    try:
        return _decrypt(_decrypt(ring.keys[kek], wrap, bound), data, bound)
    except InvalidTag as error:
        raise SecretError("A stored secret was altered, or the key ring is not the one it was made with.") from error


def _bound(version: int, kek: str, purpose: str, uid: str) -> bytes:
    return f"bindery:{version}:{kek}:{purpose}:{uid}".encode()


def _encrypt(key: bytes, plain: bytes, bound: bytes) -> str:
    nonce = os.urandom(_NONCE)
    return b64encode(nonce + AESGCM(key).encrypt(nonce, plain, bound)).decode()


def _decrypt(key: bytes, blob: bytes, bound: bytes) -> bytes:
    if len(blob) < _NONCE + 16:
        raise InvalidTag
    return AESGCM(key).decrypt(blob[:_NONCE], blob[_NONCE:], bound)
