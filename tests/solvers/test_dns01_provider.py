"""DNS providers by dns-lexicon: its lists of parameters, and a real API, that of PowerDNS."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certs.domain.errors import InputError, Unavailable
from certs.domain.options import OptionRefused, options_of, options_read, options_split
from certs.solvers import dns01_provider
from certs.solvers.base import Site, Task
from certs.solvers.dns import DNS, digest
from certs.solvers.dns01_provider import Dns01Provider, ProviderRefused, is_secret, masked, parameters, providers
from certs.transports import roots
from certs.transports.local import Ran
from tests.harness import pki
from tests.harness.need import need
from tests.harness.ports import LOOPBACK, free_port
from tests.harness.powerdns import API_KEY, PowerDns
from tests.harness.raw import serving

TASK = Task("www.one.test", "token", "token.thumb", type=DNS)
RECORD = "_acme-challenge.www.one.test"


@pytest.fixture(scope="module")
def powerdns() -> Iterator[PowerDns]:
    need("powerdns")
    with PowerDns() as server:
        yield server


def solver(server: PowerDns | None = None, **given: Any) -> Dns01Provider:
    api = server.api if server else f"http://{LOOPBACK}:{free_port()}"
    given = {"provider": "powerdns", "auth_token": API_KEY, "pdns_server": api, **given}
    site = Site(authorities=(server.address,)) if server else Site()
    return Dns01Provider(options_read(Dns01Provider.options_for(given), given), site)


def test_a_record_is_set_seen_and_taken_away_by_the_api(powerdns: PowerDns) -> None:
    one = solver(powerdns)
    data = one.present(TASK)
    assert powerdns.values(RECORD) == {digest("token.thumb")}
    assert one.awaited(TASK) == ""
    assert one.look(TASK).right
    assert API_KEY not in json.dumps(data)
    one.clean(TASK, data)
    assert powerdns.values(RECORD) == set()


def test_two_values_at_one_name_come_and_go_one_by_one(powerdns: PowerDns) -> None:
    one, other = solver(powerdns), Task("www.one.test", "t2", "t2.thumb", type=DNS, wildcard=True)
    first, second = one.present(TASK), one.present(other)
    assert powerdns.values(RECORD) == {digest("token.thumb"), digest("t2.thumb")}
    one.present(TASK)
    one.clean(TASK, first)
    assert powerdns.values(RECORD) == {digest("t2.thumb")}
    one.clean(TASK, first)
    one.clean(other, second)
    assert powerdns.values(RECORD) == set()


def test_what_a_crash_left_is_found_without_what_was_remembered(powerdns: PowerDns) -> None:
    one = solver(powerdns)
    one.present(TASK)
    one.clean(TASK, {})
    assert powerdns.values(RECORD) == set()


def test_wrong_credentials_are_named_and_never_shown(powerdns: PowerDns) -> None:
    with pytest.raises(ProviderRefused) as refusal:
        solver(powerdns, auth_token="wrong-token-123456").present(TASK)
    assert refusal.value.code == "dns-provider-credentials"
    assert "one.test" in refusal.value.message
    assert "wrong-token-123456" not in str(refusal.value)


@pytest.mark.parametrize("provider", ["azure", "ddns"])
def test_a_parameter_that_is_missing_is_said_to_be_so(provider: str) -> None:
    given = {"provider": provider}
    one = Dns01Provider(options_read(Dns01Provider.options_for(given), given))
    with pytest.raises(ProviderRefused, match="with these parameters") as refusal:
        one.record_add("one.test", RECORD, "v", 60)
    assert refusal.value.code == "dns-provider-parameters"


def test_a_zone_that_the_provider_does_not_have_is_its_refusal(powerdns: PowerDns) -> None:
    with pytest.raises(ProviderRefused):
        solver(powerdns).record_add("three.test", "_acme-challenge.three.test", "v", 60)


def test_a_provider_out_of_reach_may_be_tried_again() -> None:
    with pytest.raises(Unavailable):
        solver().record_add("one.test", RECORD, "v", 60)


def test_it_trusts_what_the_portal_trusts_and_a_proxy_is_no_riddle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A provider on HTTPS, faked: it refuses whoever has reached it."""
    root = pki.authority("A root of the company")
    pair = pki.leaf(root, ["127.0.0.1"])
    (file := tmp_path / "pair.pem").write_text(pair.pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(refusal, context=context) as server:
        asked = solver(pdns_server=server.url.rstrip("/"), auth_token="s3cret-token")
        with pytest.raises(Unavailable, match="BINDERY_CA_BUNDLE"):
            asked.record_add("one.test", "_acme-challenge.one.test", "v", 60)
        roots.roots_add(root.pem)
        try:
            with pytest.raises(ProviderRefused, match="refuses these credentials"):
                asked.record_add("one.test", "_acme-challenge.one.test", "v", 60)
            monkeypatch.setenv("NO_PROXY", "")
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
            with pytest.raises(Unavailable, match="HTTPS_PROXY"):
                asked.record_add("one.test", "_acme-challenge.one.test", "v", 60)
        finally:
            roots.roots_add("")


def test_one_that_never_answers_has_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "slow.py"
    program.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(dns01_provider, "PROGRAM", program)
    monkeypatch.setattr(dns01_provider, "SECONDS", 0.5)
    with pytest.raises(Unavailable, match=r"within 0\.5 s"):
        solver().record_add("one.test", RECORD, "v", 60)


def test_a_fault_of_the_library_is_told_in_its_last_words_without_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "broken.py"
    program.write_text(f"raise SystemExit('sent {API_KEY} to nobody')")
    monkeypatch.setattr(dns01_provider, "PROGRAM", program)
    with pytest.raises(ProviderRefused, match="to nobody") as refusal:
        solver().record_add("one.test", RECORD, "v", 60)
    assert API_KEY not in str(refusal.value)


def test_credentials_are_neither_arguments_nor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are seen by every user of the machine, or end in a report of a crash."""
    seen: dict[str, Any] = {}

    def run(command: Any, **rest: Any) -> Ran:
        seen.update(rest, command=command)
        return Ran(0, b"{}", "")

    monkeypatch.setenv("DATABASE_URL", "postgresql://ours")
    monkeypatch.setattr(dns01_provider, "run", run)
    solver().record_add("one.test", RECORD, "v", 60)
    assert API_KEY.encode() in seen["stdin"]
    assert API_KEY not in str(seen["command"]) + str(seen["env"])
    assert "DATABASE_URL" not in seen["env"]


def test_a_name_outside_the_zone_that_is_set_never_reaches_the_provider() -> None:
    with pytest.raises(InputError) as refusal:
        solver(zone="two.test").record_add("one.test", RECORD, "v", 60)
    assert refusal.value.code == "dns-zone"


def test_the_zone_that_is_set_wins(powerdns: PowerDns) -> None:
    one = solver(powerdns, zone="One.test.")
    assert one.record_add("www.one.test", RECORD, "by-zone", 60) == {"zone": "one.test"}
    assert powerdns.values(RECORD) == {"by-zone"}
    one.record_remove("www.one.test", RECORD, "by-zone", {})
    assert powerdns.values(RECORD) == set()


def test_every_provider_lists_its_parameters_and_none_takes_a_name_of_ours() -> None:
    assert {"cloudflare", "route53", "digitalocean", "ovh", "powerdns"} <= set(providers())
    assert len(providers()) > 80
    assert "auto" not in providers()
    for provider in providers():
        about = {each.name: each for each in options_of(Dns01Provider.options_for({"provider": provider}))}
        own = [each.name for each in parameters(provider)]
        assert own, provider
        assert not {"provider", "zone", "ttl", "challenge"} & set(own), provider
        assert not any(about[name].required for name in own), provider
        assert all(about[name].label and about[name].help for name in own), provider


def test_before_a_provider_is_chosen_there_is_only_the_choice() -> None:
    for given in ({}, {"provider": ""}, {"provider": "none-such"}, {"provider": "auto"}):
        kind = Dns01Provider.options_for(given)
        assert [each.name for each in options_of(kind)] == ["provider"]
    with pytest.raises(OptionRefused):
        options_read(Dns01Provider.options_for({"provider": "none-such"}), {"provider": "none-such"})


def test_everything_that_opens_an_account_is_a_secret() -> None:
    """Read from the library's list: a parameter that is new and not known to be harmless is hidden."""
    open_ones = {
        (provider, each.name)
        for provider in providers()
        for each in options_of(Dns01Provider.options_for({"provider": provider}))
        if not each.secret and each.type is str
    }
    words = {"token", "secret", "password", "pass", "psw", "key", "2fa", "totp"}
    assert not [entry for entry in open_ones if words & set(entry[1].split("_"))]
    given = {"provider": "cloudflare", "auth_token": "s3cret", "zone_id": "z1", "auth_username": "me@one.test"}
    shown, hidden = options_split(options_read(Dns01Provider.options_for(given), given))
    assert hidden == {"auth_token": "s3cret"}
    assert (shown["zone_id"], shown["auth_username"]) == ("z1", "me@one.test")


def test_what_the_library_says_of_a_provider_is_said_in_the_words_of_the_page() -> None:
    for provider in providers():
        about = options_of(Dns01Provider.options_for({"provider": provider}))[0].help
        assert "--" not in about, provider
    about = options_of(Dns01Provider.options_for({"provider": "cloudflare"}))[0].help
    assert "“Username” and “Token”" in about
    assert "Doc (https://" in about


@pytest.mark.parametrize(
    ("name", "about", "secret"),
    [
        ("auth_username", "specify username", False),
        ("auth_username", "specify API-KEY for authentication", True),
        ("zone_id", "the zone", False),
        ("secret_id", "", True),
        ("auth_consumer_key", "", True),
        ("something_new", "", True),
    ],
)
def test_in_doubt_it_is_a_secret(name: str, about: str, secret: bool) -> None:
    assert is_secret(name, about) is secret


def test_secrets_are_masked_in_every_form() -> None:
    secret = 'a/b+c d"é-long'
    for form in (secret, "a%2Fb%2Bc%20d%22%C3%A9-long", "a%2Fb%2Bc+d%22%C3%A9-long", json.dumps(secret)):
        words = masked(f"GET /?key={form} failed", [secret])
        assert "long" not in words, words
        assert words.endswith("failed")
    assert masked("the first line SECONDLINE is bad", ["FIRSTLINE\nSECONDLINE"]) == "the first line ••• is bad"


def test_values_reach_the_provider_in_the_types_of_its_own_parser() -> None:
    from certs.solvers.provider_call import values

    class Kind:
        @staticmethod
        def configure_parser(parser: Any) -> None:
            parser.add_argument("--sleep-time", type=float, default=1)
            parser.add_argument("--global", dest="is_global", action="store_true")
            parser.add_argument("--auth-token")

    assert values(Kind, {"sleep_time": "2.5", "is_global": True, "auth_token": ""}) == {
        "sleep_time": 2.5,
        "is_global": True,
        "auth_token": None,
    }
    assert values(Kind, {}) == {"sleep_time": 1, "is_global": False, "auth_token": None}
