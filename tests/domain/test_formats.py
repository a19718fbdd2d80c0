"""Every format, for every kind of key, read back and compared. By other readers: tests/e2e/test_formats_read.py."""

import base64
import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
    pkcs7,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain.errors import BinderyError, CertificateRefused, InputError
from certs.domain.formats.base import (
    ALL,
    Material,
    Need,
    file_stem,
    format_find,
    formats,
    password_check,
    password_suggest,
    trusted_aliases,
)
from certs.domain.jks import KeyEntry, TrustedEntry, jks_read
from certs.domain.keys import Key, key_generate, spki_sha256
from certs.domain.options import OptionRefused, options_of, options_read
from certs.domain.pem import Chain, certificates_read
from tests.harness import pki

NOW = datetime(2026, 11, 21, 22, tzinfo=UTC)
ROOT = pki.authority("Root CA")
MIDDLE = pki.authority("Middle CA", ROOT)
KINDS = ("ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048")  # P-521 is imported only
PASSWORD = "a pass-word"


def material(kind: str = "ec-p256", *, name: str = "www.example.com", root: bool = True) -> Material:
    return MATERIALS[kind, name, root]


def _made(key: Key, name: str, root: bool) -> Material:
    leaf = pki.leaf(MIDDLE, [name], key=key).certificate
    chain = Chain(leaf, (MIDDLE.certificate,), ROOT.certificate if root else None)
    return Material(name, NOW, key.public_key(), chain, key)


KEYS: dict[str, Key] = {
    kind: ec.generate_private_key(ec.SECP521R1()) if kind == "ec-p521" else key_generate(kind) for kind in KINDS
}
NAMES = ("www.example.com", "*.example.com")
MATERIALS = {
    (kind, name, root): _made(key, name, root) for kind, key in KEYS.items() for name in NAMES for root in (True, False)
}


def written(format_id: str, given: Material, **options: Any) -> bytes:
    found = format_find(format_id)
    return found.make(given, options_read(found.options, options))


def same_key(one: object, other: Key) -> bool:
    return spki_sha256(one.public_key()) == spki_sha256(other.public_key())  # type: ignore[attr-defined]


