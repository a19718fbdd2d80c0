"""What people hand over, made for tests: every form that is read, and the same broken in every way."""

import codecs
import random
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import pbkdf2_hmac
from hmac import digest as hmac_digest

from asn1crypto import algos, cms, core
from asn1crypto import pkcs12 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from certs.domain.csr import csr_make
from certs.domain.jks import Entry, KeyEntry, TrustedEntry, jks_write
from tests.harness import pki

PASSWORD = "hunter2"
_WORD = PASSWORD.encode()


@dataclass(frozen=True)
class Sample:
    """`keys` and `certificates` are what is in it; a `password` of None is not needed."""

    name: str
    data: bytes
    certificates: int
    keys: int
    is_locked: bool = False


@cache
def chain() -> tuple[pki.Pair, pki.Pair, pki.Pair]:
    """Root, intermediate, leaf."""
    root = pki.authority("Bundle Root")
    middle = pki.authority("Bundle Intermediate", root)
    return root, middle, pki.leaf(middle, ["a.example.com", "b.example.com"])


@cache
def samples() -> tuple[Sample, ...]:
    return tuple(_samples())


def _samples() -> Iterator[Sample]:
    root, middle, leaf = chain()
    key = leaf.key
    der = leaf.certificate.public_bytes(Encoding.DER)
    sealed = BestAvailableEncryption(_WORD)
    pkcs8, sec1 = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
    text = leaf.pem + leaf.key_pem
    yield Sample("pem-any-order", (leaf.key_pem + root.pem + "words\n" + middle.pem + leaf.pem).encode(), 3, 1)
    yield Sample("pem-crlf", text.replace("\n", "\r\n").encode(), 1, 1)
    yield Sample("pem-utf8-mark", codecs.BOM_UTF8 + text.encode(), 1, 1)
    yield Sample("pem-utf16", text.encode("utf-16"), 1, 1)
    yield Sample("pem-utf16-unmarked", text.encode("utf-16-be"), 1, 1)
    yield Sample("pem-latin1", b"# gr\xfc\xdfe\n" + text.encode(), 1, 1)
    yield Sample("bare-base64", b64encode(der), 1, 0)
    yield Sample("der", der, 1, 0)
    yield Sample("trusted-certificate", _trusted(der), 1, 0)
    yield Sample("key-pkcs8", leaf.key_pem.encode(), 0, 1)
    yield Sample("key-sec1", key.private_bytes(Encoding.PEM, sec1, NoEncryption()), 0, 1)
    yield Sample("key-der", key.private_bytes(Encoding.DER, pkcs8, NoEncryption()), 0, 1)
    yield Sample("key-sec1-der", key.private_bytes(Encoding.DER, sec1, NoEncryption()), 0, 1)
    yield Sample("key-sealed", key.private_bytes(Encoding.PEM, pkcs8, sealed), 0, 1, is_locked=True)
    yield Sample("key-sealed-der", key.private_bytes(Encoding.DER, pkcs8, sealed), 0, 1, is_locked=True)
    yield Sample("key-sealed-old", key.private_bytes(Encoding.PEM, sec1, sealed), 0, 1, is_locked=True)
    both = [leaf.certificate, middle.certificate]
    yield Sample("pkcs7-der", pkcs7.serialize_certificates(both, Encoding.DER), 2, 0)
    yield Sample("pkcs7-pem", pkcs7.serialize_certificates(both, Encoding.PEM), 2, 0)
    yield Sample("request", csr_make(key, ["a.example.com"]).encode(), 0, 0)  # type: ignore[arg-type]  # an EC key
    yield Sample("p12", p12(), 2, 1, is_locked=True)
    yield Sample("p12-legacy", p12(legacy=True), 2, 1, is_locked=True)
    yield Sample("p12-pbmac1", p12_pbmac1(), 2, 1, is_locked=True)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    entries: list[Entry] = [
        KeyEntry("shop", moment, key, (leaf.certificate, middle.certificate)),  # type: ignore[arg-type]  # an EC key
        TrustedEntry("root", moment, root.certificate),
    ]
    yield Sample("jks", jks_write(entries, PASSWORD), 3, 1, is_locked=True)


def p12(*, legacy: bool = False, password: bytes = _WORD, rounds: int = 1000) -> bytes:
    _, middle, leaf = chain()
    kind = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC if legacy else pkcs12.PBES.PBESv2SHA256AndAES256CBC
    digest = hashes.SHA1() if legacy else hashes.SHA256()
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).key_cert_algorithm(kind)
    sealed = builder.hmac_hash(digest).build(password)
    return pkcs12.serialize_key_and_certificates(b"shop", leaf.key, leaf.certificate, [middle.certificate], sealed)  # type: ignore[arg-type]


