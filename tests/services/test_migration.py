"""Taking over: the plan, the deed, twice, at once, and what stands against it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from certs.domain import acmesh, certbot
from certs.domain.errors import InputError
from certs.domain.renewal import Code
from certs.models import AcmeAccount, Alarm, AuditEvent, Certificate, ChallengeMethod, Order
from certs.services.accounts import account_get_or_create
from certs.services.alarm_watch import alarms_sweep
from certs.services.certificates import certificate_import
from certs.services.deletion import certificate_delete
from certs.services.migration import Deed, Plan, migration_plan, tree_of_place
from certs.services.migration_run import Done, Trust, migration_run
from certs.services.portal_state import state_get
from certs.services.sweeps import sweep_run
from tests.harness.certbot_tree import SERVER, CertbotTree

pytestmark = pytest.mark.django_db


@pytest.fixture
def tree(tmp_path: Path) -> CertbotTree:
    made = CertbotTree(tmp_path / "letsencrypt")
    made.account()
    return made


def plan_of(tree: CertbotTree, **how: Any) -> Plan:
    return migration_plan(certbot.CLIENT, tree_of_place(tree.home), **how)


def take(tree: CertbotTree) -> list[Done]:
    return migration_run(plan_of(tree), actor="test")


def deeds(plan: Plan) -> dict[str, str]:
    return {line.name: str(line.deed) for line in plan.lines if line.kind == "certificate"}


def told(done: list[Done]) -> str:
    return " ".join(f"{each.line.text} {each.line.advice}" for each in done)


def test_a_lineage_becomes_a_certificate_with_its_history(tree: CertbotTree) -> None:
    top = "renew_before_expiry = 20 days"
    tree.lineage(
        "www",
        ["www.example.com"],
        versions=3,
        top=top,
        params="reuse_key = True\npreferred_chain = R1\nauthenticator = standalone",
    )
    take(tree)
    row = Certificate.objects.get()
    assert (row.source, row.account, row.auto_renew) == ("acme", AcmeAccount.objects.get(), True)
    assert (row.reuse_key, row.preferred_chain, row.renew_before_days) == (True, "R1", 20)
    newest, middle, oldest = row.versions.all()
    assert row.current == newest
    assert (newest.retired_at, middle.retired_at, oldest.retired_at) == (None, newest.not_before, middle.not_before)
    assert newest.created_at == row.last_renewed_at == newest.not_before
    assert oldest.not_after < newest.not_before or oldest.not_after < middle.not_after
    assert all(version.key for version in row.versions.all())
    assert row.name_rows.filter(name="www.example.com").exists()


def test_an_account_comes_without_a_word_to_its_ca(tree: CertbotTree) -> None:
    take(tree)
    account = AcmeAccount.objects.get()
    assert (account.directory_url, account.account_url) == (SERVER, f"{SERVER}/acct/1")
    assert account.terms_agreed_at is not None
    assert AuditEvent.objects.filter(action="account.import").count() == 1


def test_a_tree_of_a_private_ca_needs_its_roots(tree: CertbotTree) -> None:
    with pytest.raises(InputError):
        migration_run(plan_of(tree), actor="test", trust=Trust("no PEM"))
    assert not AcmeAccount.objects.exists()


def test_twice_takes_nothing_twice(tree: CertbotTree) -> None:
    params = "authenticator = webroot\nwebroot_path = /var/www"
    tree.lineage("www", ["www.example.com"], versions=2, params=params)
    tree.lineage("api", ["api.example.com"], params=params)
    stale = plan_of(tree)
    take(tree)
    events = AuditEvent.objects.count()
    assert plan_of(tree).is_empty
    take(tree)
    migration_run(stale, actor="test")  # as somebody who looked before the other did it
    assert (Certificate.objects.count(), AcmeAccount.objects.count(), ChallengeMethod.objects.count()) == (2, 1, 1)
    assert AuditEvent.objects.count() == events


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_at_once_take_nothing_twice(tree: CertbotTree) -> None:
    for number in range(4):
        tree.lineage(f"c{number}", [f"c{number}.example.com"])
    plan, errors = plan_of(tree), list[BaseException]()

    def work() -> None:
        try:
            migration_run(plan, actor="test")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (Certificate.objects.filter(source="acme").count(), AcmeAccount.objects.count()) == (4, 1)


def test_what_was_renewed_there_since_is_added(tree: CertbotTree, tmp_path: Path) -> None:
    tree.lineage("www", ["www.example.com"], versions=1, age=60)
    take(tree)
    first = Certificate.objects.get().current
    again = CertbotTree(tmp_path / "again")
    again.lineage("www", ["www.example.com"])
    for kind in ("cert", "chain", "fullchain", "privkey"):
        (again.home / f"archive/www/{kind}1.pem").rename(tree.home / f"archive/www/{kind}2.pem")
        link = tree.home / f"live/www/{kind}.pem"
        link.unlink()
        link.symlink_to(f"../../archive/www/{kind}2.pem")
    assert deeds(plan_of(tree)) == {"www": "newer"}
    take(tree)
    row = Certificate.objects.get()
    assert row.current != first
    assert row.versions.count() == 2
    assert deeds(plan_of(tree)) == {"www": "here"}


def test_nothing_is_ordered_before_it_is_due_by_our_own_rules(tree: CertbotTree) -> None:
    tree.lineage("fresh", ["fresh.example.com"])
    tree.lineage("due", ["due.example.com"], age=80)
    tree.lineage("gone", ["gone.example.com"], age=100)
    take(tree)
    assert not Order.objects.exists()
    codes = {line.name: line.code for line in sweep_run(everything=True, dry_run=True, actor="test")}
    assert codes == {"fresh": Code.NOT_DUE, "due": Code.DUE_DATE, "gone": Code.EXPIRED}


@pytest.mark.parametrize(
    ("params", "names", "kind", "auto"),
    [
        ("authenticator = standalone", ["a.example"], "", True),
        ("authenticator = webroot\nwebroot_path = /var/www", ["a.example"], "http01_webroot", True),
        ("authenticator = webroot\nwebroot_path = relative", ["a.example"], "", False),
        ("authenticator = webroot\nwebroot_path = /var/www", ["*.a.example"], "dns01_manual", False),
        ("authenticator = dns-route53", ["a.example"], "dns01_manual", False),
        ("authenticator = manual", ["*.a.example"], "dns01_manual", False),
        ("authenticator = standalone\nautorenew = False", ["a.example"], "", False),
    ],
)
def test_where_nothing_of_ours_fits_nothing_is_tried(
    tree: CertbotTree, params: str, names: list[str], kind: str, auto: bool
) -> None:
    tree.lineage("www", names, params=params)
    done = take(tree)
    row = Certificate.objects.get()
    assert (row.challenge_method.kind if row.challenge_method else "", row.auto_renew) == (kind, auto)
    assert auto or done[-1].line.advice


def test_a_secret_that_is_none_is_told_without_it(tree: CertbotTree, tmp_path: Path) -> None:
    ini = tree.home / "rfc.ini"
    ini.write_text("dns_rfc2136_server = 192.0.2.1\ndns_rfc2136_name = k\ndns_rfc2136_secret = not!base64\n")
    params = "authenticator = dns-rfc2136\ndns_rfc2136_credentials = /etc/letsencrypt/rfc.ini"
    tree.lineage("www", ["a.example"], params=params)
    done = take(tree)
    assert "not base64" in told(done)
    assert "not!base64" not in told(done)
    assert not ChallengeMethod.objects.filter(kind="dns01_rfc2136").exists()


def test_an_account_for_the_same_address_is_used_instead(tree: CertbotTree) -> None:
    ours = account_get_or_create(directory_url=SERVER, email="", terms_url="https://acme.example/t", actor="test")
    tree.lineage("www", ["www.example.com"])
    (account, _) = take(tree)
    assert account.line.deed == Deed.LEFT
    assert Certificate.objects.get().account == ours


def test_an_account_that_was_given_up_is_not_brought_back(tree: CertbotTree) -> None:
    take(tree)
    AcmeAccount.objects.update(deactivated_at=state_get().sweep_finished_at or AcmeAccount.objects.get().created_at)
    tree.lineage("www", ["www.example.com"])
    assert deeds(plan_of(tree)) == {"www": "upload"}
    take(tree)
    row = Certificate.objects.get()
    assert (row.source, row.account, row.auto_renew) == ("uploaded", None, False)


def test_without_its_account_it_is_taken_as_uploaded(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"], account="another", params="server = https://other.example/dir")
    done = take(tree)
    assert (Certificate.objects.get().source, done[-1].line.deed) == ("uploaded", Deed.UPLOAD)


def test_what_was_uploaded_by_hand_stays_as_it_is(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"])
    live = tree.home / "live/www"
    certificate_import(
        chain=(live / "fullchain.pem").read_bytes(), key=(live / "privkey.pem").read_bytes(), actor="test"
    )
    assert deeds(plan_of(tree)) == {"www": "here"}
    take(tree)
    assert Certificate.objects.get().source == "uploaded"


def test_what_was_deleted_is_taken_again(tree: CertbotTree) -> None:
    tree.lineage("www", ["www.example.com"])
    take(tree)
    certificate_delete(Certificate.objects.get(), actor="test")
    assert deeds(plan_of(tree)) == {"www": "take"}
    take(tree)
    assert Certificate.objects.filter(deleted_at=None).count() == 1


def test_earlier_versions_may_have_had_other_names(tree: CertbotTree, tmp_path: Path) -> None:
    tree.lineage("www", ["www.example.com"], age=60)
    later = CertbotTree(tmp_path / "later")
    later.lineage("www", ["www.example.com", "shop.example.com"])
    for kind in ("cert", "chain", "fullchain", "privkey"):
        (later.home / f"archive/www/{kind}1.pem").rename(tree.home / f"archive/www/{kind}2.pem")
        link = tree.home / f"live/www/{kind}.pem"
        link.unlink()
        link.symlink_to(f"../../archive/www/{kind}2.pem")
    take(tree)
    row = Certificate.objects.get()
    assert row.names == ["shop.example.com", "www.example.com"]
    assert row.versions.count() == 2


def test_a_failure_of_one_leaves_the_others(tree: CertbotTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from certs.services import migration_run as module

    tree.lineage("bad", ["bad.example.com"])
    tree.lineage("good", ["good.example.com"])
    real = module.certificate_new

    def refuse(**given: Any) -> Certificate:
        if given["name"] == "bad":
            raise InputError("Not this one.")
        return real(**given)

    monkeypatch.setattr(module, "certificate_new", refuse)
    done = take(tree)
    assert [each.line.name for each in done if each.failed] == ["bad"]
    assert Certificate.objects.get().name == "good"


@pytest.mark.parametrize("client", [certbot.CLIENT, acmesh.CLIENT])
def test_a_directory_of_something_else(tmp_path: Path, client: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=f"Nothing of {client} was found"):
        migration_plan(client, tree_of_place(tmp_path))


@pytest.fixture
def machine(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.MACHINE_ROOT = tmp_path / "machine"
    cron = settings.MACHINE_ROOT / "etc/cron.d/certbot"
    cron.parent.mkdir(parents=True)
    cron.write_text("0 3 * * * root certbot renew\n")
    yield cron
    cron.unlink(missing_ok=True)


def test_an_alarm_stands_while_certbot_renews_too(tree: CertbotTree, machine: Path) -> None:
    alarms_sweep()
    assert not Alarm.objects.filter(key="other-client:certbot").exists()  # nothing was taken over yet
    take(tree)
    assert list(state_get().moved_from) == ["certbot"]
    alarms_sweep()
    alarm = Alarm.objects.get(key="other-client:certbot")
    assert "/etc/cron.d/certbot" in alarm.advice
    machine.unlink()
    alarms_sweep()
    assert not Alarm.objects.filter(key="other-client:certbot", cleared_at=None).exists()


def test_in_a_container_it_could_not_be_checked(tree: CertbotTree, machine: Path, in_container: Any) -> None:
    in_container()
    (only,) = plan_of(tree).schedules
    assert (only.state, "container" in only.why) == ("could not check", True)
    take(tree)
    alarms_sweep()
    assert not Alarm.objects.filter(key="other-client:certbot").exists()
