"""A tree made by Debian's certbot against pebble is taken over; the portal renews from it with certbot's account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certs.acme.sessions import sessions_forget
from certs.models import AcmeAccount, AuditEvent, Certificate, ChallengeMethod, Order
from certs.services.keys import key_open
from certs.services.methods import method_solver
from tests.commands.running import Ran, run
from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.certbot import Certbot, FileServer
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import LOOPBACK, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RECORDS = {"one.test": ["@ A 127.0.0.1", "www A 127.0.0.1"], "two.test": ["@ A 127.0.0.1"]}


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    need("certbot", "pebble", "named")
    with Bind(zones=RECORDS, records=RECORDS, recursive=True) as running:
        yield running


@pytest.fixture(scope="module")
def ca(bind: Bind) -> Iterator[Pebble]:
    with Pebble(http_port=free_port(), dns=bind, nonce_reject=0) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture(scope="module")
def webroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("www")


@pytest.fixture(scope="module")
def certbot(bind: Bind, ca: Pebble, webroot: Path, tmp_path_factory: pytest.TempPathFactory) -> Certbot:
    """Four lineages: standalone with RSA, webroot renewed once under a name and a key that stays, DNS, and manual."""
    folder = tmp_path_factory.mktemp("certbot")
    made = Certbot(folder, ca)
    credentials = folder / "rfc2136.ini"
    credentials.write_text(
        f"dns_rfc2136_server = {LOOPBACK}\ndns_rfc2136_port = {bind.port}\ndns_rfc2136_name = {KEY}.\n"
        f"dns_rfc2136_secret = {SECRET}\ndns_rfc2136_algorithm = HMAC-SHA256\n"
    )
    credentials.chmod(0o600)
    made.order("--standalone", "-d", "one.test,www.one.test", "--key-type", "rsa", "--rsa-key-size", "2048")
    with FileServer(webroot, ca.http_port):
        words = ["--webroot", "-w", webroot, "-d", "two.test", "--cert-name", "my-site", "--reuse-key"]
        made.order(*words, "--deploy-hook", "true # reload nginx")
        made.renew("my-site")
    dns = ["--dns-rfc2136", "--dns-rfc2136-credentials", credentials, "--dns-rfc2136-propagation-seconds", "0"]
    made.order(*dns, "-d", "*.two.test", "--elliptic-curve", "secp384r1")
    return made


@pytest.fixture(autouse=True)
def no_sessions() -> Iterator[None]:
    yield
    sessions_forget()


def take(certbot: Certbot, ca: Pebble, *words: str) -> Ran:
    trust = ["--ca-bundle", ca.ca_bundle_file, "--allow-private-ca"]
    return run("certs", "import", "--certbot", certbot.home, *trust, *words)


def contents(place: Path) -> dict[str, Any]:
    return {str(file): (file.lstat().st_mtime_ns, file.lstat().st_size) for file in place.rglob("*")}


def test_everything_is_taken_once_and_nothing_is_ordered(certbot: Certbot, ca: Pebble, bind: Bind) -> None:
    issued, before = ca.issued(), contents(certbot.home)
    planned = take(certbot, ca, "--dry-run", "--json")
    assert planned.code == 0, planned
    assert not Certificate.objects.filter(source="acme").exists()
    assert not AcmeAccount.objects.exists()
    assert {line["deed"] for line in planned.json["lines"] if line["kind"] != "other"} == {"take"}

    ran = take(certbot, ca, "--json")
    assert ran.code == 0, ran
    assert ran.json["counts"] == {"take": 4, "left": 1}
    assert (ca.issued(), contents(certbot.home)) == (issued, before)
    assert not Order.objects.exists()
    (hook,) = [line for line in ran.json["lines"] if line["kind"] == "other"]
    assert "reload nginx" in hook["text"]

    (account,) = AcmeAccount.objects.all()
    (folder,) = certbot.home.glob("accounts/*/dir/*")
    assert account.account_url == json.loads((folder / "regr.json").read_text())["uri"]
    # certbot 2 keeps no address.
    assert (account.email, account.directory_url) == ("", ca.directory_url)
    assert account.terms_agreed_at is not None

    rows = {row.name: row for row in Certificate.objects.filter(source="acme")}
    assert set(rows) == {"one.test", "my-site", "two.test"}
    assert all(row.auto_renew and row.account == account for row in rows.values())
    assert [rows[name].key_type for name in ("one.test", "my-site", "two.test")] == ["rsa-2048", "ec-p256", "ec-p384"]
    assert rows["one.test"].challenge_method is None
    site = rows["my-site"]
    assert (site.names, site.reuse_key, site.challenge_method.kind) == (["two.test"], True, "http01_webroot")
    second, first = site.versions.all()
    assert (site.current, first.key, first.retired_at) == (second, second.key, second.not_before)
    for row in rows.values():
        archived = certbot.home / "archive" / row.name
        newest = max(archived.glob("cert*.pem"))
        assert row.current.leaf_pem == newest.read_text()
        key = key_open(row.current.key)
        assert key.public_key() == row_key(row)
    solver = method_solver(rows["two.test"].challenge_method)
    assert (solver.options.secret, solver.options.key, solver.options.algorithm) == (SECRET, KEY, "hmac-sha256")
    assert SECRET not in json.dumps(list(AuditEvent.objects.values("before", "after")))
    assert SECRET not in ran.out

    again = take(certbot, ca)
    assert (again.code, AcmeAccount.objects.count(), ChallengeMethod.objects.count()) == (0, 1, 2)
    assert Certificate.objects.filter(source="acme").count() == 3
    assert again.last == "Nothing to take: 4 here already, 1 not taken."
    checked = run("check_certificates", "--inline")
    assert (checked.code, checked.last, ca.issued()) == (0, "None due.", issued)


def row_key(row: Certificate) -> Any:
    from certs.domain.pem import certificates_read

    assert row.current is not None
    return certificates_read(row.current.leaf_pem.encode())[0].public_key()


def test_the_portal_renews_with_the_account_and_the_ways_of_certbot(
    certbot: Certbot, ca: Pebble, bind: Bind, webroot: Path, settings: Any
) -> None:
    settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [bind.address]
    assert take(certbot, ca).code == 0
    account = AcmeAccount.objects.get()
    url, issued = account.account_url, ca.issued()
    with FileServer(webroot, ca.http_port):
        ran = run("renew", "my-site", "two.test", "--inline", "--json")
    assert (ran.code, ran.json["result"]) == (0, "renewed"), ran
    assert ca.issued() == issued + 2
    account.refresh_from_db()
    assert account.account_url == url
    assert AcmeAccount.objects.count() == 1
    site = Certificate.objects.get(name="my-site")
    assert site.versions.count() == 3
    assert len({version.key_id for version in site.versions.all()}) == 1  # reuse-key holds on
    assert not list(webroot.rglob("*")), "the answer was taken away"


@pytest.mark.proof
def test_what_certbot_renews_afterwards_is_caught_up_with(certbot: Certbot, ca: Pebble, webroot: Path) -> None:
    assert take(certbot, ca).code == 0
    site = Certificate.objects.get(name="my-site")
    before = site.current
    with FileServer(webroot, ca.http_port):
        certbot.renew("my-site")
    ran = take(certbot, ca, "--json")
    assert ran.json["counts"] == {"here": 3, "newer": 1, "left": 1}
    site.refresh_from_db()
    assert site.current != before
    assert site.current.leaf_pem == (certbot.home / "live" / "my-site" / "cert.pem").read_text()
