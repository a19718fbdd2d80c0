"""Challenge methods as people set them up, through the real steps, against pebble and real servers."""

import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pytest_django import Settings

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.models import AcmeAccount, Challenge, ChallengeMethod, JobEvent, Order
from certs.services.by_hand import by_hand_look
from certs.services.certificates import certificate_new
from certs.services.issue_options import IssueOptions
from certs.services.methods import method_create, method_update
from certs.services.order_runner import orders_run
from certs.services.orders import order_create
from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from tests.harness.bind import ALGORITHM, KEY, SECRET, Bind
from tests.harness.issuing import account_at, advance
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import LOOPBACK, free_port
from tests.harness.powerdns import API_KEY, PowerDns

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RECORDS = {"one.test": ["_acme-challenge.delegated CNAME a1b2.two.test."], "two.test": []}
# What an operator might write: nothing of Bindery, only what it is told.
HOOK = f"""#!{sys.executable}
import os, sys
import dns.name, dns.query, dns.tsigkeyring, dns.update
action, record, value = sys.argv[1:]
server, _, port = os.environ["HOOK_SERVER"].partition(":")
ring = dns.tsigkeyring.from_text({{"{KEY}": ("{ALGORITHM}", os.environ["HOOK_SECRET"])}})
update = dns.update.UpdateMessage(os.environ["BINDERY_ZONE"], keyring=ring)
if action == "present":
    update.add(dns.name.from_text(record), int(os.environ["BINDERY_TTL"]), "TXT", value)
else:
    update.delete(dns.name.from_text(record), "TXT", value)
answer = dns.query.tcp(update, server, port=int(port), timeout=5)
sys.exit(answer.rcode() and f"the server says {{answer.rcode()}}")
"""


def order(account: AcmeAccount, by: ChallengeMethod, *names: str) -> Order:
    options = IssueOptions(challenge_method=by)
    certificate = certificate_new(name="", names=names, account=account, actor="test", options=options)
    return order_create(certificate, reason="asked", actor="test")


def obtain(account: AcmeAccount, by: ChallengeMethod, *names: str) -> Order:
    done = finish(order(account, by, *names))
    assert done.state == states.DONE, (done.error_message, done.problem)
    assert not Challenge.objects.exists()
    return done


def finish(asked: Order) -> Order:
    for _ in range(60):
        asked = advance(asked)
        if asked.finished_at:
            break
    return asked


@pytest.fixture
def bind(settings: Settings) -> Iterator[Bind]:
    need("named", "pebble")
    with Bind(zones=RECORDS, records=RECORDS, recursive=True) as running:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [running.address]
        yield running
    sessions_forget()


def test_a_provider_with_an_api_proves_a_wildcard_and_its_base(settings: Settings) -> None:
    need("powerdns", "pebble")
    with PowerDns() as provider:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [provider.address]
        given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": provider.api}
        by = method_create(kind="dns01_provider", name="PowerDNS", given=given, actor="test")
        with Pebble(http_port=free_port(), dns=provider) as ca:
            done = obtain(account_at(ca), by, "*.one.test", "one.test", "www.two.test")
            assert done.version is not None
            assert done.version.names == ["*.one.test", "one.test", "www.two.test"]
        assert not provider.values("_acme-challenge.one.test")
        sessions_forget()


def test_a_wrong_credential_fails_with_its_reason_and_the_right_one_mends_it(settings: Settings) -> None:
    need("powerdns", "pebble")
    with PowerDns() as provider, Pebble(http_port=free_port(), dns=provider) as ca:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [provider.address]
        given = {"provider": "powerdns", "auth_token": "not-the-token", "pdns_server": provider.api}
        by = method_create(kind="dns01_provider", name="PowerDNS", given=given, actor="test")
        failed = finish(order(account_at(ca), by, "one.test"))
        assert failed.state == states.FAILED
        assert failed.error_code == "dns-provider-credentials"
        assert "not-the-token" not in failed.error_message + str(list(JobEvent.objects.values()))
        affected = method_update(by, actor="test", given={**given, "auth_token": API_KEY})
        assert [row.name for row in affected] == ["one.test"]
        again = finish(order_create(failed.certificate, reason="asked", actor="test"))
        assert again.state == states.DONE, again.error_message
        sessions_forget()


