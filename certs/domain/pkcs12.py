"""PKCS#12 files (RFC 7292) with all their entries: keys, certificates, trusted certificates, names.

cryptography opens them too, but gives the first key only. The MAC is checked first: it tells a wrong password from a
damaged file. Sizes, nesting and rounds of derivation are bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from asn1crypto import cms, core, pkcs12
from cryptography import x509

from certs.domain.errors import BinderyError, KeyRefused, StoreRefused
from certs.domain.keys import Key, key_from_der
from certs.domain.pbe import Effort, NotOpened, decrypt, mac_fits, password_check
from certs.domain.pem import certificate_from_der

SIZE_LIMIT = 1024 * 1024  # bytes of a file
ENTRY_LIMIT = 500  # bags of a file
_NESTING = 3
_NAME_LIMIT = 255  # characters of a friendly name
_DAMAGED = "Copy the whole file again, in binary mode."


@dataclass(frozen=True)
class StoredKey:
    key: Key
    alias: str = ""
    key_id: bytes = b""  # localKeyId: the same as that of its certificate


@dataclass(frozen=True)
class StoredCertificate:
    certificate: x509.Certificate
    alias: str = ""
    key_id: bytes = b""
    trusted: bool = False  # Java's mark of an entry that stands for itself


@dataclass
class Contents:
    """`passed_over` says of each entry that could not be taken what it is and why, one sentence each."""

    keys: list[StoredKey] = field(default_factory=list)
    certificates: list[StoredCertificate] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    count: int = 0
    locked: int = 0  # keys with a password of their own


def pkcs12_read(data: bytes, passwords: Sequence[str] = (), effort: Effort | None = None) -> Contents:
    """DER or BER. Each password is tried, then none at all. Raises StoreRefused: "password-needed",
    "password-wrong", "too-much-work", "unsupported", or "store-refused" for a damaged file."""
    if len(data) > SIZE_LIMIT:
        raise StoreRefused("The PKCS#12 file is larger than 1 MiB.", advice="Give fewer entries at a time.")
    for password in passwords:
        password_check(password)
    effort = effort or Effort()
    try:
        return _read(data, passwords, effort)
    except BinderyError:
        raise
    except Exception as error:  # a parser of other people's bytes; whatever it meets, the file is to blame
        raise _damaged() from error


def _read(data: bytes, passwords: Sequence[str], effort: Effort) -> Contents:
    pfx = pkcs12.Pfx.load(data)
    if pfx["version"].native != "v3":
        raise StoreRefused("The file is a PKCS#12 of an unknown version.", advice="Write it anew.", code="unsupported")
    if pfx["auth_safe"]["content_type"].native != "data":
        raise StoreRefused(
            "The PKCS#12 file is protected by a signature, not by a password.",
            advice="Write it anew with openssl pkcs12 -export.",
            code="unsupported",
        )
    safe = bytes(pfx["auth_safe"]["content"])
    candidates = _candidates(pfx, safe, passwords, effort)
    is_proven = isinstance(pfx["mac_data"], pkcs12.MacData)
    found = Contents()
    for part in pkcs12.AuthenticatedSafe.load(safe):
        plain = _plain(part, candidates, effort, is_proven=is_proven)
        for bag in _bags(pkcs12.SafeContents.load(plain), found):
            _take(bag, found, [*candidates, *passwords], effort)
    if found.locked and not is_proven:
        raise _locked(passwords)
    return found


def _candidates(pfx: pkcs12.Pfx, safe: bytes, passwords: Sequence[str], effort: Effort) -> list[str | None]:
    """The passwords that may open it: the one that its MAC proves, or all where it has none."""
    tried: list[str | None] = [*dict.fromkeys(passwords), *([] if "" in passwords else [""]), None]
    mac = pfx["mac_data"]
    if not isinstance(mac, pkcs12.MacData):
        return tried
    for password in tried:
        if mac_fits(mac, safe, password, effort):
            # An empty password is none at all to some programs.
            return [password, None] if password == "" else [password, ""] if password is None else [password]
    raise _locked(passwords)


def _plain(part: cms.ContentInfo, passwords: Sequence[str | None], effort: Effort, *, is_proven: bool) -> bytes:
    kind = part["content_type"].native
    if kind == "data":
        return bytes(part["content"])
    if kind != "encrypted_data":
        raise StoreRefused(
            "The PKCS#12 file is encrypted for a certificate, not by a password.",
            advice="Write it anew with openssl pkcs12 -export.",
            code="unsupported",
        )
    info = part["content"]["encrypted_content_info"]
    sealed = bytes(info["encrypted_content"])
    for password in passwords:
        try:
            plain = decrypt(info["content_encryption_algorithm"], sealed, password, effort)
            pkcs12.SafeContents.load(plain)
        except (NotOpened, ValueError):
            continue
        return plain
    if is_proven:
        raise _damaged()
    raise _locked(passwords)


def _bags(contents: pkcs12.SafeContents, found: Contents, depth: int = 0) -> Iterator[pkcs12.SafeBag]:
    if depth > _NESTING:
        raise StoreRefused(f"The PKCS#12 file nests its entries more than {_NESTING} deep.", advice="Write it anew.")
    for bag in contents:
        found.count += 1
        if found.count > ENTRY_LIMIT:
            raise StoreRefused(f"The PKCS#12 file has more than {ENTRY_LIMIT} entries.", advice="Give fewer at a time.")
        if bag["bag_id"].native == "safe_contents":
            yield from _bags(bag["bag_value"], found, depth + 1)
        else:
            yield bag


def _take(bag: pkcs12.SafeBag, found: Contents, passwords: Sequence[str | None], effort: Effort) -> None:
    kind, value = bag["bag_id"].native, bag["bag_value"]
    alias, key_id, trusted = _attributes(bag)
    named = f"“{alias}”" if alias else f"number {found.count}"
    try:
        if kind == "key_bag":
            found.keys.append(StoredKey(key_from_der(value.untag().dump()), alias, key_id))
        elif kind == "pkcs8_shrouded_key_bag":
            found.keys.append(StoredKey(_shrouded(value, passwords, effort), alias, key_id))
        elif kind == "cert_bag" and value["cert_id"].native == "x509":
            der = value["cert_value"].parsed.dump()
            found.certificates.append(StoredCertificate(certificate_from_der(der), alias, key_id, trusted))
        else:
            what = {"crl_bag": "a list of revoked certificates", "secret_bag": "a secret"}.get(kind, "of another kind")
            found.passed_over.append(f"Entry {named} is {what}, which is not kept here.")
    except StoreRefused:
        raise
    except BinderyError as error:
        found.locked += error.code == "password-wrong"
        found.passed_over.append(f"Entry {named} was left out: {error.message}")


def _shrouded(value: core.Sequence, passwords: Sequence[str | None], effort: Effort) -> Key:
    """A key may have a password of its own. Raises KeyRefused."""
    for password in dict.fromkeys(passwords):
        try:
            der = decrypt(value["encryption_algorithm"], bytes(value["encrypted_data"]), password, effort)
            core.Sequence.load(der).native  # noqa: B018 - a wrong password that happens to leave good padding
        except (NotOpened, ValueError):
            continue
        return key_from_der(der)
    raise KeyRefused("Its key has a password of its own.", advice="Give that as well.", code="password-wrong")


def _attributes(bag: pkcs12.SafeBag) -> tuple[str, bytes, bool]:
    alias, key_id, trusted = "", b"", False
    attributes = bag["bag_attributes"]
    for attribute in attributes if isinstance(attributes, pkcs12.Attributes) else ():
        kind, values = attribute["type"].native, attribute["values"]
        if kind == "friendly_name" and len(values):
            alias = "".join(letter for letter in values[0].native if letter.isprintable())[:_NAME_LIMIT]
        elif kind == "local_key_id" and len(values):
            key_id = bytes(values[0].native)
        elif kind == "trusted_key_usage":
            trusted = True
    return alias, key_id, trusted


def _locked(passwords: Sequence[str | None]) -> StoreRefused:
    if not any(passwords):
        return StoreRefused("The PKCS#12 file has a password.", advice="Give its password.", code="password-needed")
    return StoreRefused(
        "The PKCS#12 file cannot be opened with this password.",
        advice="Type the password again; if it is right, the file was changed on its way.",
        code="password-wrong",
    )


def _damaged() -> StoreRefused:
    return StoreRefused("The PKCS#12 file is damaged.", advice=_DAMAGED)