def p12_rounds(rounds: int, *, part: str) -> bytes:
    """One that asks for so many rounds: for its MAC, or, without one, for its content."""
    pfx = asn1.Pfx.load(p12())
    if part == "mac":
        pfx["mac_data"]["iterations"] = rounds
        return bytes(pfx.dump(force=True))
    safe = asn1.AuthenticatedSafe.load(bytes(pfx["auth_safe"]["content"]))
    for each in safe:
        if each["content_type"].native == "encrypted_data":
            algorithm = each["content"]["encrypted_content_info"]["content_encryption_algorithm"]
            algorithm["parameters"]["key_derivation_func"]["parameters"]["iteration_count"] = rounds
    return _pfx(safe.dump(force=True))


def p12_pbmac1(*, length: int | None = 32, rounds: int = 1000) -> bytes:
    """RFC 9579: the MAC by PBKDF2, which no writer of Debian 12 makes."""
    safe = bytes(asn1.Pfx.load(p12())["auth_safe"]["content"])
    salt = b"8 octets"
    derivation = algos.KdfAlgorithm(
        {
            "algorithm": "pbkdf2",
            "parameters": algos.Pbkdf2Params(
                {
                    "salt": algos.Pbkdf2Salt(name="specified", value=core.OctetString(salt)),
                    "iteration_count": rounds,
                    **({} if length is None else {"key_length": length}),
                    "prf": {"algorithm": "sha256"},
                }
            ),
        }
    ).dump()
    scheme = algos.HmacAlgorithm({"algorithm": "sha256"}).dump()
    key = pbkdf2_hmac("sha256", _WORD, salt, rounds, length or 32)
    algorithm = _sequence(core.ObjectIdentifier("1.2.840.113549.1.5.14").dump(), _sequence(derivation, scheme))
    info = _sequence(algorithm, core.OctetString(hmac_digest(key, safe, "sha256")).dump())
    mac = _sequence(info, core.OctetString(b"NOT USED").dump(), core.Integer(1).dump())
    return _sequence(core.Integer(3).dump(), _content(safe), mac)


def p12_nested(depth: int) -> bytes:
    """Safe contents within safe contents, so deep, and no password."""
    inside = b""
    for _ in range(depth):
        inner = _sequence(inside)
        inside = _sequence(core.ObjectIdentifier("1.2.840.113549.1.12.10.1.6").dump(), _tagged(inner))
    contents = _sequence(inside)
    return _pfx(_sequence(_content(contents)))


def p12_many(count: int) -> bytes:
    """So many bags of a kind that is not kept."""
    bag = _sequence(core.ObjectIdentifier("1.2.840.113549.1.12.10.1.5").dump(), _tagged(_sequence()))
    return _pfx(_sequence(_content(_sequence(bag * count))))


def _pfx(safe: bytes) -> bytes:
    return _sequence(core.Integer(3).dump(), _content(safe))


def _content(octets: bytes) -> bytes:
    return bytes(cms.ContentInfo({"content_type": "data", "content": octets}).dump())


def _tagged(inside: bytes) -> bytes:
    return b"\xa0" + _length(len(inside)) + inside


def _sequence(*parts: bytes) -> bytes:
    inside = b"".join(parts)
    return b"\x30" + _length(len(inside)) + inside


def _length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def _trusted(der: bytes) -> bytes:
    """OpenSSL's own form: a structure behind the certificate says what it is trusted for."""
    behind = _sequence(_sequence(core.ObjectIdentifier("1.3.6.1.5.5.7.3.1").dump()))
    body = b64encode(der + behind).decode()
    lines = "\n".join(body[place : place + 64] for place in range(0, len(body), 64))
    return f"-----BEGIN TRUSTED CERTIFICATE-----\n{lines}\n-----END TRUSTED CERTIFICATE-----\n".encode()


def with_names(count: int) -> pki.Pair:
    root, *_ = chain()
    return pki.leaf(root, [f"host-{number}.example.com" for number in range(count)])


def namesakes(count: int) -> list[x509.Certificate]:
    """Authorities of one name, each signed by another of them: everybody may have issued everybody."""
    first = pki.authority("Namesake")
    return [first.certificate, *(pki.cross_sign(pki.authority("Namesake"), first) for _ in range(count - 1))]


def broken(data: bytes, chance: random.Random) -> bytes:
    """Cut, turned, doubled, or with a piece of another sample in it."""
    octets = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if not octets:
            break
        place = chance.randrange(len(octets))
        kind = chance.randrange(6)
        if kind == 0:
            del octets[place:]
        elif kind == 1:
            octets[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            octets[place] = chance.choice((0, 0x30, 0x80, 0x84, 0xFF))
        elif kind == 3:
            del octets[place : place + chance.randrange(1, 64)]
        elif kind == 4:
            octets[place:place] = octets[place : place + chance.randrange(1, 200)]
        else:
            other = chance.choice(samples()).data
            start = chance.randrange(len(other))
            octets[place : place + chance.randrange(200)] = other[start : start + chance.randrange(1, 400)]
    return bytes(octets)
