"""What lies around the portal: the public URL and its certificate, DNS, CAA, CAs, the clock, a proxy, the worker.

Against a real BIND, real TLS listeners and an HTTPS directory; nothing but loopback is asked.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from certs.acme.directories import DIRECTORY_FIELDS
from certs.domain.diagnosis import Line, Look, State
from certs.models import AcmeAccount, Alarm, Certificate
from certs.services.bindings import binding_set
from certs.services.diagnosis import cas, certificates, names, network, public_url, queue
from certs.services.holds import directory_hold
from certs.services.listeners import listeners_ensure
from certs.services.portal_state import state_update
from certs.services.reachability import probe_answer
from portal import clock
from tests import stock
from tests.acme.scripted import Scripted, document
from tests.harness import pki
from tests.harness.bind import Bind
from tests.harness.ports import free_port

Told = Callable[[Look], dict[State, list[Line]]]
pytestmark = pytest.mark.django_db
ZONE = "diag.test"
RECORDS = ["here A 127.0.0.1", "closed A 127.0.0.1", 'closed CAA 0 issue "other.example"', "bare TXT nothing"]
ROOT = pki.authority("A Public Root")


@pytest.fixture(scope="module")
def dns() -> Iterator[Bind]:
    with Bind(zones=("test", ZONE), records={ZONE: RECORDS}) as running:
        yield running


@pytest.fixture
def resolved(dns: Bind, settings: Settings) -> None:
    settings.DNS_RESOLVERS = [dns.address]
    settings.DNS_AUTHORITIES = [dns.address]


@pytest.fixture
def directory() -> Iterator[Scripted]:
    with Scripted() as running:
        fields = {name: f"{running.url}/{name}" for name in DIRECTORY_FIELDS}
        running.answers = [document({**fields, "meta": {"caaIdentities": ["ca.example"]}})]
        yield running


@pytest.fixture
def account(directory: Scripted) -> AcmeAccount:
    row = stock.account(f"{directory.url}/directory")
    AcmeAccount.objects.filter(pk=row.pk).update(
        account_url=f"{directory.url}/acct/1", ca_bundle=directory.authority.pem, allow_private=True
    )
    row.refresh_from_db()
    return row


# The certificate against the name.


@contextmanager
def site(pair: pki.Pair, tmp_path: Path, *, portal: bool = True) -> Iterator[int]:
    """Ends TLS with that certificate on a port of loopback; answers as the portal does, or as somebody else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = parse_qs(urlsplit(self.path).query).get("probe", [""])[0]
            body = f'{{"probe": "{probe_answer(token)}"}}'.encode() if portal else b"Welcome to nginx!"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A handshake that the check breaks off on purpose."""

    (tmp_path / "pair.pem").write_text(pair.pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def browsers_know_the_root(settings: Settings, tmp_path: Path) -> None:
    settings.PUBLIC_ROOTS = str(tmp_path / "roots.pem")
    Path(settings.PUBLIC_ROOTS).write_text(ROOT.pem)


@pytest.mark.usefixtures("browsers_know_the_root")
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (pki.leaf(ROOT, ["localhost"]), (State.OK, "is for it and trusted")),
        (pki.leaf(ROOT, ["elsewhere.example"]), (State.BAD, "is not for that name")),
        (pki.leaf(ROOT, ["localhost"], days=1, start=clock.now() - timedelta(days=9)), (State.BAD, "has expired")),
        (pki.leaf(ROOT, ["localhost"], start=clock.now() + timedelta(days=2)), (State.BAD, "is not valid yet")),
        (pki.leaf(stock.CA, ["localhost"]), (State.NOTE, "Browsers warn at localhost")),
    ],
)
def test_the_certificate_is_held_against_the_public_name(
    told: Told, settings: Settings, tmp_path: Path, pair: pki.Pair, expected: tuple[State, str]
) -> None:
    state, words = expected
    with site(pair, tmp_path) as port:
        settings.PUBLIC_URL = f"https://localhost:{port}"
        (line,) = told(public_url.public_certificate)[state]
    assert words in line.sentence


def test_the_public_url_leads_here_elsewhere_or_nowhere(told: Told, settings: Settings, tmp_path: Path) -> None:
    pair = pki.leaf(ROOT, ["localhost"])
    for portal, state in ((True, State.OK), (False, State.BAD)):
        with site(pair, tmp_path, portal=portal) as port:
            settings.PUBLIC_URL = f"https://localhost:{port}"
            assert told(public_url.public_answer)[state]
    assert "Nothing answered" in told(public_url.public_answer)[State.UNKNOWN][0].sentence


def test_a_guess_and_a_loopback_are_worth_a_look(told: Told, settings: Settings) -> None:
    assert "is a guess" in told(public_url.public_address)[State.NOTE][0].sentence
    settings.PUBLIC_URL = "http://localhost:8000"
    assert "their own machine" in told(public_url.public_address)[State.NOTE][0].sentence
    settings.PUBLIC_URL = "nonsense"
    assert "BINDERY_PUBLIC_URL" in told(public_url.public_address)[State.BAD][0].sentence
    settings.PUBLIC_URL = ""
    state_update(public_url="https://portal.example")
    assert told(public_url.public_address)[State.OK]


# DNS and the way from outside.


@pytest.mark.usefixtures("resolved")
def test_names_that_the_dns_does_not_know_and_caa_that_forbids_are_red(
    told: Told, settings: Settings, account: AcmeAccount
) -> None:
    settings.PROBE_PORT = settings.PROBE_TLS_PORT = free_port()
    for name in ("bare", "closed"):
        row = stock.issued(f"{name}.{ZONE}")
        Certificate.objects.filter(pk=row.pk).update(account=account, auto_renew=True)
    found = told(names.names)[State.BAD]
    by_code = {line.code: line for line in found}
    assert f"bare.{ZONE} has no address in DNS" in by_code["names-resolve"].sentence
    assert f"closed.{ZONE}" in by_code["names-caa"].sentence
    assert "CAA 0 issue" in by_code["names-caa"].mend  # verbatim


@pytest.mark.usefixtures("resolved")
def test_the_public_name_is_looked_up_and_its_ports_are_asked(told: Told, settings: Settings, tmp_path: Path) -> None:
    settings.PUBLIC_URL = f"https://bare.{ZONE}"
    assert "has no address in DNS" in told(names.public_name)[State.BAD][0].sentence
    settings.PUBLIC_URL = f"https://here.{ZONE}"
    assert told(names.public_name)[State.OK][0].evidence == "127.0.0.1"
    settings.PROBE_PORT = free_port()
    assert "port 80" in told(names.public_port_80)[State.UNKNOWN][0].sentence
    settings.PUBLIC_URL = ""
    assert told(names.public_port_80) == {state: [] for state in State}
    assert "no name to look at" in told(names.public_name)[State.UNKNOWN][0].sentence


# CAs and the clock.


def test_a_ca_that_does_not_answer_is_red(told: Told, account: AcmeAccount, directory: Scripted) -> None:
    assert told(cas.directories)[State.OK]
    AcmeAccount.objects.update(directory_url=f"https://localhost:{free_port()}/directory")
    (line,) = told(cas.directories)[State.BAD]
    assert "does not answer" in line.sentence
    assert any(line.code == "clock" for line in told(cas.directories)[State.UNKNOWN])


def test_a_ca_that_wants_to_be_left_alone_is_left_alone(told: Told, account: AcmeAccount, directory: Scripted) -> None:
    directory_hold(account.directory_url, timedelta(minutes=5))
    asked = len(directory.requests)
    assert "left alone" in told(cas.directories)[State.NOTE][0].sentence
    assert len(directory.requests) == asked


@pytest.mark.parametrize(("ahead", "state"), [(0, State.OK), (300, State.NOTE), (-7200, State.BAD)])
def test_a_clock_that_is_wrong_is_told_by_what_the_ca_says(
    told: Told, account: AcmeAccount, monkeypatch: pytest.MonkeyPatch, ahead: int, state: State
) -> None:
    said = formatdate(time.time() - ahead, usegmt=True)
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: said)  # the Date header of every answer
    (line,) = [line for line in told(cas.directories)[state] if line.code == "clock"]
    assert ("ahead of" in line.sentence) == (ahead > 0)
    assert ("behind" in line.sentence) == (ahead < 0)


def test_no_ca_in_use_is_neither_good_nor_bad(told: Told) -> None:
    found = told(cas.directories)
    assert [len(found[state]) for state in (State.OK, State.BAD, State.UNKNOWN)] == [0, 0, 1]


# The way out.


def test_a_proxy_that_is_dead_is_red_and_its_password_is_not_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:planted-pw@127.0.0.1:{free_port()}")
    (line,) = told(network.proxy)[State.BAD]
    assert "cannot be reached" in line.sentence
    assert "planted-pw" not in str(line)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert told(network.proxy)[State.OK]
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert "does not speak" in told(network.proxy)[State.BAD][0].sentence
    monkeypatch.delenv("HTTPS_PROXY")
    assert "No proxy is set" in told(network.proxy)[State.OK][0].sentence


def test_a_resolver_that_takes_no_connection_is_worth_a_look(told: Told, settings: Settings, dns: Bind) -> None:
    settings.DNS_RESOLVERS = [dns.address, f"127.0.0.1:{free_port()}"]
    found = told(network.resolvers)
    assert (len(found[State.OK]), len(found[State.NOTE])) == (1, 1)


# Worker, schedule and what is bound.


def test_a_worker_that_is_dead_is_red(told: Told) -> None:
    (line,) = told(queue.worker)[State.BAD]
    assert "renewals and orders wait" in line.sentence


def test_open_alarms_are_counted_without_their_words(told: Told) -> None:
    assert told(queue.alarms)[State.OK]
    Alarm.objects.create(key="x", subject="ann@example.com", happened="It broke.")
    (line,) = told(queue.alarms)[State.NOTE]
    assert "ann@" not in str(line)


def test_a_bound_certificate_that_expired_or_lost_its_key_is_red(told: Told) -> None:
    listeners_ensure()
    row = stock.issued("a.example", days=9)
    binding_set("a.example", row, actor="test")
    assert row.current is not None
    versions = type(row.current).objects.filter(pk=row.current.pk)
    versions.update(not_after=clock.now() - timedelta(days=1))
    assert [line.code for line in told(certificates.state)[State.BAD]] == ["expired"]
    assert told(certificates.keys)[State.OK]
    versions.update(key=None)
    (line,) = told(certificates.keys)[State.BAD]
    assert "a.example" in line.sentence
    assert "missing" in line.evidence


def test_what_is_bound_and_not_seen_could_not_be_checked(told: Told) -> None:
    binding_set("a.example", stock.uploaded("a.example"), actor="test")
    (line,) = told(certificates.served)[State.UNKNOWN]
    assert "No serving process has reported" in line.sentence
