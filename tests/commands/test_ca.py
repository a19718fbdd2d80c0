"""`manage.py ca`: our own CAs from the shell, and what they sign."""

from pathlib import Path

import pytest
from cryptography import x509

from certs.domain.pem import certificates_read
from certs.models import Authority, Certificate
from certs.services.portal_state import state_update
from portal import clock
from tests.commands.running import Ran, run
from tests.harness import pki

pytestmark = pytest.mark.django_db


def ca(*words: object) -> Ran:
    return run("ca", *words)


@pytest.fixture(autouse=True)
def _address(db: None) -> None:
    state_update(pki_base_url="http://pki.example.test", pki_base_url_confirmed_at=clock.now())


@pytest.fixture
def root() -> Authority:
    assert ca("create", "Root", "--key-type", "ec-p256").code == 0
    return Authority.objects.get()


def test_a_root_and_one_below_it(root: Authority) -> None:
    made = ca(
        "create", "Below, Inc.", "--parent", "root", "--key-type", "ec-p256", "--permit", "corp.internal", "--json"
    )
    assert made.code == 0, made
    assert (made.json["subject"], made.json["offline"]) == ("CN=Below\\, Inc.", False)
    listed = ca("list", "--json").json["authorities"]
    assert [row["name"] for row in listed] == ["Below, Inc.", "Root"]
    assert "Below, Inc." in ca("list").out
    assert ca("show", "Root", "--json").json["ocsp"].startswith("http://pki.example.test/")
    assert ca("issue", "Below, Inc.", "app.corp.internal").code == 0
    refused = ca("issue", "Below, Inc.", "app.example.com")
    assert refused.code == 4
    assert "app.example.com" in refused.err


def test_issue_several_and_tell_of_each(root: Authority) -> None:
    ran = ca("issue", "Root", "a.internal,10.0.0.1", "b.internal", "not a host", "--days", "30", "--json")
    assert ran.code == 8
    assert [row["sans"] for row in ran.json["certificates"]] == [["a.internal", "10.0.0.1"], ["b.internal"]]
    assert [row["names"] for row in ran.json["failed"]] == [["not a host"]]
    row = Certificate.objects.get(name="b.internal")
    assert row.authority == root
    assert row.current is not None
    assert row.current.lifetime.days <= 30
    same = run("certs", "issue", "--ca", root.pk, "c.internal", "--no-auto-renew")
    assert same.code == 0, same
    assert not Certificate.objects.get(name="c.internal").auto_renew


