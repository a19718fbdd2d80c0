from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certs.acme.directories import DirectoryInfo
from certs.models import AcmeAccount, Binding, Certificate, Order, PrivateKey
from certs.services import issuing
from certs.services.portal_state import state_update
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db
TERMS = "https://ca.example/terms"
URL = "https://ca.example/directory"
Directory = Callable[..., None]


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> Directory:
    """The CA's directory answers; what it says can be changed."""
    said: dict[str, Any] = {"terms_url": TERMS, "website": "", "profiles": {}, "eab_required": False}
    monkeypatch.setattr(issuing, "directory_read", lambda url, **_: DirectoryInfo(**said))
    return said.update


@pytest.mark.usefixtures("queue")
def test_a_certificate_per_argument_and_line(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("# shops\nc.example, www.c.example  # two names\n\nd.example\r\na.example\n")
    ran = run("issue", "a.example", "B.example,www.b.example", "--file", file, "--accept-terms", "--directory", URL)
    assert (ran.code, ran.last) == (0, "4 renewed.")
    assert sorted(certificate.names for certificate in Certificate.objects.all()) == [
        ["a.example"],
        ["b.example", "www.b.example"],
        ["c.example", "www.c.example"],
        ["d.example"],
    ]
    account = AcmeAccount.objects.get()
    assert (account.directory_url, account.terms_url) == (URL, TERMS)
    assert account.terms_agreed_at is not None
    assert not Binding.objects.exists()
    assert not Order.objects.filter(bind=True).exists()


@pytest.mark.usefixtures("queue")
def test_options_reach_the_account_and_the_order(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(stock.CA.pem)
    words = ["--directory", URL, "--ca-bundle", bundle, "--allow-private-ca", "--email", "me@a.example"]
    ran = run("issue", "a.example", "--accept-terms", "--key-type", "rsa-3072", "--bind", "--exit-code", *words)
    assert ran.code == 10
    account = AcmeAccount.objects.get()
    assert (account.email, account.ca_bundle, account.allow_private) == ("me@a.example", stock.CA.pem, True)
    assert Certificate.objects.get().key_type == "rsa-3072"
    assert Order.objects.get().bind


@pytest.mark.usefixtures("queue")
def test_the_portal_s_own_account_is_the_default(directory: Directory) -> None:
    own = stock.issued("own.example")
    state_update(portal_certificate=own)
    ran = run("issue", "a.example")
    assert ran.code == 0
    assert Certificate.objects.get(name="a.example").account == own.account
    assert AcmeAccount.objects.count() == 1


@pytest.mark.usefixtures("queue")
def test_what_is_good_is_not_ordered_again() -> None:
    certificate = stock.issued("a.example", "b.example")
    ran = run("issue", "b.example,A.example", "--directory", stock.DIRECTORY, "--exit-code")
    assert (ran.code, ran.last) == (0, "None due.")
    assert "A good one is there." in ran.out
    assert not Order.objects.exists()
    forced = run("issue", "a.example,b.example", "--directory", stock.DIRECTORY, "--force", "--exit-code")
    assert forced.code == 10
    assert Order.objects.get().certificate == certificate


@pytest.mark.usefixtures("queue")
def test_what_is_due_gets_a_version_of_the_same_certificate() -> None:
    certificate = stock.issued("a.example", age=91)
    assert run("issue", "a.example", "--directory", stock.DIRECTORY).last == "1 renewed."
    assert Order.objects.get().certificate == certificate


@pytest.mark.usefixtures("worker")
def test_an_open_order_is_busy() -> None:
    words = ("issue", "a.example", "--accept-terms", "--directory", URL, "--timeout", "0.01")
    assert run(*words).code == 5
    ran = run(*words)
    assert (ran.code, ran.last) == (5, "1 busy.")
    assert (Order.objects.count(), Certificate.objects.count()) == (1, 1)


@pytest.mark.usefixtures("worker")
def test_one_that_cannot_be_ordered_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch, queue: Any) -> None:
    for _ in range(4):
        Order.objects.create(
            certificate=stock.issued("x.example"),
            account=stock.account(),
            names=["a.example"],
            reason="asked",
            state="failed",
            finished_at="2026-01-01T00:00:00Z",
        )
    ran = run("issue", "a.example", "b.example", "--directory", stock.DIRECTORY, "--json")
    assert ran.code == 4
    assert {one["name"]: one["outcome"] for one in ran.json["certificates"]} == {
        "a.example": "failed",
        "b.example": "renewed",
    }
    assert not Certificate.objects.filter(name="a.example").exists()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 4, "No names were given"),
        (("http://a.example",), 4, "Type just the name, for example a.example, without http://."),
        (("https://shop.a.example/x",), 4, "for example shop.a.example, without https://."),
        (("a.example", "b example"), 4, "contains a space"),
        (("*.a.example",), 4, "DNS challenge"),
        (("192.0.2.7",), 4, "profile with IP names"),
        (("localhost",), 4, "is not a full DNS name"),
        (("a_b.example",), 4, "underscore"),
        (("",), 4, "No DNS name was given"),
        (("a.example", "--file", "/nonexistent/names"), 4, "/nonexistent/names cannot be read: No such file"),
        (("--file", "/"), 4, "cannot be read"),
        (("--file", "/dev/null"), 4, "/dev/null holds no names"),
        (("--file", "/dev/zero"), 4, "larger than 1 MiB"),
        (("a.example", "--ca-bundle", "/nonexistent/ca"), 4, "/nonexistent/ca cannot be read"),
        (("a.example", "--ca-bundle", "/dev/urandom"), 4, "cannot be read: it is not text"),
        (("a.example", "--accept-terms", "--ca-bundle", "/etc/hostname"), 4, "bindery: "),
        (("a.example", "--directory", "nowhere"), 4, "neither a known CA nor the https:// address"),
        (("a.example", "--directory", "http://ca.example/"), 4, "neither a known CA nor"),
        (("a.example", "--directory", "https://"), 4, "neither a known CA nor"),
        (("a.example", "--directory", "https://[::1"), 4, "neither a known CA nor"),
        (("a.example", "--directory", "https://ca.example:99999/"), 4, "neither a known CA nor"),
        (("a.example", "--email", "me at example"), 4, "is no e-mail address"),
        (("a.example",), 4, f"have not been accepted. Read them at {TERMS}, then add --accept-terms."),
        (("a.example", "b.example", "--bind", "--accept-terms"), 4, "--bind is for one certificate"),
        (("a.example", "--key-type", "rsa-1024"), 2, "invalid choice"),
        (("a.example", "--timeout", "0"), 2, "no number of seconds"),
        (("a.example", "--nonsense"), 2, "unrecognized"),
    ],
)
def test_bad_input_is_a_clear_message_and_stores_nothing(words: tuple[str, ...], code: int, says: str) -> None:
    ran = run("issue", *words)
    assert ran.code == code, ran
    assert says in ran.err
    assert "Traceback" not in ran.err
    for model in (Certificate, Order, AcmeAccount, PrivateKey):
        assert not model.objects.exists()


@pytest.mark.usefixtures("worker")
def test_a_ca_that_wants_an_external_account_is_named(directory: Directory) -> None:
    directory(eab_required=True)
    ran = run("issue", "a.example", "--accept-terms", "--directory", URL)
    assert ran.code == 4
    assert "external account binding" in ran.err
    assert not AcmeAccount.objects.exists()


@pytest.mark.usefixtures("no_worker")
def test_without_a_worker_it_ends_at_once_and_stores_nothing() -> None:
    ran = run("issue", "a.example", "--accept-terms", "--directory", URL)
    assert (ran.code, "No worker is running" in ran.err) == (4, True)
    assert not AcmeAccount.objects.exists()


@pytest.mark.usefixtures("queue")
def test_in_a_container_without_a_volume_it_asks_first(in_container: Callable[..., None]) -> None:
    in_container()
    words = ["issue", "a.example", "--accept-terms", "--directory", URL]
    ran = run(*words)
    assert ran.code == 4
    assert "goes with it" in ran.err
    assert "add --without-volume" in ran.err
    assert not AcmeAccount.objects.exists()
    assert run(*words, "--without-volume").code == 0
