"""Run by test_front.py in a private network: portal.test leads to loopback, where a real web server has ports 80 and
443 and hands everything on to the portal, by the very text that the portal shows for it."""

import subprocess
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import urllib3
from playwright.sync_api import expect
from requests.adapters import HTTPAdapter

from tests.harness import person as people
from tests.harness import pki
from tests.harness.apache import Apache
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.daemon import Daemon
from tests.harness.haproxy import Haproxy
from tests.harness.namespace import is_inside
from tests.harness.nginx import Nginx
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

NAME = "portal.test"
PLAIN, SECURE = f"http://{NAME}", f"https://{NAME}"
PAGE = "/configuration/tls-in-front/"
HTTPS_PAGE = "/configuration/https/"
LOGIN = "/accounts/login/"
HSTS = "Strict-Transport-Security"
CLIENT = "127.0.0.9"  # from where requests of their own come, so that they are not the proxy's address
SPOOFED = {
    "X-Forwarded-For": "198.51.100.4",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example.net",
    "Forwarded": "for=198.51.100.4;proto=https;host=evil.example.net",
    "X-Real-IP": "198.51.100.4",
}
SERVERS: dict[str, Callable[[str], AbstractContextManager[Daemon]]] = {
    "nginx": Nginx,
    "apache": Apache,
    "haproxy": lambda text: Haproxy(text, port=443),
}

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_front.py in a namespace of its own")


@pytest.fixture(autouse=True)
def own_files() -> None:
    """What the texts name below /etc/ssl is this namespace's own."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/ssl"], check=True)
    pair = pki.leaf(pki.authority("What was there before"), [NAME])
    directory = Path("/etc/ssl") / NAME
    directory.mkdir()
    (directory / "fullchain.pem").write_text(pair.pem)
    (directory / "privkey.pem").write_text(pair.key_pem)
    _combine(directory)


@pytest.mark.parametrize("kind", SERVERS)
def test_the_portal_behind_a_front(kind: str, tmp_path: Path) -> None:
    roots = tmp_path / "public-roots.pem"
    environment = {"BINDERY_PUBLIC_ROOTS": str(roots), "BINDERY_LOG_LEVEL": "debug"}
    with (
        Pebble(http_port=80, tls_port=443) as pebble,
        Portal(probe_port=80, environment=environment) as portal,
        chromium() as browser,
        visitor(browser, f"{kind}-") as alice,
    ):
        roots.write_text(pebble.root_pem())
        if kind == "nginx":
            people.first_administrator(alice, portal)
            _public_url(alice, portal)
            texts = _texts(alice, portal.http_url)
        else:
            texts = _guessed(portal)
        with SERVERS[kind](texts[kind]):
            if kind != "nginx":
                _set_up_through_the_front(alice, portal)
                assert texts == _texts(alice, SECURE)
            _believe(alice)
            _register(alice, pebble)
            place = _export(portal)
            texts = _texts(alice, SECURE)
        assert str(place) in texts[kind if kind != "haproxy" else "nginx"]  # HAProxy has it in the words beside
        _combine(place)
        with SERVERS[kind](texts[kind]):
            _serves_ours(alice)
            _force(alice)
            _hsts(alice)
            _holds(portal)
            _off_and_back(alice, portal)
        for other in SERVERS if kind == "nginx" else ():
            again = texts[other].replace(f"http://127.0.0.1:{portal.http_port}", portal.https_url)
            with SERVERS[other](texts[other] if other != "nginx" else _encrypted_again(again)):
                _holds(portal)
        _goes_wrong(portal, texts["nginx"])
        portal.manage("break_glass")
        wait_until(lambda: portal.get(LOGIN).status_code == 200, timeout=8, what="plain HTTP after break_glass")
        assert "TLS in front is off" in portal.manage("tls_in_front").stdout


def _public_url(alice: Visitor, portal: Portal) -> None:
    alice.go(f"{portal.http_url}/configuration/")
    alice.page.fill("[name=public_url]", SECURE)
    alice.page.locator("#addresses").get_by_role("button", name="Save").click()
    expect(alice.page.locator("body")).to_contain_text(f"The public URL is {SECURE}")


def _guessed(portal: Portal) -> dict[str, str]:
    """What the page is going to show, for who has the front before the portal."""
    return portal.run(f"""
