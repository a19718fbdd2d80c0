"""The look before an order, against a real BIND, real listeners on loopback and an HTTPS directory."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django import Settings

from certs.acme.directories import DIRECTORY_FIELDS, DirectoryInfo
from certs.domain.budget import Event, names_digest
from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, LedgerEntry, NodeProcess
from certs.services import preflight
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from certs.services.reachability import probe_answer
from portal import clock
from tests import stock
from tests.acme.scripted import Answer, Scripted, document
from tests.harness import pki
from tests.harness.bind import Bind
from tests.harness.dns import DnsServer
from tests.harness.ports import free_port

pytestmark = pytest.mark.django_db
ACCOUNT = "https://ca.example/acct/1"
TERMS = "https://ca.example/terms"
ZONE = "one.test"
RECORDS = [
    "ours A 127.0.0.1",
    "both A 127.0.0.1",
    "both AAAA ::1",
    "only6 AAAA ::1",
    "foreign A 127.0.0.2",
    "foreign6 A 127.0.0.1",
    "foreign6 AAAA ::1",
    "silent A 127.0.0.3",
    "bare TXT nothing",
    "alias CNAME ours",
    "loop CNAME loop2",
    "loop2 CNAME loop",
    '*.wild CAA 0 issue "ca.example"',
    "closed A 127.0.0.1",
    'closed CAA 0 issue "other.example"',
    "mine A 127.0.0.1",
    f'mine CAA 0 issue "ca.example; accounturi={ACCOUNT}; validationmethods=http-01"',
    "theirs A 127.0.0.1",
    'theirs CAA 0 issue "ca.example; accounturi=https://ca.example/acct/2"',
    "deep.closed A 127.0.0.1",
    "_acme-challenge.delegated CNAME target.two.test.",
]


@pytest.fixture(scope="module")
def dns() -> Iterator[Bind]:
    with Bind(zones=("test", ZONE, "two.test"), records={ZONE: RECORDS}) as running:
        yield running


@pytest.fixture(scope="module")
def directory() -> Iterator[Scripted]:
    with Scripted() as running:
        yield running


def answer_of(server: Scripted, **meta: object) -> Answer:
    given = {"termsOfService": TERMS, "caaIdentities": ["ca.example"], **meta}
    return document({**{name: f"{server.url}/{name}" for name in DIRECTORY_FIELDS}, "meta": given})


@pytest.fixture(autouse=True)
def world(dns: Bind, directory: Scripted, settings: Settings) -> None:
    settings.DNS_AUTHORITIES = [dns.address]
    settings.DNS_RESOLVERS = [dns.address]
    settings.ALLOW_PRIVATE_CA = False
    settings.PROBE_PORT = settings.PROBE_TLS_PORT = free_port()
    directory.answers = [answer_of(directory)]


@pytest.fixture
def target(directory: Scripted) -> Target:
    account = stock.account(f"{directory.url}/dir")
    AcmeAccount.objects.filter(pk=account.pk).update(
        account_url=ACCOUNT,
        terms_url=TERMS,
        terms_agreed_at=clock.now(),
        ca_bundle=directory.authority.pem,
        allow_private=True,
    )
    account.refresh_from_db()
    return Target.of(account)


Page = Callable[[str], bytes]


def portal(path: str) -> bytes:
    return (probe_answer(path.rpartition("/")[2]) or "").encode()


def elsewhere(_: str) -> bytes:
    return b"Welcome to nginx!"


@contextmanager
def listening(settings: Settings, **pages: Page) -> Iterator[None]:
    """`v4`, `v6`, `other` (127.0.0.2), all on the port of probes."""
    hosts = {"v4": "127.0.0.1", "v6": "::1", "other": "127.0.0.2"}
    with ExitStack() as stack:
        for name, page in pages.items():
            stack.enter_context(_listener(hosts[name], settings.PROBE_PORT, page))
        yield


@contextmanager
def _listener(host: str, port: int, page: Page) -> Iterator[None]:

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host, port), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            running.shutdown()
            thread.join()


def look(target: Target, *names: str, **options: object) -> dict[str, Finding]:
    """By code; of one code the worst."""
    found = preflight_run([f"{name}.{ZONE}" for name in names], target, **options)  # type: ignore[arg-type]
    by_code: dict[str, Finding] = {}
    for each in found:
        by_code.setdefault(each.code, each)
    return by_code


@pytest.fixture
def closed(settings: Settings, dns: Bind) -> str:
    """Only the resolver can be asked: nobody answers at port 53 of the zones' own servers. Its address."""
    settings.DNS_AUTHORITIES = []
    return dns.address