def test_a_script_proves_names_here_and_where_an_alias_leads(bind: Bind, settings: Settings, tmp_path: Path) -> None:
    settings.HOOKS_DIR = tmp_path
    tmp_path.chmod(0o755)
    script = tmp_path / "nsupdate"
    script.write_text(HOOK)
    script.chmod(0o755)
    given = {"script": str(script), "variables": f"HOOK_SERVER={bind.address}\nHOOK_SECRET={SECRET}"}
    by = method_create(kind="dns01_hook", name="Script", given=given, actor="test")
    with Pebble(http_port=free_port(), dns=bind) as ca:
        obtain(account_at(ca), by, "*.one.test", "one.test", "*.delegated.one.test")
    assert not bind.values("_acme-challenge.one.test")
    assert not bind.values("a1b2.two.test")


def test_a_web_server_that_keeps_port_80_serves_the_answer(tmp_path: Path) -> None:
    need("pebble")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), partial(Quiet, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    by = method_create(kind="http01_webroot", name="Web", given={"webroot": str(tmp_path)}, actor="test")
    try:
        with Pebble(http_port=server.server_address[1]) as ca:
            obtain(account_at(ca), by, "a.example.test", "b.example.test")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        sessions_forget()
    assert not list(tmp_path.iterdir())


def test_an_order_by_hand_waits_for_the_person_and_then_goes_on(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.services.order_flow.POLL_DEADLINE_SECONDS", 0)
    by = method_create(kind="dns01_manual", name="By hand", given={}, actor="test")
    person = Dns01Rfc2136(Dns01Rfc2136.Options(server=LOOPBACK, port=bind.port, key=KEY, secret=SECRET))
    with Pebble(http_port=free_port(), dns=bind) as ca:
        waiting = advance(order(account_at(ca), by, "*.one.test", "one.test", "*.delegated.one.test"))
        for _ in range(3):
            assert waiting.state == states.ORDERED
            waiting = advance(waiting)
        records = by_hand_look(waiting).records
        assert len(records) == 3
        said = JobEvent.objects.filter(job=waiting.pk, message__startswith="Waiting until").count()
        assert said == 1, "the same sentence is not written again and again"
        for record in records:
            zone = "two.test" if record.name.endswith("two.test") else "one.test"
            person.record_add(zone, record.name, record.value, 60)
        done = finish(waiting)
    assert done.state == states.DONE, (done.error_message, done.problem)
    assert not Challenge.objects.exists()


def test_a_provider_out_of_reach_does_not_end_an_order(settings: Settings) -> None:
    need("powerdns", "pebble")
    with PowerDns() as provider, Pebble(http_port=free_port(), dns=provider) as ca:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [provider.address]
        given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": f"http://{LOOPBACK}:{free_port()}"}
        by = method_create(kind="dns01_provider", name="PowerDNS", given=given, actor="test")
        waiting = advance(order(account_at(ca), by, "one.test"))
        assert (waiting.state, waiting.error_code) == (states.ORDERED, "unavailable")
        assert waiting.next_attempt_at > waiting.created_at
        method_update(by, actor="test", given={**given, "pdns_server": provider.api})
        done = finish(waiting)
        assert done.state == states.DONE, (done.error_message, done.problem)
        assert ca.issued() == 1
        sessions_forget()


def test_orders_at_once_do_not_take_each_others_records_where_the_api_writes_whole_sets(settings: Settings) -> None:
    """Many providers have no call for one value: the library reads the set, changes it and writes it back."""
    need("powerdns", "pebble")
    with PowerDns() as provider, Pebble(http_port=free_port(), dns=provider) as ca:
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [provider.address]
        given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": provider.api}
        by = method_create(kind="dns01_provider", name="PowerDNS", given=given, actor="test")
        asked = [order(account_at(ca, f"{number}@one.test"), by, "*.one.test", "one.test") for number in range(6)]
        for _ in range(20):
            if not Order.objects.filter(finished_at=None).exists():
                break
            orders_run(claim_seconds=20)
        for each in asked:
            each.refresh_from_db()
            assert each.state == states.DONE, (each.error_message, each.problem)
        assert ca.issued() == len(asked)
        assert not provider.values("_acme-challenge.one.test")
        sessions_forget()