from certs.domain.fronts import fronts_filled
files = {{"certificate": "/etc/ssl/{NAME}/fullchain.pem", "key": "/etc/ssl/{NAME}/privkey.pem"}}
found = fronts_filled(name="{NAME}", upstream="127.0.0.1:{portal.http_port}", **files)
result = {{recipe.server.key: recipe.text for recipe in found if recipe.tried}}
""")


def _set_up_through_the_front(alice: Visitor, portal: Portal) -> None:
    """Nothing is set and nobody is believed: the form is taken all the same, and the address is that of the browser."""
    page = alice.page
    alice.go(portal.setup_link().replace(portal.http_url, SECURE))
    assert page.input_value("[name=public_url]") == SECURE
    page.fill("[name=email]", people.EMAIL)
    page.fill("[name=password]", people.PASSWORD)
    page.fill("[name=again]", people.PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    page.wait_for_url(f"{SECURE}/")
    alice.shot("set-up-through-the-front")


def _texts(alice: Visitor, base: str) -> dict[str, str]:
    """By server, as the page shows them now."""
    alice.go(base + PAGE)
    alice.page.locator("section[aria-labelledby=whole] summary").first.click()
    alice.shot("snippets")
    whole = alice.page.locator("section[aria-labelledby=whole]")
    return {key: whole.locator(f"[data-recipe=proxy-{key}] textarea").input_value() for key in SERVERS}


def _believe(alice: Visitor) -> None:
    """The person logs in through a front that is not believed yet, and the page offers to."""
    page = alice.page
    if not alice.context.cookies(SECURE):
        people.log_in(alice, SECURE)
    alice.go(SECURE + "/certificates/")
    alice.shot("noticed")
    page.get_by_role("button", name="Believe 127.0.0.1").click()
    page.wait_for_url(SECURE + PAGE)
    expect(page.locator("body")).to_contain_text("On trial")
    expect(page.locator("body")).to_contain_text("came through a listed proxy")
    alice.shot("on-trial")
    assert {cookie["name"] for cookie in alice.context.cookies(SECURE)} >= {"__Host-bindery_session"}
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("body")).to_contain_text("what the listed proxies say is believed")
    expect(page.locator("#served + div")).to_contain_text("serves a certificate of which browsers warn")
    page.set_viewport_size({"width": 360, "height": 740})
    alice.shot("narrow")
    page.set_viewport_size({"width": 1200, "height": 850})
    alice.go(SECURE + "/configuration/bindings/")
    expect(page.locator("body")).to_contain_text("they are not changed here")
    alice.shot("bindings")


def _register(alice: Visitor, pebble: Pebble) -> None:
    page = alice.page
    people.configure(alice, SECURE)
    expect(page.locator("[name=port]")).to_have_count(0)
    people.fill_request(alice, directory_url=pebble.directory_url, ca_bundle=pebble.ca_bundle_pem, names=[NAME])
    alice.shot("form")
    people.register(alice, anyway=False)  # the portal's own probe comes back through the front
    people.wait_for_certificate(alice)
    expect(page.locator("body")).to_contain_text("serves another certificate")
    alice.shot("issued")


def _export(portal: Portal) -> Path:
    portal.manage("export_certificates", "--on")
    place = portal.home / "acme" / NAME / "current"
    wait_until((place / "privkey.pem").exists, timeout=20, what="the exported files")
    portal.home.chmod(0o711)
    return place


def _serves_ours(alice: Visitor) -> None:
    alice.go(SECURE + PAGE)
    expect(alice.page.locator("#served + div")).to_contain_text(f"{SECURE} serves {NAME}")
    alice.shot("serves-ours")
    alice.go(SECURE + people.LETS_ENCRYPT)
    expect(alice.page.locator("body")).to_contain_text(f"seen from this server: {SECURE} serves {NAME}")


def _force(alice: Visitor) -> None:
    page = alice.page
    alice.go(SECURE + HTTPS_PAGE)
    page.get_by_role("button", name="Switch Force SSL on").click()
    expect(page.locator("body")).to_contain_text("On trial")
    alice.go(PLAIN + HTTPS_PAGE)
    assert page.url == SECURE + HTTPS_PAGE
    page.get_by_role("button", name="Keep Force SSL").click()
    expect(page.locator("body")).to_contain_text("Force SSL is on")


def _hsts(alice: Visitor) -> None:
    alice.go(SECURE + HTTPS_PAGE)
    alice.shot("https")
    alice.page.get_by_role("button", name="Switch HSTS on").click()
    expect(alice.page.locator("body")).to_contain_text("max-age=300")
    # Each process follows within a second.
    wait_until(lambda: all(HSTS in _ask(SECURE + LOGIN).headers for _ in range(8)), timeout=8, what="the header")


def _holds(portal: Portal) -> None:
    """What must be so behind every front, asked by a client of an address of its own that lies in each header."""
    wait_until(lambda: _ask(SECURE + LOGIN).status_code == 200, timeout=10, what="the page through the front")
    for headers in ({}, SPOOFED):
        secure = _ask(SECURE + LOGIN, **headers)
        assert secure.status_code == 200
        assert secure.raw.headers.getlist(HSTS) == ["max-age=300"]
        assert "__Host-bindery_csrf" in secure.headers["Set-Cookie"]
        plain = _ask(PLAIN + LOGIN, **headers)
        assert (plain.status_code, plain.headers["Location"]) == (307, SECURE + LOGIN)
        assert _ask(PLAIN + "/healthz", **headers).status_code == 200
    before = len(portal.log)
    assert _ask(SECURE + "/help/?seen", **SPOOFED).status_code == 302
    wait_until(lambda: f"source={CLIENT}" in portal.log[before:], timeout=5, what="the line of the log")
    line = next(line for line in portal.log[before:].splitlines() if "/help/" in line and "source=" in line)
    assert f"source={CLIENT}" in line
    assert f"host={NAME}" in line
    assert "scheme=https" in line
    # The same words from somebody who is no proxy, straight to the portal.
    direct = _ask(portal.http_url + LOGIN, **{**SPOOFED, "Host": NAME})
    assert (direct.status_code, direct.headers["Location"]) == (307, SECURE + LOGIN)


def _off_and_back(alice: Visitor, portal: Portal) -> None:
    """Switched off from behind the front, with Force SSL on: no circle, and it comes back by itself."""
    page = alice.page
    alice.watch.allow("status of 400")
    alice.go(SECURE + PAGE)
    page.uncheck("[name=on]")
    page.get_by_role("button", name="Save and try").click()
    expect(page.locator("h1")).to_contain_text("The portal cannot see that you use HTTPS")
    alice.shot("no-circle")
    assert _ask(SECURE + LOGIN).status_code == 307
    portal.move_clock(timedelta(minutes=6))
    wait_until(lambda: _ask(SECURE + LOGIN).status_code == 200, timeout=10, what="the way back")
    portal.move_clock(0)
    portal.run("from certs.services.front import front_tidy\nfront_tidy()")
    portal.manage("tls_in_front", "--on")


def _goes_wrong(portal: Portal, text: str) -> None:
    """A front that speaks plain HTTP to the HTTPS port is told so, instead of its browsers going in circles."""
    wrong = text.replace(f"http://127.0.0.1:{portal.http_port}", f"http://127.0.0.1:{portal.https_port}")
    with Nginx(wrong):
        answer = _ask(SECURE + LOGIN)
        assert answer.status_code == 502
        assert "speaks plain HTTP to its HTTPS port" in answer.text


def _encrypted_again(text: str) -> str:
    """nginx asks the HTTPS port then; it verifies nothing unless told to."""
    assert "proxy_pass https://" in text
    return text


def _combine(directory: Path) -> None:
    """As the words beside the lines for HAProxy say."""
    both = (directory / "fullchain.pem").read_text() + (directory / "privkey.pem").read_text()
    (Path("/etc/ssl") / f"{NAME}.pem").write_text(both)


class _From(HTTPAdapter):
    """Requests that come from CLIENT."""

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, source_address=(CLIENT, 0), **kwargs)  # type: ignore[arg-type]


def _ask(url: str, **headers: str) -> requests.Response:
    with warnings.catch_warnings(), requests.Session() as session:
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        for scheme in ("http://", "https://"):
            session.mount(scheme, _From())
        return session.get(url, headers=headers, verify=False, allow_redirects=False, timeout=10)
