"""Debian's Chromium, driven by playwright; a page that fails its test on anything a person should never meet.

Names under .test lead to loopback. The portal's certificates are not trusted here, as in a browser that warns.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect, sync_playwright

from tests.harness import counterparts
from tests.harness.artifacts import artifact

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,OptimizationHints,Translate",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
]
# A machine that does four other things answers late; only a failure takes so long.
PATIENCE_MILLISECONDS = 30_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)
# Chromium reports as errors of the console: each refused request, and headers that plain HTTP cannot use.
_HARMLESS = re.compile(
    r"Failed to load resource: the server responded with a status of [34]\d\d"
    r"|The Cross-Origin-Opener-Policy header has been ignored"
)


class Trouble(AssertionError):
    """What the browser complained of while a test used a page."""


class Watch:
    """Collects violations of the content security policy, errors of scripts and the console, and 5xx answers."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.allowed: list[re.Pattern[str]] = []
        self.navigations: list[str] = []

    def allow(self, pattern: str) -> None:
        """For a test that provokes a trouble on purpose."""
        self.allowed.append(re.compile(pattern))

    def attach(self, context: BrowserContext) -> None:
        # Fires for every policy, also report-only ones, before the console line.
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error("
            "`CSP violation: ${e.violatedDirective} blocked ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));"
        )
        context.on("page", self._watch)
        context.on("response", self._response)

    def check(self) -> None:
        """Raises Trouble with all that was seen and not allowed."""
        seen = [each for each in self.troubles if not any(pattern.search(each) for pattern in self.allowed)]
        if seen:
            raise Trouble("\n".join(seen))

    def _watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.troubles.append(f"script error on {page.url}: {error}"))
        page.on("framenavigated", lambda frame: self.navigations.append(frame.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _HARMLESS.search(message.text):
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _response(self, response: Response) -> None:
        if response.status >= 500 and "/readyz" not in response.url and "/statusz" not in response.url:
            self.troubles.append(f"{response.status} from {response.request.method} {response.url}")


class Visitor:
    """A person with a browser of their own: one context, one page, a numbered screenshot per step."""

    def __init__(self, context: BrowserContext, watch: Watch, label: str) -> None:
        self.context = context
        self.page = context.new_page()
        self.watch = watch
        self._label = label
        self._count = 0

    def shot(self, name: str, *, whole: bool = "WHOLE_PAGES" in os.environ) -> None:
        """What is seen without scrolling, unless `whole`: that takes several times as long."""
        self._count += 1
        self.page.screenshot(path=artifact(f"{self._label}{self._count:02}-{name}.png"), full_page=whole)

    def go(self, url: str) -> Response | None:
        return self.page.goto(url, wait_until="load")

    def text(self) -> str:
        return self.page.locator("body").inner_text()


@contextmanager
def chromium(**options: Any) -> Iterator[Browser]:
    """Raises counterparts.Missing where there is none."""
    program = counterparts.find("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*ARGUMENTS, *options.pop("args", [])], **options
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visitor(browser: Browser, label: str = "", **options: Any) -> Iterator[Visitor]:
    """At the end the test fails on whatever the watch saw; a screenshot is kept of a page that failed."""
    watch = Watch()
    usual = {"ignore_https_errors": True, "viewport": {"width": 1200, "height": 850}}
    context = browser.new_context(**{**usual, **options})
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    watch.attach(context)
    person = Visitor(context, watch, label)
    try:
        yield person
    except BaseException:
        try:
            person.shot("failed", whole=True)
            artifact("failed.html").write_text(person.page.content())
            artifact("browser.txt").write_text("\n".join([*watch.troubles, "", *watch.navigations]))
        except Exception as error:  # the failure itself matters, not that its picture could not be taken
            print(f"no screenshot: {error}")
        raise
    finally:
        context.close()
    watch.check()
