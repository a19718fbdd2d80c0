"""acme.sh's directory read. Debian has no package of it: the files are laid out as its documentation says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.acmesh import acmesh_read, conf_read, credentials_named
from certs.domain.dns_credentials import tsig_key_read
from certs.domain.migration import Found, FoundLineage, Tree
from certs.transports.trees import tree_read
from tests.harness.acmesh_tree import API, AcmeshTree, wrapped


class Home(AcmeshTree):
    def read(self, credentials: dict[str, bytes | str] | None = None) -> Found:
        return acmesh_read(tree_read(self.home), credentials)

    def only(self, credentials: dict[str, bytes | str] | None = None) -> FoundLineage:
        (found,) = self.read(credentials).lineages
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / ".acme.sh")


def test_accounts_and_certificates(home: Home) -> None:
    home.certificate("a.example_ecc", "Le_Webroot='/var/www'", "Le_Keylength='ec-384'", "Le_Preferred_Chain='R'")
    found = home.read()
    (account,) = found.accounts
    assert (account.directory_url, account.url) == (API, "https://acme.example/acct/7")
    assert account.email == "ops@example.com"
    (lineage,) = found.lineages
    assert (lineage.account, lineage.names, lineage.key_type) == (account.id, ["a.example"], "ec-p384")
    assert (lineage.reuse_key, lineage.preferred_chain) == (True, "R")
    assert len(lineage.current.chain.intermediates) == 1
    assert not found.left


@pytest.mark.parametrize(
    ("webroot", "kind"),
    [
        ("/var/www", "http01_webroot"),
        ("no", ""),
        ("alpn", ""),
        ("nginx:", ""),
        ("apache", ""),
        ("dns_cf", "dns01_provider"),
        ("dns_dgon", None),
        ("dns_unheard_of", None),
        ("dns", None),
        ("/a,/b", None),
        ("", None),
    ],
)
def test_how_names_are_proven(home: Home, webroot: str, kind: str | None) -> None:
    home.certificate("a.example", f"Le_Webroot='{webroot}'")
    assert home.only().proof.kind == kind


def test_credentials_come_from_where_it_saved_them(home: Home) -> None:
    home.certificate("a.example", "Le_Webroot='dns_cf'")
    assert dict(home.only().proof.given) == {"provider": "cloudflare", "auth_token": "cf-token"}


def test_dynamic_updates_are_signed_with_the_key_file_it_names(home: Home) -> None:
    lines = ["SAVED_NSUPDATE_KEY='/etc/ns.key'", "SAVED_NSUPDATE_SERVER='192.0.2.1'", "SAVED_NSUPDATE_ZONE='a.example'"]
    home.certificate("a.example", "Le_Webroot='dns_nsupdate'", *lines)
    assert credentials_named(tree_read(home.home)) == ["/etc/ns.key"]
    key = b'key "acme" { algorithm hmac-sha256; secret "c2VjcmV0"; };'
    given_ = dict(home.only({"/etc/ns.key": key}).proof.given)
    wanted = {"server": "192.0.2.1", "key": "acme", "secret": "c2VjcmV0", "algorithm": "hmac-sha256"}
    assert given_ == wanted | {"zone": "a.example"}
    assert home.only({"/etc/ns.key": "permission denied"}).proof.kind is None
    assert tsig_key_read("nothing") == {}


def test_what_it_ran_and_installed_is_told(home: Home) -> None:
    home.certificate(
        "a.example", "Le_Webroot='no'", f"Le_ReloadCmd='{wrapped('systemctl reload nginx')}'", "Le_RealKeyPath='/k.pem'"
    )
    told = " ".join(map(str, home.only().left))
    assert "systemctl reload nginx" in told
    assert "/k.pem" in told


@pytest.mark.parametrize("name", ["a.example.key", "a.example.cer"])
def test_what_is_missing_or_broken_is_told(home: Home, name: str) -> None:
    home.certificate("a.example", "Le_Webroot='no'")
    home.certificate("b.example", "Le_Webroot='no'")
    file = home.home / "a.example" / name
    file.write_text("rubbish")
    found = home.read()
    assert [each.name for each in found.lineages] == ["b.example"]
    assert found.left[0].what == "a.example"
    file.unlink()
    assert "there is no such file" in home.read().left[0].why


def test_a_key_that_changes_each_time(home: Home) -> None:
    home.certificate("a.example", "Le_Webroot='no'", "Le_ForceNewDomainKey='1'")
    assert not home.only().reuse_key


@given(st.text())
def test_no_settings_are_a_surprise(text: str) -> None:
    conf_read(text)


@given(
    st.dictionaries(
        st.sampled_from(["a/a.conf", "a/a.cer", "a/a.key", "ca/h/d/account.key", "account.conf"]),
        st.binary(max_size=60),
    )
)
def test_no_tree_is_a_surprise(files: dict[str, bytes]) -> None:
    assert not acmesh_read(Tree("x", files, {}, {})).lineages