# How each format is read back: (the certificates in order, the key). What is not in it is left empty.
def _pem(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    certificates = certificates_read(data) if b"CERTIFICATE" in data else []
    encrypted = b"ENCRYPTED" in data
    key = load_pem_private_key(data, password.encode() if encrypted else None) if b"PRIVATE" in data else None
    return certificates, key


def _p12(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    store = pkcs12.load_pkcs12(data, password.encode() or None)
    assert store.cert is not None or store.key is None
    first = [store.cert.certificate] if store.cert else []
    return first + [each.certificate for each in store.additional_certs], store.key


def _jks(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    found: list[x509.Certificate] = []
    key = None
    for entry in jks_read(data, password, ["another key password"]):
        if isinstance(entry, KeyEntry):
            found, key = list(entry.chain), entry.key
        else:
            assert isinstance(entry, TrustedEntry)
            found.append(entry.certificate)
    return found, key


def _pkcs7(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    load = pkcs7.load_pem_pkcs7_certificates if data.startswith(b"-----") else pkcs7.load_der_pkcs7_certificates
    # A SET OF is sorted by its bytes; readers find the chain by its names.
    order = [each.subject for each in (ROOT.certificate, MIDDLE.certificate)]
    return sorted(load(data), key=lambda each: -order.index(each.subject) if each.subject in order else -9), None


def _tls_secret(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    values = {name: base64.b64decode(text) for name, text in yaml.safe_load(data)["data"].items()}
    return certificates_read(values["tls.crt"]), load_pem_private_key(values["tls.key"], None)


def _stores_secret(data: bytes, password: str) -> tuple[list[x509.Certificate], Any]:
    values = {name: base64.b64decode(text) for name, text in yaml.safe_load(data)["data"].items()}
    trusted, nothing = _jks(values["truststore.jks"], password)
    assert nothing is None
    assert len(trusted) == 1
    return _p12(values["keystore.p12"], password)


Reader = Callable[[bytes, str], tuple[list[x509.Certificate], Any]]
READERS: dict[str, Reader] = {
    **dict.fromkeys(("fullchain", "leaf", "chain", "key", "key-encrypted", "bundle", "trust-pem"), _pem),
    "public-key": lambda data, _: ([], load_pem_public_key(data)),
    "der": lambda data, _: ([x509.load_der_x509_certificate(data)], None),
    "key-der": lambda data, _: ([], load_der_private_key(data, None)),
    "pkcs7": _pkcs7,
    "pkcs12": _p12,
    "truststore-p12": _p12,
    "jks": _jks,
    "truststore-jks": _jks,
    "kubernetes-tls": _tls_secret,
    "kubernetes-stores": _stores_secret,
}


def test_each_format_has_its_reader() -> None:
    assert set(READERS) == set(formats())


@st.composite
def option_values(draw: st.DrawFn, format_id: str) -> dict[str, Any]:
    """Any mix of what the options allow; texts are left to their defaults or to what is valid."""
    values: dict[str, Any] = {}
    for each in options_of(format_find(format_id).options):
        if each.type is bool:
            values[each.name] = draw(st.booleans())
        elif each.choices:
            values[each.name] = draw(st.sampled_from([value for value, _ in each.choices]))
        elif each.name == "password":
            values[each.name] = PASSWORD
        elif each.name == "key_password":
            values[each.name] = draw(st.sampled_from(["", "another key password"]))
        elif each.name == "alias":
            values[each.name] = draw(st.sampled_from(["", "Server", "älias 1"]))
        else:
            values[each.name] = draw(st.sampled_from(["", "some-name"]))
    if values.get("encryption") == "none":
        values["password"] = ""
    if values.get("encryption") == "modern":
        values["encryption"] = draw(st.sampled_from(["modern", "legacy"]))
    return values


def _round_trip(data: st.DataObject, format_id: str) -> None:
    given_material = material(data.draw(st.sampled_from(KINDS)), name=data.draw(st.sampled_from(NAMES)))
    values = data.draw(option_values(format_id))
    if format_id == "key" and given_material.key is KEYS["ed25519"]:
        values["form"] = "pkcs8"
    certificates, key = READERS[format_id](written(format_id, given_material, **values), values.get("password", ""))
    chain, needs = given_material.whole_chain, format_find(format_id).needs
    if Need.KEY in needs:
        assert same_key(key, KEYS[next(kind for kind in KINDS if KEYS[kind] is given_material.key)])
    else:
        assert key is None or format_id == "public-key"
    if Need.CERTIFICATE in needs:
        above = [*chain.intermediates, *([chain.root] if values.get("root") and chain.root else [])]
        with_leaf = {"leaf": [chain.leaf], "der": [chain.leaf], "chain": above}.get(format_id, [chain.leaf, *above])
        assert certificates == with_leaf
    elif Need.TRUSTED in needs:
        wanted = {ROOT.certificate, MIDDLE.certificate} if values["what"] == ALL else {ROOT.certificate}
        assert set(certificates) == wanted


@pytest.mark.parametrize("format_id", sorted(READERS))
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_what_is_written_is_read_back(format_id: str, data: st.DataObject) -> None:
    _round_trip(data, format_id)


@pytest.mark.proof
@pytest.mark.parametrize("format_id", sorted(READERS))
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back_in_every_mix(format_id: str, data: st.DataObject) -> None:
    _round_trip(data, format_id)


def test_the_public_key_is_that_of_the_certificate() -> None:
    public = load_pem_public_key(written("public-key", material()))
    assert spki_sha256(public) == spki_sha256(material().whole_chain.leaf.public_key())  # type: ignore[arg-type]


def test_legacy_and_modern_differ_in_what_they_use() -> None:
    modern = written("pkcs12", material(), password=PASSWORD)
    legacy = written("pkcs12", material(), password=PASSWORD, encryption="legacy")
    triple_des = bytes.fromhex("2a864886f70d010c0103")  # 1.2.840.113549.1.12.1.3
    aes_256 = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
    assert (triple_des in legacy, aes_256 in legacy) == (True, False)
    assert (triple_des in modern, aes_256 in modern) == (False, True)


@pytest.mark.parametrize("name", ["www.example.com", "*.example.com", "Büro (intern)/../x", "a\r\nb: c", "...", "日本"])
def test_names_of_files_are_safe(name: str) -> None:
    stem = file_stem(name)
    assert stem.isascii()
    assert not set(stem) & set('/\\"\r\n: ')
    assert stem[0] not in ".-"


@pytest.mark.parametrize(
    ("format_id", "values", "field"),
    [
        ("pkcs12", {}, "password"),
        ("pkcs12", {"password": "short"}, "password"),
        ("pkcs12", {"password": "pässword"}, "password"),
        ("pkcs12", {"password": "x" * 129}, "password"),
        ("pkcs12", {"password": PASSWORD, "encryption": "none"}, "password"),
        ("pkcs12", {"password": PASSWORD, "encryption": "rot13"}, "encryption"),
        ("pkcs12", {"password": PASSWORD, "alias": "x" * 256}, "alias"),
        ("jks", {"password": PASSWORD, "key_password": "short"}, "key_password"),
        ("jks", {"password": PASSWORD, "alias": "a\x07b"}, "alias"),
        ("jks", {}, "password"),
        ("key-encrypted", {}, "password"),
        ("truststore-jks", {"password": ""}, "password"),
        ("kubernetes-tls", {"name": "Not_A_Name"}, "name"),
        ("kubernetes-tls", {"name": "a" * 254}, "name"),
        ("kubernetes-tls", {"name": "a.-b"}, "name"),
        ("kubernetes-tls", {"namespace": "with.dot"}, "namespace"),
        ("kubernetes-tls", {"namespace": 'x"\n'}, "namespace"),
        ("kubernetes-stores", {"password": "12345"}, "password"),
        ("leaf", {"root": True}, "root"),
    ],
)
def test_what_would_not_work_is_said_at_its_field(format_id: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionRefused) as refused:
        written(format_id, material(), **values)
    assert refused.value.field == field


def test_spaces_at_the_ends_of_a_password_stay() -> None:
    store = written("pkcs12", material(), password="  spaces  ")
    assert pkcs12.load_pkcs12(store, b"  spaces  ").key is not None


def test_an_unknown_root_is_not_left_out_silently() -> None:
    with pytest.raises(OptionRefused, match="root of this chain is not known"):
        written("fullchain", material(root=False), root=True)
    # The topmost that is known is what can be trusted then.
    assert certificates_read(written("trust-pem", material(root=False))) == [MIDDLE.certificate]


def test_what_signs_itself_is_its_own_chain_and_its_own_trust() -> None:
    key = KEYS["ec-p256"]
    alone = pki.leaf(None, ["alone.example"], key=key).certificate
    own = Material("alone.example", NOW, key.public_key(), Chain(alone), key)
    assert certificates_read(written("fullchain", own, root=True)) == [alone]
    assert certificates_read(written("trust-pem", own)) == [alone]
    with pytest.raises(CertificateRefused, match="no intermediates"):
        written("chain", own)


def test_a_ca_is_trusted_itself() -> None:
    own = Material("Middle", NOW, None, Chain(MIDDLE.certificate, (), ROOT.certificate))
    assert certificates_read(written("trust-pem", own)) == [ROOT.certificate]
    assert certificates_read(written("trust-pem", own, what=ALL)) == [MIDDLE.certificate, ROOT.certificate]


def test_a_leaf_without_anything_above_cannot_be_trusted() -> None:
    bare = dataclasses.replace(material(), chain=Chain(material().whole_chain.leaf))
    with pytest.raises(CertificateRefused, match="None of the CAs"):
        written("truststore-jks", bare, password=PASSWORD)


def test_a_key_pair_has_no_certificate_and_a_trusted_one_no_key() -> None:
    pair = Material("pair", NOW, KEYS["ec-p256"].public_key(), None, KEYS["ec-p256"])
    with pytest.raises(CertificateRefused, match="only a key"):
        written("fullchain", pair)
    assert same_key(load_pem_private_key(written("key", pair), None), KEYS["ec-p256"])
    with pytest.raises(InputError) as refused:
        written("key", dataclasses.replace(pair, key=None))
    assert refused.value.code == "key-not-here"


def test_ed25519_has_no_traditional_form() -> None:
    with pytest.raises(OptionRefused, match="PKCS#8 form only"):
        written("key", material("ed25519"), form="traditional")
    assert b"BEGIN EC PRIVATE KEY" in written("key", material("ec-p384"), form="traditional")
    assert b"BEGIN RSA PRIVATE KEY" in written("key", material("rsa-2048"), form="traditional")


def test_aliases_of_a_trust_store_are_told_apart() -> None:
    twins = [pki.authority("Same").certificate, pki.authority("same").certificate, pki.authority("Same-2").certificate]
    twins += [pki.authority("Same").certificate]
    aliases = trusted_aliases(twins)
    assert len(set(aliases)) == 4
    chosen = Material("trust", NOW, trusted=tuple(twins))
    read = jks_read(written("truststore-jks", chosen, password=PASSWORD), PASSWORD)
    assert [entry.alias for entry in read] == aliases


def test_the_names_of_a_secret_are_made_of_the_certificates() -> None:
    secret = yaml.safe_load(written("kubernetes-tls", material(name="*.example.com")))
    assert secret["metadata"] == {"name": "wildcard-example-com-tls"}
    assert secret["type"] == "kubernetes.io/tls"
    assert certificates_read(base64.b64decode(secret["data"]["ca.crt"])) == [ROOT.certificate]
    stores = yaml.safe_load(
        written("kubernetes-stores", material(), password=PASSWORD, name="kestra", namespace="1", with_password=True)
    )
    assert stores["metadata"] == {"name": "kestra", "namespace": "1"}
    assert base64.b64decode(stores["data"]["password"]).decode() == PASSWORD
    assert "password" not in yaml.safe_load(written("kubernetes-stores", material(), password=PASSWORD))["data"]
    for document in (secret, stores):
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_keys_never_show_in_a_representation() -> None:
    assert "PrivateKey" not in repr(material())


def test_suggested_passwords_are_accepted_and_differ() -> None:
    made = {password_check(password_suggest()) for _ in range(50)}
    assert len(made) == 50


def test_no_format_is_known_by_another_name() -> None:
    with pytest.raises(InputError, match="no format"):
        format_find("pfx")


def test_a_key_never_leaves_with_a_format_that_does_not_say_so() -> None:
    secret = KEYS["ec-p256"].private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    for each in formats().values():
        if each.has_key:
            continue
        values = {about.name: PASSWORD for about in options_of(each.options) if about.name == "password"}
        try:
            assert secret not in written(each.id, material(), **values)
        except BinderyError:
            pytest.fail(f"{each.id} refuses what it should take")


def test_the_documents_list_every_format_as_it_is() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "exporting.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| `NAME([^`]+)` \| (yes)? ?\|", text, re.MULTILINE)
    assert rows == [(each.id, each.suffix, "yes" if each.has_key else "") for each in formats().values()]


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.text(st.characters(categories=["Cs", "Cc", "Zl", "Lo"]), max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def _anything_given(format_id: str, data: st.DataObject) -> None:
    found = format_find(format_id)
    known = [each.name for each in options_of(found.options)]
    names = st.sampled_from(known) if known else st.just("password")
    values = data.draw(st.dictionaries(st.one_of(names, names, names, st.text(max_size=5)), anything, max_size=4))
    if "password" in known and data.draw(st.booleans()):
        values["password"] = PASSWORD
    with suppress(InputError):
        assert isinstance(found.make(material(), options_read(found.options, values)), bytes)


@pytest.mark.parametrize("format_id", sorted(READERS))
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_whatever_is_given_as_options_ends_in_a_file_or_a_sentence(format_id: str, data: st.DataObject) -> None:
    _anything_given(format_id, data)


@pytest.mark.proof
@pytest.mark.parametrize("format_id", sorted(READERS))
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_given_as_options_never_ends_in_a_crash(format_id: str, data: st.DataObject) -> None:
    _anything_given(format_id, data)
