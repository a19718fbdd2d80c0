"""Java key stores: what we write and read back, and what is broken. Java itself: tests/e2e/test_formats_read.py."""

import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain import jks
from certs.domain.errors import BinderyError, CertificateRefused, InputError, StoreRefused
from certs.domain.jks import Entry, KeyEntry, LockedEntry, TrustedEntry, jks_read, jks_write
from certs.domain.keys import Key, key_generate, spki_sha256
from tests.harness import pki

NOW = datetime(2026, 11, 21, 22, 0, 0, 123000, tzinfo=UTC)
ROOT = pki.authority("Root")
MIDDLE = pki.authority("Middle", ROOT)
KEYS: list[Key] = [key_generate(kind) for kind in ("ec-p256", "ec-p384", "ed25519", "rsa-2048")]
PAIRS = [pki.leaf(MIDDLE, [f"{number}.example"], key=key) for number, key in enumerate(KEYS)]
PASSWORD = "changeit"


def key_entry(number: int = 0, alias: str = "server") -> KeyEntry:
    return KeyEntry(alias, NOW, KEYS[number], (PAIRS[number].certificate, MIDDLE.certificate))


TRUSTED = TrustedEntry("ca", NOW, ROOT.certificate)


def same(one: Entry, other: Entry) -> bool:
    if isinstance(one, KeyEntry) and isinstance(other, KeyEntry):
        keys = spki_sha256(one.key.public_key()) == spki_sha256(other.key.public_key())
        return keys and (one.alias, one.created, one.chain) == (other.alias, other.created, other.chain)
    return one == other


aliases = st.text(st.characters(exclude_categories=("Cs", "C", "Z")), min_size=1, max_size=30).map(
    lambda text: text.strip().lower()
)
passwords = st.text(st.characters(exclude_categories=("Cs",)), min_size=6, max_size=30)
moments = st.integers(min_value=0, max_value=253402300799999).map(
    lambda count: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=count)
)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    names = draw(
        st.lists(
            aliases.filter(lambda text: text == text.lower() and text.isprintable() and text),
            unique=True,
            min_size=1,
            max_size=4,
        )
    )
    made: list[Entry] = []
    for name in names:
        created, number = draw(moments), draw(st.integers(0, len(KEYS)))
        if number == len(KEYS):
            made.append(TrustedEntry(name, created, ROOT.certificate))
        else:
            made.append(KeyEntry(name, created, KEYS[number], key_entry(number).chain))
    return made


@given(entries(), passwords, st.one_of(st.just(""), passwords))
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_back(given_entries: list[Entry], password: str, key_password: str) -> None:
    store = jks_write(given_entries, password, key_password)
    read = jks_read(store, password, [key_password] if key_password else [])
    assert len(read) == len(given_entries)
    assert all(same(one, other) for one, other in zip(given_entries, read, strict=True))


def test_a_key_with_its_own_password_stays_locked_and_byte_for_byte() -> None:
    store = jks_write([key_entry(), TRUSTED], PASSWORD, "another-one")
    locked, trusted = jks_read(store, PASSWORD)
    assert isinstance(locked, LockedEntry)
    assert trusted == TRUSTED
    assert locked.chain == key_entry().chain
    assert "password of its own" in locked.reason.message
    again = jks_write([locked, trusted], "new-password")
    assert locked.protected in again
    (opened, _) = jks_read(again, "new-password", ["no", "another-one"])
    assert same(opened, key_entry())


def test_a_key_of_a_kind_not_used_here_is_left_locked() -> None:
    der = dsa.generate_private_key(1024).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    protected = jks._protected(der, jks._utf16(PASSWORD))
    locked = LockedEntry("old", NOW, protected, key_entry().chain, StoreRefused("made by the test"))
    (read, _) = jks_read(jks_write([locked, TRUSTED], PASSWORD), PASSWORD)
    assert isinstance(read, LockedEntry)
    assert "“old” cannot be used: A key of the kind DSA" in read.reason.message


def test_java_does_not_tell_capital_letters_in_aliases() -> None:
    (read,) = jks_read(jks_write([key_entry(alias=" Server ")], PASSWORD), PASSWORD)
    assert read.alias == "server"
    with pytest.raises(StoreRefused, match="same alias"):
        jks_write([key_entry(alias="Server"), TrustedEntry("sERVER", NOW, ROOT.certificate)], PASSWORD)


def test_version_1_is_read() -> None:
    store = jks_write([key_entry(), TRUSTED], PASSWORD)[: -jks._DIGEST]
    body = store.replace(b"\0\5X.509", b"").replace(
        struct.pack(">II", 0xFEEDFEED, 2), struct.pack(">II", 0xFEEDFEED, 1)
    )
    read = jks_read(body + jks._digest(PASSWORD, body), PASSWORD)
    assert same(read[0], key_entry())
    assert read[1] == TRUSTED


