"""Tokens signed with keys of the store are checked by a relying party that reads the running portal's JWK Set."""

import base64
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.harness import pki
from tests.harness.portal import Portal

pytestmark = [pytest.mark.e2e, pytest.mark.proof]  # a key of each kind; tests/e2e/test_pages.py has the short one

_EXPOSE = """
from certs.models import Certificate
from certs.services.certificate_changes import certificate_update
from certs.services.certificates import certificate_import
from certs.services.downloads import download_make
row = Certificate.objects.filter(name={name!r}).first()
row = certificate_import(chain={chain!r}, key={key!r}, actor="test", name={name!r}, into=row)
certificate_update(row, actor="test", exposed=True)
result = download_make(row, "key", actor="test").data.decode()
"""


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    """A node that only serves; it has an administrator, before whom there is nothing but the set-up."""
    with Portal(arguments=["--role", "web"]) as running:
        running.run("from tests.stock import administrator\nadministrator()\nresult = None")
        yield running


def expose(portal: Portal, kind: Any, name: str) -> tuple[pki.Pair, Any]:
    """Stored under this name, a version more where it is there; and its key as it is exported."""
    from certs.domain.keys import key_generate

    pair = pki.leaf(pki.authority(), [name], key=key_generate(kind))
    stored = portal.run(_EXPOSE.format(name=name, chain=pair.pem.encode(), key=pair.key_pem.encode()))
    return pair, load_pem_private_key(stored.encode(), None)


def keys_at(portal: Portal) -> list[dict[str, Any]]:
    return portal.get("/.well-known/jwks.json").json()["keys"]  # type: ignore[no-any-return]


def verified(portal: Portal, token: str) -> Any:
    """As a service does it: the key by the token's kid, read from the portal, its algorithm as the JWK says."""
    client = jwt.PyJWKClient(f"{portal.http_url}/.well-known/jwks.json", cache_keys=False, cache_jwk_set=False)
    key = client.get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=[key.algorithm_name])


def signed(key: Any, kid: str, algorithm: str) -> str:
    return jwt.encode({"sub": "somebody"}, key, algorithm=algorithm, headers={"kid": kid})


def test_what_is_signed_before_and_after_a_rotation_is_verified(
    portal: Portal, need: Callable[..., list[Path]], tmp_path: Path
) -> None:
    assert keys_at(portal) == []
    tokens = []
    for kind, algorithm in (("ec-p256", "ES256"), ("ed25519", "EdDSA"), ("rsa-2048", "RS256")):
        pair, key = expose(portal, kind, f"{kind}.example")
        (jwk,) = [each for each in keys_at(portal) if each["alg"] == algorithm]
        assert base64.b64decode(jwk["x5c"][0]) == base64.b64decode("".join(pair.pem.splitlines()[1:-1]))
        tokens.append(signed(key, jwk["kid"], algorithm))
        assert verified(portal, tokens[-1]) == {"sub": "somebody"}
    (openssl,) = need("openssl")
    (tmp_path / "x5c").write_bytes(base64.b64decode(keys_at(portal)[0]["x5c"][0]))
    shown = subprocess.run(
        [openssl, "x509", "-inform", "der", "-in", tmp_path / "x5c", "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    thumb = base64.urlsafe_b64decode(keys_at(portal)[0]["x5t#S256"] + "==").hex(":").upper()
    assert thumb in shown

    before = {each["kid"] for each in keys_at(portal)}
    _, newer = expose(portal, "ec-p256", "ec-p256.example")
    (added,) = {each["kid"] for each in keys_at(portal)} - before
    assert verified(portal, signed(newer, added, "ES256")) == {"sub": "somebody"}
    assert all(verified(portal, token) for token in tokens)

    portal.run('from certs.services.jwks import jwks_overlap_set\njwks_overlap_set(0, actor="test")\nresult = None')
    with pytest.raises(jwt.PyJWKClientError):
        verified(portal, tokens[0])
    assert all(verified(portal, token) for token in tokens[1:])


def test_any_site_may_read_it_and_ask_whether_it_changed(portal: Portal) -> None:
    first = portal.get("/.well-known/jwks.json", headers={"Origin": "https://app.example"})
    assert first.headers["Access-Control-Allow-Origin"] == "*"
    assert "Set-Cookie" not in first.headers
    again = portal.get("/.well-known/jwks.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (
        requests.head(f"{portal.http_url}/.well-known/jwks.json", timeout=10).headers["ETag"] == first.headers["ETag"]
    )
