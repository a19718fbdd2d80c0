"""Every page in real Chromium: light, dark, at 360 px, by keyboard and without scripts. Screenshots are kept."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from playwright.sync_api import Browser, Error, expect

from tests.harness import person as people
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.certbot_tree import CertbotTree
from tests.harness.need import need
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e

PATHS = (
    "/",
    "/certificates/",
    "/certificates/add/",
    "/certificates/csr/",
    "/certificates/deleted/",
    "/certificates/key-pair/",
    "/certificates/move/",
    "/certificates/self-signed/",
    "/authorities/",
    "/authorities/new/",
    "/authorities/import/",
    "/authorities/issue/",
    "/authorities/profiles/",
    "/authorities/profiles/new/",
    "/configuration/",
    "/configuration/lets-encrypt/",
    "/configuration/bindings/",
    "/configuration/https/",
    "/configuration/tls-in-front/",
    "/configuration/renewal/",
    "/configuration/store/",
    "/configuration/challenges/",
    "/configuration/challenges/new/",
    "/configuration/challenges/new/?kind=dns01_rfc2136",
    "/configuration/challenges/new/?kind=dns01_provider",
    "/configuration/on-demand/",
    "/configuration/export/",
    "/configuration/pki/",
    "/configuration/public-keys/",
    "/certificates/trust-store/",
    "/configuration/accounts/",
    "/configuration/accounts/new/",
    "/configuration/notifications/",
    "/configuration/take-over/",
    "/configuration/notifications/new/mail/",
    "/configuration/notifications/new/webhook/",
    "/activity/",
    "/activity/many/",
    "/activity/alarms/",
    "/activity/changes/",
    "/help/",
    "/go/",
    "/tokens/",
    "/configuration/people/",
    "/accounts/password/change/",
    "/nowhere/",
)
MODES = {"light": ("light", 1200), "dark": ("dark", 1200), "narrow": ("light", 360)}  # the system's setting, width


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def place(browser: Browser) -> Iterator[Portal]:
    """A portal whose administrator is Alice, with a self-signed certificate bound by her."""
    with Portal() as portal, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        page = alice.page
        alice.go(f"{portal.http_url}/certificates/self-signed/")
        page.fill("[name=names]", "portal.test, bücher.test")
        page.select_option("[name=key_type]", "ec-p256")
        page.get_by_role("button", name="Make it").click()
        page.get_by_role("button", name="Bind", exact=True).click()
        expect(page.locator("body")).to_contain_text("is bound: default")
        yield portal


_STOP = """(() => {
  const stop = document.activeElement, style = getComputedStyle(stop);
  return `${stop.tagName} ${stop.name || stop.innerText} outline: ${style.outlineStyle} ${style.outlineWidth}`;
})()"""


def _name(path: str) -> str:
    return path.strip("/").replace("/", "-").replace("?", "") or "home"


def _wide(person: Visitor) -> int:
    """Pixels that a person would have to scroll sideways."""
    return int(person.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.mark.parametrize("mode", MODES)
def test_every_page_keeps_to_the_policy_and_to_its_width(browser: Browser, place: Portal, mode: str) -> None:
    scheme, width = MODES[mode]
    with visitor(browser, f"{mode}-", color_scheme=scheme) as alice:
        alice.page.set_viewport_size({"width": width, "height": 800})
        people.log_in(alice, place.http_url)
        wide: dict[str, int] = {}
        for path in PATHS:
            alice.go(place.http_url + path)
            expect(alice.page.locator("h1")).to_have_count(1)
            alice.shot(_name(path))
            wide[path] = _wide(alice)
        assert max(wide.values()) <= 0, wide
        theme = alice.page.evaluate("document.documentElement.dataset.bsTheme")
        assert theme == scheme


def test_what_is_served_is_looked_up_and_shown_on_home(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        alice.go(f"{place.http_url}/")
        served = alice.page.locator("dl.facts", has_text="Served").first
        expect(served.locator(".state-ok", has_text="serves it")).to_be_visible(timeout=15_000)
        alice.shot("home")


def test_the_first_stop_of_the_keyboard_leads_past_the_navigation(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/help/")
        page.keyboard.press("Tab")
        expect(page.locator("a.skip")).to_be_focused()
        expect(page.locator("a.skip")).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.wait_for_url("**/help/#content")


@pytest.mark.parametrize(
    "path",
    [
        "/help/",
        "/configuration/lets-encrypt/configure/",
        "/certificates/add/",
        "/configuration/export/",
        "/configuration/challenges/new/?kind=dns01_rfc2136",
    ],
)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_stop_of_the_keyboard_is_seen(browser: Browser, place: Portal, path: str, mode: str) -> None:
    with visitor(browser, color_scheme=mode) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}{path}")
        page.evaluate("document.querySelectorAll('main details').forEach(each => each.open = true)")
        stops = []
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement === document.body"):
                break  # past the last stop
            stops.append(page.evaluate(_STOP))
        assert len(stops) > 5
        assert not [each for each in stops if "outline: solid 3px" not in each]


def test_the_keyboard_stays_on_the_button_that_looks_first(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        alice.go(f"{place.http_url}/configuration/lets-encrypt/configure/")
        button = alice.page.get_by_role("button", name="Check first", exact=True)
        button.focus()
        alice.page.keyboard.press("Enter")
        expect(alice.page.locator("#findings")).not_to_be_empty()
        expect(button).to_be_focused()


def test_the_account_menu_opens_and_logs_out_by_keyboard(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        alice.page.locator("details.account > summary").focus()
        alice.page.keyboard.press("Enter")
        alice.shot("menu")
        alice.page.get_by_role("button", name="Log out").press("Enter")
        alice.page.wait_for_url("**/accounts/login/**")
        alice.go(f"{place.http_url}/help/")
        assert "/accounts/login/" in alice.page.url


def test_it_works_without_scripts(browser: Browser, place: Portal) -> None:
    with visitor(browser, java_script_enabled=False) as alice:
        people.log_in(alice, place.http_url)
        alice.go(f"{place.http_url}/certificates/?q=bücher&state=valid")
        alice.page.get_by_role("link", name="portal.test").click()
        alice.page.get_by_role("link", name="Check now").click()
        expect(alice.page.locator("body")).to_contain_text("serves it")


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=pytest.mark.proof)], ids=["scripts", "no-scripts"])
def test_many_certificates_are_ticked_looked_at_and_tagged(browser: Browser, place: Portal, scripts: bool) -> None:
    with visitor(browser, "" if scripts else "plain-", java_script_enabled=scripts) as alice:
        people.log_in(alice, place.http_url)
        page, tag = alice.page, f"tagged-{scripts}".lower()
        alice.go(f"{place.http_url}/certificates/?q=portal.test")
        page.get_by_role("checkbox", name="Tick portal.test").check()
        if scripts:
            expect(page.locator("[data-ticked]")).to_have_text(" (1)")
        page.get_by_role("button", name="Change tags").press("Enter")
        page.fill("[name=add]", tag)
        page.get_by_role("button", name="Show what would happen").click()
        expect(page.locator("body")).to_contain_text("Its tags would be:")
        alice.shot("many")
        page.get_by_role("button", name="Change the tags of 1 certificate").click()
        expect(page.locator("body")).to_contain_text("1 of 1: 1 done, 0 refused.")
        alice.go(f"{place.http_url}/certificates/?tag={tag}")
        expect(page.get_by_role("link", name="portal.test")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_person_takes_a_key_store_and_a_service_reads_the_public_key(
    browser: Browser, place: Portal, scripts: bool
) -> None:
    with visitor(browser, java_script_enabled=scripts) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/certificates/?q=bücher&state=valid")
        page.get_by_role("link", name="portal.test").click()
        here = page.url
        if page.get_by_role("button", name="Expose its public key").is_visible():
            page.get_by_role("button", name="Expose its public key").click()
        expect(page.locator("#export").locator("..")).to_contain_text("Its public key is in /.well-known/jwks.json")
        alice.shot("certificate")
        page.get_by_role("link", name="Export", exact=True).click()
        page.locator("#pkcs12 > summary").click()
        password = page.locator("#pkcs12-suggestion").input_value()
        page.locator("#pkcs12-use_suggested").check()
        alice.shot("export")
        with page.expect_download() as coming:
            page.get_by_role("button", name="Download PKCS#12 (.p12, .pfx)").click()
        assert coming.value.suggested_filename == "portal.test.p12"
        store = pkcs12.load_pkcs12(Path(coming.value.path()).read_bytes(), password.encode())
        if scripts:
            _look_closely(alice, here)
    told = jwt.PyJWKClient(f"{place.http_url}/.well-known/jwks.json")
    (key,) = told.get_signing_keys()
    token = jwt.encode({"sub": "somebody"}, store.key, algorithm="ES256", headers={"kid": key.key_id})  # type: ignore[arg-type]
    found = told.get_signing_key_from_jwt(token)
    assert jwt.decode(token, found.key, algorithms=[found.algorithm_name]) == {"sub": "somebody"}


def _look_closely(alice: Visitor, here: str) -> None:
    """Everything unfolded, wide and narrow."""
    for path in ("export/", "snippets/"):
        alice.go(here + path)
        alice.page.evaluate("document.querySelectorAll('main details').forEach(each => each.open = true)")
        for width in (1200, 360):
            alice.page.set_viewport_size({"width": width, "height": 800})
            alice.shot(f"{path.strip('/')}-{width}")
            assert _wide(alice) <= 0


def test_a_log_in_over_https_leaves_the_one_over_http_alone(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        for base in (place.https_url, place.http_url):
            people.log_in(alice, base)
        for base in (place.http_url, place.https_url):
            alice.go(f"{base}/help/")
            expect(alice.page.locator("h1")).to_have_text("Help")
        names = {cookie["name"]: cookie["secure"] for cookie in alice.context.cookies()}
        assert names["__Host-bindery_session"] is True
        assert names["bindery_session"] is False


def test_the_way_to_https_takes_the_session_along(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        alice.go(f"{place.http_url}/go/")
        expect(alice.page.locator("body")).to_contain_text("will warn")
        alice.page.get_by_role("button", name="Go there").click()
        alice.page.wait_for_url(f"{place.https_url}/")
        expect(alice.page.locator("body")).to_contain_text("This connection uses TLS")


def test_a_form_pressed_twice_is_sent_once(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        people.log_in(alice, place.http_url)
        page = alice.page
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        alice.go(f"{place.http_url}/certificates/self-signed/")
        page.fill("[name=names]", "twice.test")
        page.get_by_role("button", name="Make it").dblclick()
        page.wait_for_url(lambda url: "self-signed" not in url)
        assert len(sent) == 1


def test_an_unknown_host_gets_a_page_with_its_looks(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        alice.go(f"http://unknown.test:{place.http_port}/")
        expect(alice.page.locator("body")).to_contain_text("manage.py allow_host unknown.test")
        alice.shot("unknown-host")
        assert alice.page.evaluate("getComputedStyle(document.querySelector('.panel')).borderTopStyle") == "solid"


def test_scripts_of_others_are_stopped_by_the_policy(browser: Browser, place: Portal) -> None:
    with visitor(browser) as alice:
        alice.watch.allow("Content Security Policy|CSP violation")
        people.log_in(alice, place.http_url)
        alice.go(f"{place.http_url}/help/")
        with pytest.raises(Error):
            alice.page.add_script_tag(content="window.got = 1")
        assert alice.page.evaluate("window.got === undefined")


@pytest.mark.parametrize("width", [1200, 360])
def test_certbots_certificates_are_taken_over_from_an_archive(
    browser: Browser, place: Portal, tmp_path: Path, width: int
) -> None:
    tree = CertbotTree(tmp_path / "letsencrypt")
    tree.account()
    params = "authenticator = webroot\nwebroot_path = /var/www/html\nrenew_hook = systemctl reload nginx"
    tree.lineage(f"shop{width}", ["shop.example.com", "www.shop.example.com"], versions=2, params=params)
    tree.lineage(f"wild{width}", ["*.example.com"], params="authenticator = dns-route53")
    with tarfile.open(tmp_path / "letsencrypt.tar.gz", "w:gz") as archive:
        archive.add(tree.home, arcname="letsencrypt")
    with visitor(browser, f"{width}-") as alice:
        alice.page.set_viewport_size({"width": width, "height": 900})
        people.log_in(alice, place.http_url)
        page = alice.page
        alice.go(f"{place.http_url}/certificates/add/")
        page.get_by_role("link", name="Take everything over").click()
        page.set_input_files("[name=archive]", tmp_path / "letsencrypt.tar.gz")
        page.get_by_role("button", name="Look at it").click()
        expect(page.locator("h1")).to_have_text("What would be taken from certbot")
        alice.shot("certbot-preview")
        assert _wide(alice) <= 0
        page.get_by_role("button", name="Take it over").click()
        expect(page.locator("h1")).to_have_text("Taken over from certbot")
        alice.shot("certbot-taken")
        assert _wide(alice) <= 0
        alice.go(f"{place.http_url}/certificates/?q=shop{width}")
        page.get_by_role("link", name=f"shop{width}").click()
        expect(page.locator("body")).to_contain_text("webroot /var/www/html (from certbot)")
        alice.shot("certbot-certificate")
