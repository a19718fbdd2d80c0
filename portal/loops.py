"""Redirects to HTTPS that come back as plain HTTP: counted in the browser, so that they end with a page that says why.

Behind a front that ends TLS and does not say so, or says the wrong thing, the portal cannot see that a browser has
followed; without a count it would send it on for ever. A cookie of ten seconds holds how often it was sent.
"""

from collections.abc import Mapping

COOKIE = "bindery_redirected"
SECONDS = 10
MOST = 5  # somebody who asks for http:// again by hand is no loop


def count(cookies: Mapping[str, str]) -> int:
    """How often this browser was sent to HTTPS within the last seconds; what is no small number counts as none."""
    text = cookies.get(COOKIE, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) == 1 else 0


def cookie(sent: int) -> str:
    """The value of Set-Cookie for one that is being sent for the `sent`th time. Not Secure: plain HTTP must see it."""
    return f"{COOKIE}={sent}; Max-Age={SECONDS}; Path=/; HttpOnly; SameSite=Lax"
