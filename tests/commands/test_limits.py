import pytest

from certs.acme.directories import KNOWN
from certs.models import AcmeDirectory, AuditEvent, LedgerEntry
from certs.services.accounts import account_get_or_create
from certs.services.ledger import limits_of, names_digest
from portal import clock
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db
REAL = KNOWN["letsencrypt"].url


def test_it_shows_what_is_counted_for_the_cas_in_use() -> None:
    stock.account(REAL)
    stock.account()
    out = run("limits").out
    assert "Let's Encrypt (https://acme-v02" in out
    assert "  5 certificates per exact set of names in 7 days" in out
    assert "  300 orders per account in 3 hours" in out
    assert f"acme.example ({stock.DIRECTORY})\n  none known" in out


def test_own_limits_are_set_and_taken_away() -> None:
    out = run("limits", stock.DIRECTORY, "--set", "set=3/24", "--set", "account=10/0.5h").out
    assert "  3 certificates per exact set of names in 1 day" in out
    assert "  10 orders per account in 30 minutes" in out
    assert len(limits_of(stock.DIRECTORY)) == 2
    assert AuditEvent.objects.get(action="directory.limits").actor_text == "command line"
    assert "none known" in run("limits", stock.DIRECTORY, "--reset").out
    assert limits_of(stock.DIRECTORY) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "set=3/24"), "Which CA?"),
        (("letsencrypt", "--set", "set=3/24", "--reset"), "contradict"),
        (("letsencrypt", "--set", "sets=3/24"), "“sets” is no scope"),
        (("letsencrypt", "--set", "set"), "is no limit"),
        (("letsencrypt", "--set", "set=0/24"), "out of range"),
        (("letsencrypt", "--set", "set=3/24", "--set", "set=4/24"), "two limits"),
        (("nothing",), "neither a known CA nor"),
    ],
)
def test_bad_input_is_a_clear_message_and_stores_nothing(words: tuple[str, ...], says: str) -> None:
    ran = run("limits", *words)
    assert ran.code != 0
    assert says in ran.err
    assert not AcmeDirectory.objects.exclude(limits=[]).exists()


@pytest.mark.usefixtures("queue")
def test_renew_and_issue_ask_before_the_last_one() -> None:
    account = account_get_or_create(directory_url=REAL, email="", terms_url="https://acme.example/t", actor="test")
    certificate = stock.issued("a.example")
    type(certificate).objects.update(account=account)
    for names in (["a.example"], ["b.example"]):
        for _ in range(4):
            LedgerEntry.objects.create(
                directory_url=REAL,
                account=account.pk,
                event="certificate",
                key=names_digest(names),
                at=clock.now(),
            )
    ran = run("renew", "a.example")
    assert ran.code == 4
    assert "1 left of 5 for this set until " in ran.out
    assert "Add --use-last to use it." in ran.out
    ran = run("renew", "a.example", "--use-last")
    assert (ran.code, ran.last) == (0, "1 renewed.")
    refused = run("issue", "b.example", "--directory", "letsencrypt", "--accept-terms")
    assert refused.code == 4
    assert "1 left of 5 for this set" in refused.out
    ran = run("issue", "b.example", "--directory", "letsencrypt", "--accept-terms", "--use-last", "--json")
    assert ran.json["certificates"][0]["outcome"] == "renewed"
