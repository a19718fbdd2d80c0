"""certbot's directory read: what is whole, and what is broken, rare or hostile."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from josepy import JWKRSA

from certs.domain.certbot import certbot_read, conf_read, credentials_named, key_from_jwk
from certs.domain.errors import KeyRefused
from certs.domain.migration import Found, Tree, days_of
from certs.transports.trees import tree_read
from tests.harness.certbot_tree import ACCOUNT, CertbotTree, jwk


@pytest.fixture
def tree(tmp_path: Path) -> CertbotTree:
    made = CertbotTree(tmp_path / "letsencrypt")
    made.account(email="Ops@Example.com")
    return made


def read(tree: CertbotTree, credentials: dict[str, bytes | str] | None = None) -> Found:
    return certbot_read(tree_read(tree.home), credentials)


def whys(found: Found) -> list[str]:
    return [str(left) for left in (*found.left, *(left for each in found.lineages for left in each.left))]


def test_accounts_and_lineages(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com", "example.com"], versions=3, top="renew_before_expiry = 20 days")
    found = read(tree)
    (account,) = found.accounts
    assert (account.id, account.email) == (ACCOUNT, "ops@example.com")
    assert (account.directory_url, account.url) == (
        "https://acme.example/directory",
        "https://acme.example/directory/acct/1",
    )
    (lineage,) = found.lineages
    assert (lineage.name, lineage.names) == ("www", ["example.com", "www.example.com"])
    assert [version.label for version in lineage.versions] == ["1", "2", "3"]
    assert lineage.current is lineage.versions[2]
    assert (lineage.renew_before_days, lineage.auto_renew, lineage.reuse_key) == (20, True, False)
    assert not found.left


def test_live_decides_which_version_is_in_use(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"], versions=2)
    for kind in ("cert", "privkey"):
        link = tree.home / "live" / "www" / f"{kind}.pem"
        link.unlink()
        link.symlink_to(f"../../archive/www/{kind}1.pem")
    assert read(tree).lineages[0].current.label == "1"


def test_a_copy_that_has_files_for_links_is_compared(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"], versions=2)
    for link in (tree.home / "live" / "www").iterdir():
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    (lineage,) = read(tree).lineages
    assert (lineage.current.label, len(lineage.versions)) == ("2", 2)


BREAKS = {
    "the key is missing": ("archive/www/privkey2.pem", None, "there is no such file"),
    "the key is another's": ("archive/www/privkey2.pem", "archive/other/privkey1.pem", "does not belong"),
    "the key is cut off": ("archive/www/privkey2.pem", b"-----BEGIN PRIVATE KEY-----\nMIG", "cut off"),
    "the certificate is missing": ("archive/www/cert2.pem", None, "it is a link that leads nowhere"),
    "the certificate is no text": ("archive/www/cert2.pem", b"\xff\x00\xfe" * 50, "not a certificate"),
    "the certificate is a key": ("archive/www/cert2.pem", "archive/www/privkey2.pem", "This is a private key"),
    "it is empty": ("archive/www/cert2.pem", b"", "No certificate was given"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_version_is_told_and_takes_nothing_else_along(tree: CertbotTree, name: str) -> None:
    tree.lineage("www", ["www.example.com"], versions=2)
    tree.lineage("other", ["other.example.com"])
    path, content, says = BREAKS[name]
    file = tree.home / path
    content = (tree.home / content).read_bytes() if isinstance(content, str) else content
    file.unlink() if content is None else file.write_bytes(content)
    found = read(tree)
    assert [lineage.name for lineage in found.lineages] == ["other"]
    assert any(says in why for why in whys(found)), whys(found)


def test_an_older_broken_version_is_left_out_alone(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"], versions=2)
    (tree.home / "archive/www/privkey1.pem").unlink()
    found = read(tree)
    assert [version.label for version in found.lineages[0].versions] == ["2"]
    assert "version 1 of www" in whys(found)[0]


def test_what_leads_out_of_the_tree_is_not_followed(tree: CertbotTree, tmp_path: Path) -> None:
    tree.lineage("www", ["www.example.com"])
    outside = tmp_path / "key.pem"
    key = tree.home / "archive/www/privkey1.pem"
    outside.write_bytes(key.read_bytes())
    key.unlink()
    key.symlink_to(outside)
    found = read(tree)
    assert not found.lineages
    assert "it is a link that leads out of" in " ".join(whys(found))


def test_links_in_a_circle_end(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"])
    live = tree.home / "live/www/cert.pem"
    live.unlink()
    live.symlink_to("cert.pem")
    assert not read(tree).lineages
    assert Tree("x", {}, {"a": "b", "b": "a"}).read("a") is None


HOOKS = "pre_hook = a\npost_hook = b\nrenew_hook = c\ninstaller = nginx\nmust_staple = True\n"


def test_hooks_and_installers_are_told(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"], params=f"authenticator = nginx\n{HOOKS}")
    hook = tree.home / "renewal-hooks/deploy/reload.sh"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    found = read(tree)
    told = " ".join(whys(found))
    for word in ("pre-hook", "post-hook", "deploy-hook", "installer", "must-staple", "renewal-hooks/deploy/reload.sh"):
        assert word in told


CREDENTIALS: list[tuple[str, str, str | None, dict[str, str]]] = [
    ("dns-cloudflare", "dns_cloudflare_api_token = t", "dns01_provider", {"provider": "cloudflare", "auth_token": "t"}),
    (
        "dns-cloudflare",
        "dns_cloudflare_email = a@b.c\ndns_cloudflare_api_key = k",
        "dns01_provider",
        {"provider": "cloudflare", "auth_username": "a@b.c", "auth_token": "k"},
    ),
    (
        "dns-rfc2136",
        'dns_rfc2136_server = 192.0.2.1\ndns_rfc2136_name = "k."\ndns_rfc2136_secret = c2VjcmV0\n'
        "dns_rfc2136_algorithm = HMAC-SHA512",
        "dns01_rfc2136",
        {"server": "192.0.2.1", "key": "k", "secret": "c2VjcmV0", "algorithm": "hmac-sha512"},
    ),
    ("dns-cloudflare", "nothing = here", None, {}),
    ("dns-route53", "", None, {}),
]


@pytest.mark.parametrize(("plugin", "text", "kind", "given"), CREDENTIALS)
def test_dns_credentials(tree: CertbotTree, plugin: str, text: str, kind: str | None, given: dict[str, str]) -> None:
    params = f"authenticator = {plugin}\n{plugin.replace('-', '_')}_credentials = /root/dns.ini\n"
    tree.lineage("wild", ["*.example.com"], params=params)
    assert credentials_named(tree_read(tree.home)) == ["/root/dns.ini"]
    proof = read(tree, {"/root/dns.ini": text.encode()}).lineages[0].proof
    assert (proof.kind, dict(proof.given)) == (kind, given)
    unread = read(tree, {"/root/dns.ini": "/root/dns.ini: permission denied"}).lineages[0].proof
    assert unread.kind is None
    assert plugin == "dns-route53" or "permission denied" in unread.advice


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ("authenticator = webroot\nwebroot_path = /var/www,\n[[webroot_map]]\na.example = /var/www", "http01_webroot"),
        ("authenticator = webroot\nwebroot_path = /var/www", "http01_webroot"),
        ("authenticator = webroot\n[[webroot_map]]\na.example = /a\nb.example = /b", None),
        ("authenticator = webroot", None),
        ("authenticator = standalone", ""),
        ("authenticator = apache", ""),
        ("authenticator = manual\nmanual_auth_hook = /x", None),
        ("authenticator = dns-nobody-knows", None),
        ("", None),
    ],
)
def test_how_names_are_proven(tree: CertbotTree, params: str, kind: str | None) -> None:
    tree.lineage("www", ["www.example.com"], params=params)
    assert read(tree).lineages[0].proof.kind == kind


def test_account_keys_of_every_kind() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert key_from_jwk(JWKRSA(key=key).json_dumps().encode()).private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    short = {name: value for name, value in JWKRSA(key=key).to_json().items() if name in "kty n e d"}
    assert key_from_jwk(json.dumps(short).encode()).public_key() == key.public_key()
    curve = ec.generate_private_key(ec.SECP256R1())
    assert key_from_jwk(json.dumps(jwk(curve)).encode()).public_key() == curve.public_key()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from(["kty", "n", "e", "d", "crv", "x", "y"]), inner),
    )
)
def test_no_account_key_ends_otherwise_than_refused(document: Any) -> None:
    with pytest.raises(KeyRefused):
        key_from_jwk(json.dumps(document).encode())


@given(st.text())
def test_no_renewal_file_is_a_surprise(text: str) -> None:
    conf_read(text)
    days_of(text)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "renewal/a.conf",
                "archive/a/cert1.pem",
                "archive/a/privkey1.pem",
                "accounts/h/d/i/private_key.json",
                "live/a/cert.pem",
                "renewal-hooks/x/y",
            ]
        ),
        st.binary(max_size=60),
    )
)
def test_no_tree_is_a_surprise(files: dict[str, bytes]) -> None:
    found = certbot_read(Tree("x", files, {}, {}))
    assert not found.lineages


def test_days() -> None:
    assert [days_of(text) for text in ("30 days", "4 weeks", "36 hours", "1 month", "0 days", "soon", "")] == [
        30,
        28,
        2,
        30,
        None,
        None,
        None,
    ]
