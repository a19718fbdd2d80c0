"""TLS contexts: built from memory, proven before use, chosen by server name."""

import os
import ssl
import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from certs.domain.client_auth import ClientAuth, Mode
from certs.domain.errors import ServingError
from certs.domain.keys import Key, key_generate
from certs.services.serving import BoundPair, ServingMaterial
from portal.server import contexts
from tests.harness import pki


def pair_of(*names: str) -> BoundPair:
    made = pki.leaf(None, list(names))
    assert isinstance(made.key, Key)
    return BoundPair(names[0], made.pem, made.key, made.fingerprint)


def served(entry: ssl.SSLContext, name: str | None, **client_options: ssl.TLSVersion) -> str:
    """The leaf a client sees; raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for option, value in client_options.items():
        setattr(context, option, value)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    contexts._shake(client, entry.wrap_bio(to_server, to_client, server_side=True))
    return sha256(client.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.fixture
def material() -> ServingMaterial:
    names = {"": "default.test", "a.test": "a.test", "*.a.test": "*.a.test", "x.a.test": "x.a.test"}
    return ServingMaterial(7, {server_name: pair_of(name) for server_name, name in names.items()})


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        (None, ""),
        ("other.test", ""),
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("b.a.test", "*.a.test"),
        ("x.a.test", "x.a.test"),
        ("c.b.a.test", ""),
        ("xa.test", ""),
    ],
)
def test_exact_name_then_wildcard_then_default(material: ServingMaterial, asked: str | None, bound: str) -> None:
    built = contexts.contexts_build(material)
    assert built.generation == 7
    assert served(built.entry, asked) == material.pairs[bound].fingerprint


def test_only_names_that_nothing_is_bound_to_are_told(material: ServingMaterial) -> None:
    built = contexts.contexts_build(material)
    told: list[str] = []
    built.on_unknown = told.append
    for name in (None, "a.test", "b.a.test", "other.test", "c.b.a.test", "xn--bcher-kva.test"):
        served(built.entry, name)
    assert told == ["other.test", "c.b.a.test", "xn--bcher-kva.test"]


def test_the_default_under_its_own_name_is_no_unknown_one() -> None:
    pair = pair_of("a.test")
    built = contexts.contexts_build(ServingMaterial(1, {"": pair, "a.test": pair}))
    told: list[str] = []
    built.on_unknown = told.append
    assert served(built.entry, "a.test") == pair.fingerprint
    assert told == []


def test_one_context_per_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = contexts.context_make
    monkeypatch.setattr(contexts, "context_make", lambda pair: made.append(pair.certificate) or make(pair))
    pair = pair_of("a.test", "b.test")
    contexts.contexts_build(ServingMaterial(1, {"": pair, "a.test": pair, "b.test": pair}))
    assert len(made) == 1


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384", "ed25519"])
def test_a_key_that_does_not_fit_is_refused(key_type: str) -> None:
    wrong = replace(pair_of("a.test"), key=key_generate(key_type))
    with pytest.raises(ServingError, match=r"a\.test"):
        contexts.contexts_build(ServingMaterial(1, {"": wrong}))


def test_another_leaf_than_promised_is_refused() -> None:
    lying = replace(pair_of("a.test"), fingerprint="0" * 64)
    with pytest.raises(ServingError, match="another certificate answers"):
        contexts.contexts_build(ServingMaterial(1, {"": lying}))


def test_no_default_is_refused() -> None:
    with pytest.raises(ServingError, match="by default"):
        contexts.contexts_build(ServingMaterial(1, {"a.test": pair_of("a.test")}))


def test_the_chain_is_sent() -> None:
    root = pki.authority()
    issuing = pki.authority("Issuing", root)
    made = pki.leaf(issuing, ["a.test"])
    assert isinstance(made.key, Key)
    context = contexts.context_make(BoundPair("a", made.pem + issuing.pem, made.key, made.fingerprint))
    client_context = ssl.create_default_context(cadata=root.pem)
    client_context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="a.test")
    contexts._shake(client, context.wrap_bio(to_server, to_client, server_side=True))


def test_old_protocols_are_refused_and_current_ones_spoken(material: ServingMaterial) -> None:
    entry = contexts.contexts_build(material).entry
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert served(entry, None, minimum_version=version, maximum_version=version)
    assert entry.minimum_version == ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in entry.get_ciphers()}
    assert not [name for name in names if "CBC" in name or "SHA1" in name or name.startswith(("AES", "DES"))]


def test_the_key_touches_no_named_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    contexts.context_make(pair_of("a.test"))
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_without_memory_files_an_unlinked_one_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pair = pair_of("a.test")
    built = contexts.contexts_build(ServingMaterial(1, {"": pair}))
    assert served(built.entry, None) == pair.fingerprint
    assert list(tmp_path.iterdir()) == []


def shaken(entry: ssl.SSLContext, name: str | None, client_pair: pki.Pair | None) -> bytes | None:
    """What the server sees of the client; raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client_pair is not None:
        contexts.context_load(context, client_pair.pem.encode(), client_pair.key_pem.encode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = entry.wrap_bio(to_server, to_client, server_side=True)
    contexts._shake(client, server)
    return server.getpeercert(binary_form=True)


@pytest.mark.parametrize("name", [None, "a.test", "b.a.test"])
def test_client_certificates_are_asked_for_under_every_name(material: ServingMaterial, name: str | None) -> None:
    root, stranger = pki.authority("Root"), pki.authority("Stranger")
    intermediate, sibling = pki.authority("Issuing", root), pki.authority("Sibling", root)
    mine, theirs = pki.leaf(intermediate, ["alice@a.test"]), pki.leaf(stranger, ["alice@a.test"])
    beside = pki.leaf(sibling, ["alice@a.test"])

    def entry(mode: Mode) -> ssl.SSLContext:
        return contexts.contexts_build(replace(material, clients=ClientAuth(mode, intermediate.pem))).entry

    shown = mine.certificate.public_bytes(serialization.Encoding.DER)
    assert shaken(entry(Mode.OFF), name, mine) is None
    assert shaken(entry(Mode.WANT), name, None) is None
    for mode in (Mode.WANT, Mode.REQUIRED):
        asking = entry(mode)
        assert shaken(asking, name, mine) == shown
        for other in (theirs, beside):  # the sibling has the same root
            with pytest.raises(ssl.SSLError):
                shaken(asking, name, other)
    with pytest.raises(ssl.SSLError):
        shaken(entry(Mode.REQUIRED), name, None)


def test_authorities_that_cannot_be_read_stop_the_generation(material: ServingMaterial) -> None:
    with pytest.raises(ServingError, match="trusted CAs"):
        contexts.contexts_build(replace(material, clients=ClientAuth(Mode.REQUIRED, "")))
