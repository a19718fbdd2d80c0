"""Where names lead: what the addresses mean, and which lines are offered."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from certs.domain.preflight import Level
from certs.services import elsewhere
from certs.services.elsewhere import AWAY, HERE, PORTAL, Place, Target, Where, names_look
from certs.services.reachability import NO_CONNECTION, OK, OTHER, Hop, ReachResult

NAME = "www.example.com"
TARGET = Target("http://portal.example.com", proven=True)


def where(*places: tuple[str, str], name: str = NAME, server: str = "", **more: str) -> Where:
    """Of (whose, outcome)."""
    hops = (Hop(f"http://{name}/", "203.0.113.7", 404, server),) if server else ()
    made = [
        Place(f"203.0.113.{number}", whose, ReachResult(name, outcome, "", "Told.", hops=hops))
        for number, (whose, outcome) in enumerate(places)
    ]
    return Where(name, tuple(made), TARGET, "192.0.2.1:8080", "127.0.0.1:8080", **more)


@pytest.mark.parametrize(
    ("outcomes", "ok", "level"),
    [
        ([OK], True, Level.OK),
        ([OTHER], False, Level.ERROR),
        ([NO_CONNECTION], False, Level.UNKNOWN),
        ([OK, OK], True, Level.OK),
        ([OK, OTHER], False, Level.ERROR),
        ([OTHER, OK], False, Level.ERROR),
        ([OK, NO_CONNECTION], True, Level.UNKNOWN),  # a CA goes on to the next address, and we could not look
        ([OTHER, NO_CONNECTION], False, Level.ERROR),
        ([], False, Level.UNKNOWN),
    ],
)
def test_every_address_that_answers_must_be_ours(outcomes: list[str], ok: bool, level: Level) -> None:
    found = where(*((AWAY, outcome) for outcome in outcomes))
    assert (found.ok, found.level) == (ok, level)
    assert ("leads to this portal" in found.sentence and "only" not in found.sentence) is ok
    assert ("could not be followed" in found.sentence) is (not ok and level == Level.UNKNOWN)


def test_a_redirect_is_offered_for_another_machine_and_the_server_there_comes_first() -> None:
    found = where((AWAY, OTHER), server="Apache/2.4.68 (Debian)")
    assert [one.server.key for one in found.redirects] == ["apache", "nginx", "haproxy", "iis"]
    assert "http://portal.example.com" in found.redirects[0].text
    assert "http://192.0.2.1:8080" in found.proxies[0].text


@pytest.mark.parametrize("whose", [HERE, PORTAL])
def test_none_is_offered_where_it_would_lead_back(whose: str) -> None:
    found = where((whose, OTHER))
    assert not found.redirects
    assert found.proxies
    assert ("127.0.0.1:8080" in found.proxies[0].text) is (whose == HERE)
    assert not where((AWAY, OTHER), name="portal.example.com").redirects


def test_nothing_is_offered_where_all_is_well() -> None:
    found = where((AWAY, OK))
    assert not found.redirects
    assert not found.proxies


# How the portal's own address is judged.


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """`addresses` by name, and the `schemes` by which the portal answers at its own name."""
    world: dict[str, object] = {"addresses": {}, "schemes": set()}

    def probe(name: str, *, scheme: str = "http", address: str = "", **_: object) -> ReachResult:
        answers = name == "portal.example.com" and scheme in world["schemes"]  # type: ignore[operator]
        return ReachResult(name, OK if answers else OTHER, "", "Told.", addresses=[address])

    monkeypatch.setattr(elsewhere, "reach_probe", probe)
    monkeypatch.setattr(elsewhere, "addresses_seen", lambda name: world["addresses"].get(name, []))  # type: ignore[attr-defined]
    return world


Look = Callable[[], Where]


@pytest.fixture
def look(settings: Settings, reached: dict[str, object], db: None) -> Look:
    settings.PUBLIC_URL = "https://portal.example.com:8443"
    settings.PROBE_PORT, settings.PROBE_TLS_PORT = 80, 443
    reached["addresses"] = {NAME: ["198.51.100.7"], "portal.example.com": ["9.9.9.9"]}
    return lambda: names_look([NAME])[0]


def test_the_port_that_answers_is_where_a_redirect_leads(reached: dict[str, object], look: Look) -> None:
    reached["schemes"] = {"http", "https"}
    assert look().target == Target("http://portal.example.com", proven=True)
    reached["schemes"] = {"https"}
    assert look().target == Target("https://portal.example.com", proven=True)


def test_a_portal_that_only_answers_elsewhere_is_warned_of(look: Look) -> None:
    target = look().target
    assert (target.base, target.proven) == ("http://portal.example.com", False)
    assert "Neither port 80 nor port 443 of portal.example.com answered" in target.trouble
    assert "these two ports only" in target.advice


@pytest.mark.parametrize(
    "case",
    [
        ("http://localhost:8000", [], "no other machine finds"),
        ("http://bench:8000", [], "no other machine finds"),
        ("http://portal.example.com", ["10.0.0.5"], "not on the Internet"),
        ("http://portal.example.com", [], "has no address in DNS"),
    ],
)
def test_a_portal_that_no_ca_finds_is_warned_of(
    settings: Settings, reached: dict[str, object], look: Look, case: tuple[str, list[str], str]
) -> None:
    settings.PUBLIC_URL, addresses, words = case
    reached["schemes"] = {"http", "https"}
    reached["addresses"] = {NAME: ["198.51.100.7"], "portal.example.com": addresses}
    target = look().target
    assert not target.proven
    assert words in target.trouble
    assert "let that server pass the path on" in target.advice


def test_whose_an_address_is(reached: dict[str, object], look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "local_addresses", lambda: ["198.51.100.1"])
    addresses = {NAME: ["198.51.100.1", "9.9.9.9", "198.51.100.7"], "portal.example.com": ["9.9.9.9"]}
    reached["addresses"] = addresses
    assert [place.whose for place in look().places] == [HERE, PORTAL, AWAY]


def test_a_name_without_an_address_says_so(reached: dict[str, object], look: Look) -> None:
    reached["addresses"] = {"portal.example.com": ["9.9.9.9"]}
    found = look()
    assert "has no address in DNS" in found.sentence
    assert (found.ok, found.level, found.redirects, found.proxies) == (False, Level.UNKNOWN, [], [])


def test_no_name_asks_nothing(db: None) -> None:
    assert names_look([]) == []