def test_many_from_a_file(root: Authority, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("# ours\na.internal, b.internal\n\nc.internal # the third\n")
    ran = run("certs", "issue", "--ca", "Root", "--file", tmp_path / "names", "--json")
    assert [row["sans"] for row in ran.json["certificates"]] == [["a.internal", "b.internal"], ["c.internal"]]
    assert "holds no names" in run("certs", "issue", "--ca", "Root", "--file", "/dev/null").err


def test_a_request_is_signed_for_its_key(root: Authority, tmp_path: Path) -> None:
    from certs.domain.csr import csr_make
    from certs.domain.keys import key_generate

    key = key_generate("ec-p256")
    (tmp_path / "app.csr").write_text(csr_make(key, ["app.internal"]))
    ran = ca("issue", "Root", "--csr", tmp_path / "app.csr", "--json")
    assert ran.code == 0, ran
    (leaf, *_) = certificates_read(ran.json["certificates"][0]["chain"].encode())
    assert leaf.public_key() == key.public_key()
    assert ca("issue", "Root", "--csr", tmp_path / "missing.csr").code == 4


def test_an_offline_ca_signs_with_its_passphrase_only(tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("a long pass phrase\n")
    words = ["--passphrase-file", tmp_path / "phrase"]
    assert ca("create", "Vault", "--key-type", "ec-p256", *words, "--json").json["offline"] is True
    refused = ca("issue", "Vault", "a.internal")
    assert (refused.code, "--passphrase-file" in refused.err) == (4, True)
    assert ca("issue", "Vault", "a.internal", *words).code == 0
    assert ca("create", "X", "--passphrase", "secret").code == 2


def test_its_list_is_written_and_signed_anew(root: Authority, tmp_path: Path) -> None:
    number = root.crl_number
    ran = ca("crl", "Root", "-o", tmp_path / "root.crl")
    assert ran.code == 0, ran
    crl = x509.load_der_x509_crl((tmp_path / "root.crl").read_bytes())
    leaf = certificates_read(root.certificate.current.leaf_pem.encode())[0]  # type: ignore[union-attr]
    assert crl.is_signature_valid(leaf.public_key())  # type: ignore[arg-type]
    assert ca("crl", "Root", "-o", tmp_path / "root.crl").code == 4
    assert ca("crl", "Root", "--sign").code == 0
    root.refresh_from_db()
    assert root.crl_number > number
    assert x509.load_pem_x509_crl(ca("crl", "Root", "-o", "-").out.encode()).issuer == crl.issuer


def test_renewed_with_the_same_key(root: Authority) -> None:
    before = root.certificate.current
    assert ca("renew", "Root", "--json").code == 0
    after = Authority.objects.get().certificate.current
    assert before is not None
    assert after is not None
    assert (after.pk != before.pk, after.key_id) == (True, before.key_id)


def test_retired_only_when_it_is_meant(root: Authority) -> None:
    assert ca("retire", "Root").code == 4
    assert ca("retire", "Root", "--yes").code == 0
    assert ca("show", "Root", "--json").json["state"] == "retired"
    assert ca("issue", "Root", "a.internal").code == 4


def test_one_that_was_deleted_is_not_listed_until_it_is_restored(root: Authority) -> None:
    assert run("certs", "delete", "Root").code == 0
    assert ca("list", "--json").json == {"authorities": []}
    assert run("certs", "restore", "Root").code == 0
    assert [row["name"] for row in ca("list", "--json").json["authorities"]] == ["Root"]


def test_one_from_elsewhere(tmp_path: Path) -> None:
    made = pki.authority("Elsewhere")
    (tmp_path / "ca.pem").write_text(made.pem)
    (tmp_path / "ca.key").write_text(made.key_pem)
    ran = ca("import", tmp_path / "ca.pem", tmp_path / "ca.key", "--json")
    assert ran.code == 0, ran
    assert ca("issue", "Elsewhere", "a.internal").code == 0


def test_none_yet() -> None:
    assert "There is none yet" in ca("list").out
    assert ca("list", "--json").json == {"authorities": []}


def test_what_is_asked_of_the_other_kind_of_ca_is_refused(root: Authority) -> None:
    refused = run("certs", "issue", "--ca", "Root", "a.internal", "--bind")
    assert (refused.code, "--bind" in refused.err) == (4, True)
    refused = run("certs", "issue", "a.example.com", "--days", "30", "--inline")
    assert (refused.code, "--days" in refused.err) == (4, True)
    assert not Certificate.objects.filter(name__in=["a.internal", "a.example.com"]).exists()


def test_a_ca_whose_key_is_elsewhere_is_signed(root: Authority, tmp_path: Path) -> None:
    from certs.domain.csr import csr_make
    from certs.domain.keys import key_generate

    (tmp_path / "below.csr").write_text(csr_make(key_generate("ec-p256"), []))
    words = ["--csr", tmp_path / "below.csr", "--is-ca", "--path-length", "0", "--permit", "corp.internal", "--no-aia"]
    ran = ca("issue", "Root", *words, "--subject", "CN=Below", "--json")
    assert ran.code == 0, ran
    (below, *_) = certificates_read(ran.json["certificates"][0]["chain"].encode())
    assert below.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    permitted = below.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert permitted == [x509.DNSName("corp.internal")]
    with pytest.raises(x509.ExtensionNotFound):
        below.extensions.get_extension_for_class(x509.AuthorityInformationAccess)


def test_what_is_gone_is_revoked_by_its_serial_number_and_a_hold_released(root: Authority) -> None:
    assert ca("issue", "Root", "a.internal", "--no-auto-renew").code == 0
    row = Certificate.objects.get(name="a.internal")
    assert row.current is not None
    serial = row.current.serial
    assert run("certs", "delete", "a.internal").code == 0
    assert ca("revoke", "Root", serial, "--reason", "certificateHold").code == 0
    assert root.issued.get(serial=serial).reason == "certificateHold"
    assert ca("release", "Root", serial).code == 0
    assert root.issued.get(serial=serial).revoked_at is None
    assert ca("release", "Root", serial).code == 4
    assert ca("revoke", "Root", "1234").code == 4


def test_revoked_by_its_name_for_a_reason_that_only_our_own_cas_know(root: Authority) -> None:
    assert ca("issue", "Root", "a.internal", "--no-auto-renew").code == 0
    done = run("certs", "revoke", "a.internal", "--reason", "privilegeWithdrawn", "--json")
    assert done.json["version"]["revocationReason"] == "privilegeWithdrawn"


def test_what_names_only_a_uri_is_called_by_it(root: Authority) -> None:
    made = ca("issue", "Root", "spiffe://example.org/a", "--json")
    assert made.json["certificates"][0]["name"] == "spiffe://example.org/a"


def test_another_address_is_taken_with_the_word_that_the_refusal_names(root: Authority) -> None:
    assert ca("issue", "Root", "a.internal").code == 0
    refused = ca("address", "http://other.example.test")
    assert (refused.code, "--although-living" in refused.err) == (4, True)
    assert ca("address", "http://other.example.test", "--although-living").code == 0


def test_the_address_is_shown() -> None:
    assert ca("address").out == "http://pki.example.test\n"
    state_update(pki_base_url="", pki_base_url_confirmed_at=None)
    assert ca("address").code == 4


def test_one_that_signs_itself() -> None:
    made = run("certs", "self-signed", "a.internal", "10.0.0.1", "--days", "30", "--tag", "lab", "--json")
    assert (made.json["selfSigned"], made.json["sans"]) == (True, ["a.internal", "10.0.0.1"])
    assert "signed by itself, until" in run("certs", "self-signed", "b.internal").out
    assert run("certs", "self-signed", "not a host").code == 4
