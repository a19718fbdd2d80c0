"""`manage.py certs`: find, show, import, export, change, verify; for people and for scripts."""

import io
import sys
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from certs.domain.keys import key_from_pem
from certs.domain.pem import certificates_read, pair_check
from certs.models import AuditEvent, Certificate, CertificateVersion, Order, PrivateKey
from certs.services.certificate_changes import certificate_tags_set
from portal import clock
from tests import stock
from tests.commands.running import Ran, run
from tests.harness import pki
from tests.harness.acmesh_tree import AcmeshTree, wrapped
from tests.harness.certbot_tree import CertbotTree

pytestmark = pytest.mark.django_db


def certs(*words: object) -> Ran:
    return run("certs", *words)


def names(ran: Ran) -> list[str]:
    return [row["name"] for row in ran.json["certificates"]]


class TestList:
    def test_what_expires_first_is_on_top(self) -> None:
        for name, days in (("late.example", 90), ("soon.example", 10), ("middle.example", 50)):
            stock.uploaded(name, days=days)
        lines = certs("list").out.splitlines()
        assert lines[0].split() == ["EXPIRES", "STATE", "NAME", "KEY", "ISSUER", "TAGS", "ID"]
        named = [next(word for word in line.split() if word.endswith(".example")) for line in lines[1:4]]
        assert named == ["soon.example", "middle.example", "late.example"]
        assert names(certs("list", "--sort", "name", "--json")) == ["late.example", "middle.example", "soon.example"]

    def test_filters_are_those_of_the_pages(self) -> None:
        tagged = stock.uploaded("a.one.example")
        certificate_tags_set(tagged, ["prod"], actor="test")
        stock.issued("b.two.example")
        for words, found in (
            (["--domain", "one.example"], ["a.one.example"]),
            (["two"], ["b.two.example"]),
            (["--tag", "PROD"], ["a.one.example"]),
            (["--source", "acme"], ["b.two.example"]),
            (["--issuer", "nobody"], []),
            (["--expires-before", "2001-01-01"], []),
        ):
            assert names(certs("list", *words, "--json")) == found, words

    def test_it_goes_on_where_it_ended(self) -> None:
        for number in range(5):
            stock.uploaded(f"c{number}.example")
        words = ["list", "--sort", "name", "--limit", "2"]
        first = certs(*words, "--json")
        assert names(first) == ["c0.example", "c1.example"]
        assert names(certs(*words, "--json", "--cursor", first.json["next"])) == ["c2.example", "c3.example"]
        whole = certs("list", "--all", "--json")
        assert (len(names(whole)), whole.json["next"]) == (5, None)
        assert "Go on with --cursor" in certs(*words).out

    def test_none(self) -> None:
        assert certs("list").out.strip() == "No certificate fits."
        assert certs("list", "--json").json == {"certificates": [], "next": None}

    def test_no_key_is_ever_listed(self) -> None:
        stock.uploaded("a.example")
        assert "PRIVATE KEY" not in certs("list", "--json").out + certs("show", "a.example", "--json").out


class TestShow:
    def test_for_people_and_for_scripts(self) -> None:
        row = stock.issued("a.example")
        text = certs("show", "a.example").out
        assert row.current is not None
        assert row.current.fingerprint_sha256 in text
        document = certs("show", row.pk, "--json").json
        assert (document["name"], document["bindery"]["hasPrivateKey"], document["privateKey"]) == (
            "a.example",
            True,
            None,
        )
        assert [each["fingerprint"] for each in document["versions"]] == [row.current.fingerprint_sha256]

    def test_versions_are_told_apart_and_compared(self) -> None:
        row = stock.issued("a.example")
        old = row.current
        stock.renewed(row)
        assert old is not None
        assert row.current is not None
        one, other = old.fingerprint_sha256[:12], row.current.fingerprint_sha256[:12]
        assert old.fingerprint_sha256 in certs("show", "a.example", "--of-version", one).out
        assert certificates_read(certs("show", "a.example", "--pem", "--of-version", one).out.encode())
        differing = certs("show", "a.example", "--compare", one, other, "--json").json["differences"]
        told = {fact["name"]: (fact["before"], fact["after"]) for fact in differing}
        assert told["serial"] == (old.serial, row.current.serial)
        assert "issuer" not in told
        assert certs("show", "a.example", "--compare", one, one).out.strip() == "They are the same."
        assert certs("show", "a.example", "--of-version", "ffff").code == 4

    def test_a_narrow_terminal_keeps_the_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from certs.management.store import listing

        stock.uploaded("a.example", "b.example")
        monkeypatch.setattr(listing, "terminal_width", lambda: 60)
        lines = certs("list").out.splitlines()
        assert all(len(line) <= 60 for line in lines)
        assert "a.example +1" in lines[1]

    def test_what_a_certificate_says_moves_no_cursor(self) -> None:
        row = stock.uploaded("a.example")
        CertificateVersion.objects.filter(pk=row.current_id).update(key_type="\x1b[2J\r\n")
        assert "\x1b" not in certs("list").out