@pytest.mark.parametrize(
    ("password", "code"),
    [("wrong-password", "password-wrong"), ("Changeit", "password-wrong"), ("", "password-needed")],
)
def test_another_password_is_named(password: str, code: str) -> None:
    with pytest.raises(StoreRefused) as refused:
        jks_read(jks_write([key_entry(), TRUSTED], PASSWORD), password)
    assert refused.value.code == code


def test_a_changed_store_is_told_from_a_wrong_password() -> None:
    store = jks_write([key_entry(), TRUSTED], PASSWORD)
    changed = store.replace(b"\0\2ca", b"\0\2cb")
    with pytest.raises(StoreRefused, match="password is right, but") as refused:
        jks_read(changed, PASSWORD)
    assert refused.value.code == "store-refused"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a Java key store"),
        (b"\xce\xce\xce\xce" + bytes(60), "JCEKS"),
        (b"\x30\x82\x05\x00" + bytes(60), "PKCS#12"),
        (b"-----BEGIN CERTIFICATE-----", "not a Java key store"),
        (b"\xfe\xed\xfe\xed", "cut off"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">II", 3, 0) + bytes(20), "version 3"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">II", 2, 0xFFFFFFFF) + bytes(20), "at most 1000"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">II", 2, 999) + bytes(20), "cut off"),
        (b"\xfe\xed\xfe\xed" + bytes(jks.SIZE_LIMIT), "larger than 4 MiB"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 3, 0) + bytes(28), "unknown kind 3"),
        (
            b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 2, 0) + bytes(8) + b"\0\3PGP\0\0\0\0" + bytes(20),
            "not X.509",
        ),
        (b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 2, 1) + b"\xff" + bytes(28), "text in the key store"),
        (b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 2, 3) + b"\xed\xa0\x80" + bytes(28), "text in the key store"),
        (
            b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 1, 0) + bytes(8) + struct.pack(">II", 0, 51) + bytes(20),
            "at most 50",
        ),
        (
            b"\xfe\xed\xfe\xed" + struct.pack(">IIIH", 2, 1, 1, 0) + bytes(8) + struct.pack(">I", 2**31) + bytes(20),
            "cut off",
        ),
    ],
)
def test_broken_stores_end_in_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(StoreRefused) as refused:
        jks_read(data, PASSWORD)
    assert said in refused.value.message
    assert refused.value.advice


def test_a_certificate_that_cannot_be_read_is_named_by_its_alias() -> None:
    der = ROOT.certificate.public_bytes(Encoding.DER)
    store = jks_write([TRUSTED], PASSWORD).replace(der, der[:40] + bytes(len(der) - 40))
    with pytest.raises(CertificateRefused, match="“ca”"):
        jks_read(store, PASSWORD)


def test_what_would_not_work_is_not_written() -> None:
    with pytest.raises(StoreRefused, match="at least six"):
        jks_write([TRUSTED], "short")
    with pytest.raises(StoreRefused, match="needs a password"):
        jks_write([TRUSTED], "")
    with pytest.raises(StoreRefused, match="at least one entry"):
        jks_write([], PASSWORD)
    with pytest.raises(CertificateRefused, match="does not belong"):
        jks_write([KeyEntry("a", NOW, KEYS[0], (PAIRS[1].certificate,))], PASSWORD)
    with pytest.raises(StoreRefused, match="no certificate"):
        jks_write([KeyEntry("a", NOW, KEYS[0], ())], PASSWORD)
    for alias in ("", "  ", "a\nb", "x" * 256):
        with pytest.raises(StoreRefused, match="alias"):
            jks_write([TrustedEntry(alias, NOW, ROOT.certificate)], PASSWORD)


def mutated(seed: int, rounds: int) -> None:
    """Cut, flip, swap and repeat pieces of a good store: it opens or says why not, and nothing else."""
    random = Random(seed)
    good = jks_write([key_entry(), key_entry(3, "rsa"), TRUSTED], PASSWORD, "key-password")
    for _ in range(rounds):
        data = bytearray(good)
        for _ in range(random.randrange(1, 4)):
            at, size = random.randrange(len(data)), random.choice([1, 1, 2, 4, 8, 40])
            piece = random.choice([random.randbytes(size), b"\xff" * size, bytes(size), bytes(data[:at][-size:]), b""])
            data[at : at + random.choice([0, size])] = piece
        if random.random() < 0.5:  # with the right check value, so that what lies below is reached
            body = bytes(data[: -jks._DIGEST])
            data = bytearray(body + jks._digest(PASSWORD, body))
        with suppress(InputError):
            for entry in jks_read(bytes(data), PASSWORD, ["key-password"]):
                assert not isinstance(entry, LockedEntry) or isinstance(entry.reason, BinderyError)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_mutations_never_end_in_a_crash() -> None:
    mutated(seed=1, rounds=250)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.proof
def test_many_mutations_never_end_in_a_crash() -> None:
    for seed in range(40):
        mutated(seed, rounds=400)
