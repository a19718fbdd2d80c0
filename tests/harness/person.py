"""What a person does on the pages, step by step, as the tests tell it."""

import re
from collections.abc import Sequence
from typing import Protocol

from playwright.sync_api import expect

from tests.harness.browser import Visitor
from tests.harness.portal import Portal

EMAIL = "alice@example.com"
PASSWORD = "correct-horse-battery"
LETS_ENCRYPT = "/configuration/lets-encrypt/"
# The whole way from Register to a proven certificate, with half of all nonces refused and a busy machine.
ISSUE_TIMEOUT = 90_000


class Directory(Protocol):
    """Pebble or Caddy."""

    directory_url: str

    @property
    def ca_bundle_pem(self) -> str: ...


def first_administrator(person: Visitor, portal: Portal, *, host: str = "127.0.0.1") -> None:
    """Through the one-time link, up to the welcome page; `host` is how the browser names the portal."""
    open_set_up(person, portal.setup_link().replace("127.0.0.1", host))


def open_set_up(person: Visitor, link: str) -> None:
    page = person.page
    person.go(link)
    person.shot("set-up")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    page.wait_for_url(re.compile(r"^https?://[^/]+/$"))


def log_in(person: Visitor, base: str, email: str = EMAIL, password: str = PASSWORD) -> None:
    page = person.page
    person.go(f"{base}/accounts/login/")
    page.fill("[name=login]", email)
    page.fill("[name=password]", password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/accounts/login" not in url)


def configure(person: Visitor, base: str) -> None:
    """From the summary by the button to the form."""
    person.go(base + LETS_ENCRYPT)
    person.shot("lets-encrypt-not-configured")
    person.page.get_by_role("link", name="Configure", exact=True).click()
    expect(person.page.locator("[name=dns_names]")).to_be_visible()


def fill_request(
    person: Visitor, *, directory_url: str, ca_bundle: str, names: Sequence[str], port: int | None = None
) -> None:
    """The form, with another directory on loopback; the terms are read from it before they are accepted."""
    page = person.page
    page.fill("[name=dns_names]", ", ".join(names))
    page.select_option("[name=directory]", "other")
    page.check("[name=allow_private_ca]")
    page.fill("[name=ca_bundle]", ca_bundle)
    page.fill("[name=directory_url]", directory_url)
    page.locator("[name=directory_url]").blur()
    page.fill("[name=email]", EMAIL)
    if port is not None:
        page.fill("[name=port]", str(port))
    expect(page.locator("#terms")).to_contain_text(re.compile("(Terms|names no terms) of service"), timeout=60_000)
    page.check("[name=accept_terms]")


def register(person: Visitor, *, anyway: bool) -> None:
    """Press Register; with `anyway` the page must first show that the names do not lead here, and ask."""
    page = person.page
    page.get_by_role("button", name="Register", exact=True).click()
    if anyway:
        button = page.get_by_role("button", name="Register anyway")
        expect(button).to_be_visible(timeout=30_000)
        person.shot("not-reached-from-outside")
        button.click()
    page.wait_for_url(f"**{LETS_ENCRYPT}")


def wait_for_certificate(person: Visitor) -> None:
    """The page shows the steps by itself, and at the end the certificate's facts."""
    expect(person.page.get_by_role("heading", name="HTTPS address")).to_be_visible(timeout=ISSUE_TIMEOUT)


def go_to_https(person: Visitor, address: str) -> None:
    """By the button the page offers: it takes the whole window there, logged in."""
    person.page.get_by_role("button", name=f"Go to {address}").click()
    person.page.wait_for_url(f"{address}/**", timeout=60_000)


def obtain(person: Visitor, base: str, ca: Directory, names: Sequence[str], *, anyway: bool = True) -> None:
    """The main job up to the issued and bound certificate. `anyway`: its own probe cannot resolve the names."""
    configure(person, base)
    fill_request(person, directory_url=ca.directory_url, ca_bundle=ca.ca_bundle_pem, names=names)
    person.shot("form")
    register(person, anyway=anyway)
    person.shot("under-way")
    wait_for_certificate(person)
    person.shot("done")
