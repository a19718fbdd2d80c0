"""Challenge methods without a browser, and without a secret on the command line."""

import io
import json
from pathlib import Path

import pytest
from pytest_django import Settings

from certs.domain import states
from certs.models import AuditEvent, Challenge, ChallengeMethod, Order
from certs.services.certificates import certificate_new
from certs.services.issue_options import IssueOptions
from certs.services.methods import method_solver
from certs.services.orders import order_create
from certs.solvers.dns import digest
from tests import stock
from tests.commands.running import Ran, run
from tests.harness.ports import free_port

pytestmark = pytest.mark.django_db
SECRET = "c2VjcmV0LXNlY3JldA=="


def add(tmp_path: Path, *more: str, name: str = "Own DNS") -> Ran:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    words = ["--set", "server=192.0.2.1", "--set", "key=k", "--set-file", f"secret={tmp_path / 'secret'}"]
    return run("challenge_methods", "add", name, "--kind", "dns01_rfc2136", *words, *more)


def test_nothing_yet() -> None:
    assert "None yet" in run("challenge_methods").out
    assert run("challenge_methods", "list", "--json").json == []


def test_one_is_added_listed_changed_and_deleted(tmp_path: Path) -> None:
    done = add(tmp_path, "--set", "ttl=120")
    assert done.code == 0, done.err
    method = ChallengeMethod.objects.get()
    assert (method_solver(method).options.secret, method.options["ttl"]) == (SECRET, 120)
    assert run("challenge_methods", "list").out == "Own DNS: dns01_rfc2136, not tested, used by no certificate\n"
    (listed,) = json.loads(run("challenge_methods", "list", "--json").out)
    assert listed["secrets"] == ["secret"]
    assert SECRET not in json.dumps(listed) + done.out
    done = run("challenge_methods", "change", "Own DNS", "--set", "port=5353", "--rename", "Inside")
    assert done.out == "Inside is changed. No certificate uses it yet.\n"
    method.refresh_from_db()
    options = method_solver(method).options
    assert (options.port, options.ttl, options.secret, options.server) == (5353, 120, SECRET, "192.0.2.1")
    assert run("challenge_methods", "delete", "Inside").code == 0
    assert not ChallengeMethod.objects.exists()
    assert set(AuditEvent.objects.values_list("actor_text", flat=True)) == {"command line"}


def test_a_secret_on_the_command_line_is_refused(tmp_path: Path) -> None:
    done = add(tmp_path, "--set", f"secret={SECRET}")
    assert done.code == 4
    assert "--set-file secret=FILE" in done.err
    assert SECRET not in done.err
    assert not ChallengeMethod.objects.exists()


def test_a_secret_comes_from_standard_input_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["challenge_methods", "add", "--kind", "dns01_rfc2136"]
    plain = ["--set", "server=192.0.2.1", "--set", "key=k"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    assert run(*words, "One", *plain, "--set-file", "secret=-").code == 0
    monkeypatch.setenv("MY_SECRET", SECRET)
    assert run(*words, "Two", *plain, "--set-file", "secret=env:MY_SECRET").code == 0
    for method in ChallengeMethod.objects.all():
        assert method_solver(method).options.secret == SECRET
    done = run(*words, "Three", *plain, "--set-file", "secret=env:NONE_SUCH")
    assert "NONE_SUCH is not set" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "x", "--kind", "none"], "no challenge of the kind"),
        (["add", "x", "--kind", "http01_webroot"], "Webroot is needed"),
        (["add", "x", "--kind", "http01_webroot", "--set", "webroot"], "has no value"),
        (["add", "x", "--kind", "http01_webroot", "--set-file", "webroot=/none/such"], "cannot be read"),
        (["add", "x", "--kind", "http01_webroot", "--set", "typo=1"], "no option “typo”"),
        (["delete", "none"], "No challenge method is called"),
        (["test", "none", "a.example"], "No challenge method is called"),
    ],
)
def test_a_refusal_is_one_sentence_and_a_code(words: list[str], says: str) -> None:
    done = run("challenge_methods", *words)
    assert done.code == 4
    assert says in done.err
    assert done.err.count("\n") == 1


def test_kinds_and_their_options_are_told() -> None:
    kinds = run("challenge_methods", "kinds").out
    for kind in ("http01_webroot: HTTP (webroot)", "dns01_provider: ", "dns01_hook: ", "dns01_manual: "):
        assert kind in kinds
    options = run("challenge_methods", "kinds", "dns01_rfc2136").out
    assert "server: Name server (needed)." in options
    assert "secret: Key secret (secret)." in options
    own = run("challenge_methods", "kinds", "dns01_provider", "--set", "provider=cloudflare").out
    assert "auth_token: Token (secret)." in own
    assert "zone_id: " in own


def test_another_provider_takes_nothing_over_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "first-token")
    words = [
        "--set",
        "provider=powerdns",
        "--set",
        "pdns_server=http://192.0.2.1",
        "--set-file",
        "auth_token=env:TOKEN",
    ]
    assert run("challenge_methods", "add", "Cloud", "--kind", "dns01_provider", *words).code == 0
    monkeypatch.setenv("TOKEN", "second-token")
    words = ["--set", "provider=cloudflare", "--set-file", "auth_token=env:TOKEN"]
    done = run("challenge_methods", "change", "Cloud", *words)
    assert done.code == 0, done.err
    options = method_solver(ChallengeMethod.objects.get()).options
    assert (options.provider, options.auth_token) == ("cloudflare", "second-token")


def test_a_test_tells_what_it_sees_and_its_code_is_the_result(tmp_path: Path, settings: Settings) -> None:
    settings.PROBE_PORT, settings.ALLOW_PRIVATE_CA = free_port(), True
    run("challenge_methods", "add", "Web", "--kind", "http01_webroot", "--set", f"webroot={tmp_path}")
    done = run("challenge_methods", "test", "Web", "localhost")
    assert done.code == 4
    assert "Testing Web" in done.out
    assert "refused" in done.out
    assert not list(tmp_path.iterdir())
    assert "test failed" in run("challenge_methods", "list").out


def test_what_is_to_be_done_by_hand_is_told(settings: Settings) -> None:
    settings.DNS_AUTHORITIES = [f"127.0.0.1:{free_port()}"]
    assert run("challenge_methods", "records").out == "No order waits for a person.\n"
    run("challenge_methods", "add", "By hand", "--kind", "dns01_manual")
    by_hand = ChallengeMethod.objects.get()
    certificate = certificate_new(
        name="", names=["a.test"], account=stock.account(), actor="test", options=IssueOptions(challenge_method=by_hand)
    )
    order = order_create(certificate, reason="asked", actor="test")
    Order.objects.update(state=states.ORDERED, challenge_kind="dns01_manual")
    Challenge.objects.create(
        token="t",
        order=order,
        name="a.test",
        key_authorization="t.x",
        kind="dns01_manual",
        method=by_hand,
        type="dns-01",
    )
    said = run("challenge_methods", "records").out
    assert f"TXT record _acme-challenge.a.test {digest('t.x')}" in said
    assert "could not be asked" in said