@pytest.fixture
def pair() -> pki.Pair:
    return pki.leaf(stock.CA, ["new.example"])


@pytest.fixture
def file(pair: pki.Pair, tmp_path: Path) -> Path:
    place = tmp_path / "new.pem"
    place.write_text(pair.pem + pair.key_pem)
    return place


class TestImport:
    def test_a_dry_run_tells_and_stores_nothing(self, file: Path) -> None:
        ran = certs("import", file, "--dry-run", "--json")
        assert (ran.code, ran.json["items"][0]["verdict"]) == (0, "new")
        assert not Certificate.objects.filter(source="uploaded").exists()

    def test_it_is_taken_once(self, file: Path) -> None:
        ran = certs("import", file, "--name", "mine", "--tag", "a", "--tag", "b", "--json")
        (item,) = ran.json["items"]
        row = Certificate.objects.get(pk=item["id"])
        assert (row.name, [tag.tag for tag in row.tag_rows.all()]) == ("mine", ["a", "b"])
        assert certs("import", file, "--json").json["items"][0]["verdict"] == "same"
        assert Certificate.objects.filter(source="uploaded").count() == 1

    def test_a_password_comes_from_a_file_or_the_environment(
        self, pair: pki.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key: Any = pair.key
        locked = BestAvailableEncryption(b"pass phrase")
        (tmp_path / "new.p12").write_bytes(
            pkcs12.serialize_key_and_certificates(b"x", key, pair.certificate, None, locked)
        )
        refused = certs("import", tmp_path / "new.p12")
        assert refused.code == 4
        assert "password" in refused.err.lower()
        monkeypatch.setenv("STORE_PASSWORD", "pass phrase")
        assert certs("import", tmp_path / "new.p12", "--password-file", "env:STORE_PASSWORD").code == 0
        (tmp_path / "passwords").write_text("wrong\npass phrase\n")
        assert certs("import", tmp_path / "new.p12", "--password-file", tmp_path / "passwords", "--json").code == 0

    def test_one_is_asked_for_where_somebody_is_there(
        self, pair: pki.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from certs.management.store import importing

        key: Any = pair.key
        locked = BestAvailableEncryption(b"pass phrase")
        data = pkcs12.serialize_key_and_certificates(b"x", key, pair.certificate, None, locked)
        (tmp_path / "new.p12").write_bytes(data)
        typed = iter(["wrong", "pass phrase"])
        monkeypatch.setattr(importing, "can_ask", lambda: True)
        monkeypatch.setattr(importing, "password_ask", lambda question: next(typed))
        assert certs("import", tmp_path / "new.p12").code == 0
        monkeypatch.setattr(importing, "password_ask", lambda question: "")
        assert certs("import", tmp_path / "new.p12").code == 4

    def test_a_password_is_no_word_of_the_command(self) -> None:
        assert certs("import", "x.p12", "--password", "secret").code == 2

    def test_some_of_it_is_not_all_of_it(self, file: Path, tmp_path: Path) -> None:
        start = clock.now() - timedelta(days=9)
        expired = pki.leaf(stock.CA, ["old.example"], days=5, start=start)
        (tmp_path / "old.pem").write_text(expired.pem + expired.key_pem)
        ran = certs("import", file, tmp_path / "old.pem")
        assert ran.code == 8, ran
        assert "old.example: refused" in ran.out
        assert Certificate.objects.filter(source="uploaded").count() == 1

    @pytest.mark.parametrize("words", [("a.pem", "--certbot", "/x"), ("--certbot", "/x", "--acmesh", "/y"), ()])
    def test_one_kind_at_a_time(self, words: tuple[str, ...]) -> None:
        assert "Give files, or --certbot, or --acmesh." in certs("import", *words).err


class TestTakeOver:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> CertbotTree:
        made = CertbotTree(tmp_path / "letsencrypt")
        made.account()
        made.lineage("www", ["www.example.com"], params="authenticator = standalone\nrenew_hook = reload")
        return made

    def test_plan_then_deed_then_nothing(self, tree: CertbotTree) -> None:
        planned = certs("import", "--certbot", tree.home, "--dry-run")
        assert (planned.code, planned.last) == (0, "2 to take, 1 not taken. Nothing was changed.")
        assert not Certificate.objects.exists()
        assert certs("import", "--certbot", tree.home).last == "2 taken, 1 not taken. Nothing was ordered."
        assert certs("import", "--certbot", tree.home).last == "Nothing to take: 2 here already, 1 not taken."
        assert not Order.objects.exists()

    def test_what_is_broken_is_told_by_the_exit_code(self, tree: CertbotTree) -> None:
        tree.lineage("bad", ["bad.example.com"])
        (tree.home / "archive/bad/privkey1.pem").unlink()
        ran = certs("import", "--certbot", tree.home, "--json")
        assert ran.code == ran.json["exit_code"] == 8
        assert any(line["name"] == "version 1 of bad" for line in ran.json["lines"])
        assert Certificate.objects.get().name == "www"

    def test_a_timer_that_still_runs_is_told_with_the_command_that_stops_it(
        self, tree: CertbotTree, settings: Any, tmp_path: Path
    ) -> None:
        settings.MACHINE_ROOT = tmp_path / "machine"
        cron = settings.MACHINE_ROOT / "etc/cron.d/certbot"
        cron.parent.mkdir(parents=True)
        cron.write_text("0 3 * * * root certbot renew\n")
        ran = certs("import", "--certbot", tree.home, "--dry-run")
        assert "Stop it: mv /etc/cron.d/certbot /etc/cron.d/certbot.disabled" in ran.err
        (place,) = certs("import", "--certbot", tree.home, "--json").json["still_renewing"]
        assert (place["place"], place["state"]) == ("/etc/cron.d/certbot", "active")

    def test_acme_sh_as_well(self, tmp_path: Path) -> None:
        home = AcmeshTree(tmp_path / ".acme.sh")
        home.certificate("a.example_ecc", "Le_Webroot='dns_cf'", f"Le_ReloadCmd='{wrapped('reload nginx')}'")
        ran = certs("import", "--acmesh", home.home, "--json")
        assert ran.code == 0, ran
        assert ran.json["counts"] == {"left": 1, "take": 2}
        row = Certificate.objects.get()
        assert (row.name, row.challenge_method.options["provider"]) == ("a.example_ecc", "cloudflare")  # type: ignore[union-attr]
        assert row.account is not None
        assert row.account.account_url == "https://acme.example/acct/7"
        assert "cf-token" not in ran.out
        assert certs("import", "--acmesh", home.home).last == "Nothing to take: 2 here already, 1 not taken."

    def test_an_archive_as_well(self, tree: CertbotTree, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "le.tar.gz", "w:gz") as archive:
            archive.add(tree.home, arcname="letsencrypt")
        assert certs("import", "--certbot", tmp_path / "le.tar.gz").last.startswith("2 taken")

    def test_an_archive_from_the_root_with_credentials_beside_it(
        self, tree: CertbotTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        params = "authenticator = dns-cloudflare\ndns_cloudflare_credentials = /root/.secrets/cf.ini"
        tree.lineage("wild", ["*.example.com"], params=params)
        (tmp_path / "cf.ini").write_text("dns_cloudflare_api_token = topsecrettoken\n")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(tree.home, arcname="etc/letsencrypt")
            archive.add(tmp_path / "cf.ini", arcname="root/.secrets/cf.ini")
        packed.seek(0)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(packed))
        ran = certs("import", "--certbot", "-")
        assert ran.last.startswith("3 taken"), ran
        assert "topsecrettoken" not in ran.out
        method = Certificate.objects.get(name="wild").challenge_method
        assert method is not None
        assert method.options["provider"] == "cloudflare"

    def test_what_may_not_be_read_comes_with_what_to_do(self, tmp_path: Path) -> None:
        ran = certs("import", "--certbot", tmp_path / "missing")
        assert ran.code == 4
        assert "tar -C" in ran.err
        assert "-v " in ran.err


class TestExport:
    def test_a_file_for_its_owner_alone_and_never_over_another(self, tmp_path: Path) -> None:
        row = stock.uploaded("a.example")
        ran = certs("export", "a.example", "bundle", "-o", tmp_path)
        assert ran.code == 0, ran
        (made,) = tmp_path.iterdir()
        assert made.stat().st_mode & 0o777 == 0o600
        data = made.read_bytes()
        pair_check(certificates_read(data)[0], key_from_pem(data))
        again = certs("export", "a.example", "leaf", "-o", made)
        assert again.code == 4
        assert "is there already" in again.err
        assert made.read_bytes() == data
        assert certs("export", "a.example", "leaf", "-o", made, "--force").code == 0
        assert b"PRIVATE KEY" not in made.read_bytes()
        assert AuditEvent.objects.filter(action="certificate.export", target=row.name).count() == 1

    def test_nothing_is_written_through_a_link(self, tmp_path: Path) -> None:
        stock.uploaded("a.example")
        target, link = tmp_path / "target", tmp_path / "link"
        link.symlink_to(target)
        assert certs("export", "a.example", "leaf", "-o", link, "--force").code == 4
        assert not target.exists()

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        stock.uploaded("a.example")
        assert "cannot be written" in certs("export", "a.example", "leaf", "-o", tmp_path / "no" / "file.pem").err

    def test_standard_output(self) -> None:
        stock.uploaded("a.example")
        assert certificates_read(certs("export", "a.example", "fullchain", "-o", "-").out.encode())
        assert "This form is binary" in certs("export", "a.example", "der", "-o", "-").err

    def test_keys_are_not_shown_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stock.uploaded("a.example")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        ran = certs("export", "a.example", "key", "-o", "-")
        assert (ran.code, ran.out) == (4, "")
        assert certs("export", "a.example", "leaf", "-o", "-").code in (0, 4)

    def test_a_password_is_no_word_of_the_command(self, tmp_path: Path) -> None:
        stock.uploaded("a.example")
        ran = certs("export", "a.example", "pkcs12", "-o", tmp_path, "--set", "password=secretsecret")
        assert ran.code == 4
        assert "--set-file password=FILE" in ran.err
        assert "--set-file password=FILE" in certs("export", "a.example", "pkcs12", "-o", tmp_path).err
        (tmp_path / "password").write_text("secretsecret\n")
        words = ["--set-file", f"password={tmp_path / 'password'}"]
        assert certs("export", "a.example", "pkcs12", "-o", tmp_path / "a.p12", *words).code == 0
        assert pkcs12.load_key_and_certificates((tmp_path / "a.p12").read_bytes(), b"secretsecret")[0] is not None

    def test_the_forms_are_listed(self) -> None:
        assert "pkcs12: " in certs("export", "--formats").out


class TestChange:
    def test_deleted_and_back(self) -> None:
        row = stock.uploaded("a.example")
        assert certs("delete", "a.example").code == 0
        assert certs("show", "a.example").code == 4
        listed = certs("restore", "--json").json["certificates"]
        assert [each["id"] for each in listed] == [str(row.pk)]
        assert "a.example" in certs("restore").out
        assert certs("restore", "a.example").code == 0
        assert certs("show", "a.example").code == 0

    def test_one_that_is_in_use_does_not_stop_the_others(self) -> None:
        from certs.services.bindings import binding_set

        stock.uploaded("a.example")
        bound = stock.uploaded("b.example")
        binding_set("b.example", bound, actor="test")
        ran = certs("delete", "a.example", "b.example", "--json")
        assert ran.code == 8
        assert [each["result"] for each in ran.json["certificates"]] == ["done", "refused"]

    def test_back_to_an_earlier_version(self) -> None:
        row = stock.issued("a.example")
        old = row.current
        stock.renewed(row)
        assert old is not None
        assert certs("use", "a.example", old.fingerprint_sha256[:10]).code == 0
        row.refresh_from_db()
        assert row.current == old
        CertificateVersion.objects.exclude(pk=old.pk).update(revoked_at=clock.now())
        assert certs("use", "a.example", row.versions.exclude(pk=old.pk).get().fingerprint_sha256).code == 4

    def test_tags(self) -> None:
        row = stock.uploaded("a.example")
        assert certs("tag", "a.example", "--add", "Prod", "--add", "web").out.strip() == "a.example: prod, web"
        assert certs("tag", row.pk, "--remove", "PROD").out.strip() == "a.example: web"
        assert certs("tag", "a.example", "--add", "a,b").code == 4


class TestVerify:
    def test_what_is_well(self, settings: Any, tmp_path: Path) -> None:
        settings.PUBLIC_ROOTS = str(tmp_path / "roots.pem")
        Path(settings.PUBLIC_ROOTS).write_text(stock.CA.pem)
        row = stock.issued("a.example")
        CertificateVersion.objects.filter(pk=row.current_id).update(revocation_checked_at=clock.now())
        ran = certs("verify", "a.example", "--json")
        assert ran.code == 0, ran
        assert {check["state"] for check in ran.json["certificates"][0]["checks"]} == {"ok"}

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"not_after": "expired"}, "It expired on"),
            ({"revoked_at": "now"}, "It was revoked on"),
            ({"key": "other"}, "The key does not belong to this certificate."),
            ({"chain_pem": "other"}, "is not signed by"),
        ],
    )
    def test_what_is_wrong(self, change: dict[str, str], says: str) -> None:
        row, other = stock.issued("a.example"), stock.uploaded("other.example")
        assert other.current is not None
        values = {
            "expired": clock.now() - timedelta(seconds=1),
            "now": clock.now(),
            "other": other.current.key if "key" in change else pki.authority("Other").pem,
        }
        CertificateVersion.objects.filter(pk=row.current_id).update(
            **{name: values[word] for name, word in change.items()}
        )
        ran = certs("verify", "a.example")
        assert ran.code == 3, ran
        assert says in ran.out

    def test_what_could_not_be_checked_is_neither(self) -> None:
        stock.issued("a.example")
        ran = certs("verify", "--all")
        assert ran.code == 7
        assert "could not check: CN=A Root above it is not known here." in ran.out

    def test_a_key_pair_is_well_where_its_key_is_here(self) -> None:
        certs("key-pair", "--name", "Tokens")
        ran = certs("verify", "Tokens")
        assert (ran.code, "ok: Its private key (ec-p256) is here." in ran.out) == (0, True)
        PrivateKey.objects.update(compromised_at=clock.now())
        assert certs("verify", "Tokens").code == 3

    def test_a_wrong_one_among_many_counts(self) -> None:
        stock.issued("a.example")
        stock.issued("b.example", age=100)
        assert certs("verify", "--all").code == 3


def test_issue_renew_and_revoke_are_those_that_are_there() -> None:
    from certs.management.commands import issue, renew, revoke
    from certs.management.commands.certs import Command

    assert Command.verbs["renew"] is renew.Command
    assert Command.verbs["revoke"] is revoke.Command
    assert issubclass(Command.verbs["issue"], issue.Command)


@pytest.mark.usefixtures("queue")
def test_renew_through_the_front_door() -> None:
    stock.issued("a.example")
    ran = certs("renew", "a.example", "--json", "--exit-code")
    assert (ran.code, ran.json["result"]) == (10, "renewed")


def test_a_word_that_is_no_verb() -> None:
    assert certs("nonsense").code == 2
    assert certs().code == 2