def test_behind_a_closed_port_53_the_resolver_is_asked_and_named(
    target: Target, settings: Settings, closed: str
) -> None:
    said = f"Asked of your resolver {closed} instead of the zone's own servers"
    with listening(settings, v4=portal, v6=portal):
        found = look(target, "both")
        assert (found["resolve"].level, found["ipv4"].level, found["caa"].level) == ("unknown", "ok", "unknown")
        assert found["resolve"].sentence.startswith(f"both.one.test has the addresses ::1, 127.0.0.1. {said}")
        assert said in found["caa"].sentence
        assert look(target, "closed")["caa"].level == Level.WARNING  # forbidden, as far as a cache knows
    nothing = look(target, "bare")["resolve"]
    assert nothing.level == Level.UNKNOWN
    assert "has no address" in nothing.sentence


def test_a_resolver_that_knows_no_zone_says_nothing_behind_a_proxy(
    target: Target, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose own resolver knows inside names only."""
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    settings.DNS_AUTHORITIES = []
    with DnsServer() as inside:
        settings.DNS_RESOLVERS = [inside.address]
        assert look(target, "ours")["resolve"].level == Level.ERROR
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        found = look(target, "ours")["resolve"]
    assert found.level == Level.UNKNOWN
    assert "names of your network only" in found.advice


def test_dead_resolvers_end_in_time(target: Target, settings: Settings, closed: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.DNS_RESOLVERS = [f"127.0.0.1:{silent.getsockname()[1]}"] * 3
        started = time.monotonic()
        found = look(target, "ours", seconds=8)
    assert time.monotonic() - started < 12
    assert found["resolve"].level == Level.UNKNOWN
    assert "BINDERY_DNS_RESOLVERS" in found["resolve"].advice


def test_all_is_well(target: Target, settings: Settings) -> None:
    with listening(settings, v4=portal, v6=portal):
        found = preflight_run([f"both.{ZONE}", f"only6.{ZONE}", f"alias.{ZONE}"], target)
    assert {one.level for one in found} == {Level.OK}, found
    assert {one.code for one in found} == {"directory", "terms", "clock", "resolve", "ipv4", "ipv6", "caa"}
    resolved = next(one for one in found if one.code == "resolve" and one.name.startswith("both"))
    assert "A 127.0.0.1, says 127.0.0.1:" in resolved.proof
    assert "AAAA ::1" in resolved.proof
    reached = [one.proof for one in found if one.code == "ipv6"]
    assert all("at ::1: our own answer" in proof for proof in reached)
    assert len(reached) == 2


def test_one_missing_family_is_fine(target: Target, settings: Settings) -> None:
    with listening(settings, v4=portal):
        found = look(target, "ours")
    assert found["ipv4"].level == Level.OK
    assert "ipv6" not in found


def test_an_aaaa_that_is_not_ours_is_named_first(target: Target, settings: Settings) -> None:
    with listening(settings, v4=portal, v6=elsewhere):
        found = preflight_run([f"foreign6.{ZONE}"], target)
    assert (found[0].code, found[0].level) == ("ipv6", Level.ERROR)
    assert found[0].record == "foreign6.one.test. AAAA ::1"
    assert "Welcome to nginx!" in found[0].proof
    assert next(one for one in found if one.code == "ipv4").level == Level.OK


def test_not_ours_is_told_apart_from_no_answer(target: Target, settings: Settings) -> None:
    with listening(settings, v4=portal, other=elsewhere):
        assert look(target, "foreign")["ipv4"].level == Level.ERROR
        silent = look(target, "silent")["ipv4"]
    assert silent.level == Level.UNKNOWN
    assert "Connection refused" in silent.proof
    assert "asked from this server" in silent.sentence


def test_a_name_without_address(target: Target) -> None:
    assert look(target, "bare")["resolve"].level == Level.ERROR
    assert "has no address" in look(target, "bare")["resolve"].sentence
    assert "does not exist" in look(target, "missing")["resolve"].sentence
    assert look(target, "loop")["resolve"].level == Level.UNKNOWN  # as BIND calls it: SERVFAIL


def test_servers_that_cannot_be_asked_say_nothing(target: Target, settings: Settings) -> None:
    settings.DNS_AUTHORITIES = [f"127.0.0.1:{free_port()}"]
    found = look(target, "ours")
    assert found["resolve"].level == Level.UNKNOWN
    assert found["caa"].level == Level.WARNING


def test_an_inner_address_is_no_use_to_a_public_ca(target: Target, settings: Settings) -> None:
    public = Target(target.directory_url, target.account, target.ca_bundle)
    with listening(settings, v4=portal):
        found = look(public, "ours")
    assert found["ipv4"].level == Level.ERROR
    assert "127.0.0.1, which is not on the Internet" in found["ipv4"].sentence


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("ours", Level.OK, "lets"),
        ("mine", Level.OK, "Only http-01 is permitted"),
        ("closed", Level.ERROR, "let only other CAs issue"),
        ("deep.closed", Level.ERROR, "let only other CAs issue"),
        ("theirs", Level.ERROR, "let only another account issue"),
    ],
)
def test_caa(target: Target, name: str, level: Level, words: str) -> None:
    found = look(target, name)["caa"]
    assert (found.level, words in found.sentence) == (level, True), found


def test_the_exact_caa_record_for_our_account_is_given(target: Target) -> None:
    value = f'CAA 0 issue "ca.example; accounturi={ACCOUNT}; validationmethods=http-01,tls-alpn-01"'
    assert look(target, "deep.closed")["caa"].record == f"closed.one.test. {value}"
    assert look(target, "ours")["caa"].record == f"one.test. {value}"
    proof = look(target, "deep.closed")["caa"].proof
    assert proof == 'closed.one.test CAA 0 issue "other.example"'


def test_a_wildcard_is_proven_by_dns(target: Target) -> None:
    method = stock.method()
    found = preflight_run([f"*.delegated.{ZONE}"], target, method=method)
    by_code = {one.code: one for one in found}
    assert by_code["dns"].level == Level.OK
    assert "an alias of target.two.test" in by_code["dns"].sentence
    assert not {"resolve", "ipv4", "ipv6"} & set(by_code)
    assert "issuewild" in by_code["caa"].record


def test_an_address_needs_no_dns(target: Target, settings: Settings, dns: Bind) -> None:
    with listening(settings, v4=portal):
        found = {one.code: one for one in preflight_run(["127.0.0.1"], target)}
    assert found["ipv4"].level == Level.OK
    assert not {"resolve", "caa"} & set(found)


def test_port_443_is_enough_where_the_certificate_is_ours(target: Target, settings: Settings, tmp_path: Path) -> None:
    pair = pki.leaf(None, [f"ours.{ZONE}"])
    settings.PROBE_PORT = free_port()
    with _tls("127.0.0.1", settings.PROBE_TLS_PORT, pair, tmp_path):
        strange = look(target, "ours")["ipv4"]
        assert strange.level == Level.UNKNOWN  # of port 80; on port 443 somebody else answers
        NodeProcess.objects.create(node="here", pid=1, fingerprints={"": pair.fingerprint}, seen_at=clock.now())
        found = preflight_run([f"ours.{ZONE}"], target)
    ports = [one for one in found if one.code == "ipv4"]
    assert [one.level for one in ports] == [Level.WARNING, Level.OK]
    assert "Port 443 of ours.one.test leads to this portal" in ports[1].sentence


@contextmanager
def _tls(host: str, port: int, pair: pki.Pair, directory: Path) -> Iterator[None]:

    file = directory / "pair.pem"
    file.write_text(pair.pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server((host, port))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


# The CA.


def test_changed_terms_are_told(target: Target, directory: Scripted) -> None:
    directory.answers = [answer_of(directory, termsOfService="https://ca.example/terms-2")]
    terms = look(target, "bare")["terms"]
    assert terms.level == Level.WARNING
    assert terms.proof == "accepted: https://ca.example/terms; now: https://ca.example/terms-2"


@pytest.mark.parametrize("answer", [(503, {}, b""), (200, {}, b"<html>"), None])
def test_a_directory_that_is_none(target: Target, directory: Scripted, answer: Answer | None) -> None:
    directory.answers = [answer]
    found = look(target, "closed")
    assert found["directory"].level == Level.ERROR
    # Which CA the record means cannot be known then.
    assert found["caa"].level == Level.UNKNOWN


def test_a_ca_at_a_private_address_that_nobody_permitted(target: Target) -> None:
    found = look(Target(target.directory_url, None, target.ca_bundle), "bare")
    assert "not on the Internet" in found["directory"].sentence


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (0.4, Level.OK, "right"),
        (-59.0, Level.OK, "right"),
        (90.0, Level.WARNING, "90 seconds ahead of"),
        (-7200.0, Level.ERROR, "2 hours behind"),
    ],
)
def test_the_clock_is_compared_with_the_date_of_the_ca(skew: float, level: Level, words: str) -> None:
    (found,) = preflight.clock_findings("Our CA", DirectoryInfo(clock_skew=skew))
    assert (found.level, words in found.sentence) == (level, True)


def test_a_ca_without_date_says_nothing_of_the_clock() -> None:
    assert preflight.clock_findings("Our CA", DirectoryInfo(clock_skew=None)) == []


def test_the_budget_is_told() -> None:
    account = stock.account("https://acme-v02.api.letsencrypt.org/directory")
    names = ["a.example.com"]
    assert [one.level for one in preflight._budget(account, names, None)] == [Level.OK]

    for left, level in ((1, Level.WARNING), (0, Level.ERROR)):
        LedgerEntry.objects.all().delete()
        for _ in range(5 - left):
            LedgerEntry.objects.create(
                directory_url=account.directory_url,
                account=account.pk,
                event=Event.CERTIFICATE,
                key=names_digest(names),
                at=clock.now() - timedelta(minutes=1),
            )
        found = preflight._budget(account, names, None)
        assert found[0].level == level
        assert f"{left} left of 5 for this set" in found[0].proof


# Time.


def test_names_are_looked_at_side_by_side_and_the_whole_is_bounded(
    target: Target, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(path: str) -> bytes:
        over.wait(10)
        return b""

    with listening(settings, v4=hang, v6=portal):
        start = time.monotonic()
        found = preflight_run([f"ours.{ZONE}", f"only6.{ZONE}"], target, seconds=1.0)
        took = time.monotonic() - start
        over.set()
    assert took < 2.5
    by_name = {(one.name, one.code): one for one in found}
    assert by_name[f"only6.{ZONE}", "ipv6"].level == Level.OK
    assert by_name[f"ours.{ZONE}", "resolve"].level == Level.OK
    assert {one.level for one in found if one.name == f"ours.{ZONE}"} >= {Level.UNKNOWN}


def test_a_hundred_names_take_seconds(target: Target, settings: Settings) -> None:
    names = [f"n{number}.{ZONE}" for number in range(100)]
    start = time.monotonic()
    found = preflight_run(names, target)
    assert time.monotonic() - start < 10
    assert {one.name for one in found if one.code == "resolve"} == set(names)
