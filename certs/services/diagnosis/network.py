"""How this machine gets out: a proxy where one is set, and the resolvers."""

import os
import socket
import time
from collections.abc import Iterator

from cryptography.x509 import load_pem_x509_certificates
from django.conf import settings

from certs.domain.addresses import server_parse
from certs.domain.diagnosis import Line, Situation, bad, bad_for, fine, look, note, unknown
from certs.domain.errors import InputError
from certs.domain.proxies import Proxy, proxy_named, proxy_parse
from certs.transports.roots import system_file
from portal import clock

_SECONDS = 4.0


@look("network", seconds=12, database=False)
def proxy(situation: Situation) -> Iterator[Line]:
    """Whether the proxy that is set can be reached."""
    named = {scheme: proxy_named(scheme, os.environ) for scheme in ("https", "http")}
    asked: set[tuple[str, int]] = set()
    for variable, value in dict.fromkeys(each for each in named.values() if each[1]):
        try:
            found = proxy_parse(variable, value)
        except InputError as error:
            yield bad_for("proxy", error)
            continue
        if (found.host, found.port) not in asked:
            asked.add((found.host, found.port))
            yield _reached(found)
    if not any(value for _, value in named.values()):
        yield fine("proxy", "No proxy is set: CAs and webhooks are asked directly.")


def _reached(found: Proxy) -> Line:
    began = time.monotonic()
    try:
        socket.create_connection((found.host, found.port), timeout=_SECONDS).close()
    except OSError as error:
        mend = f"Correct or unset {found.variable} and restart the portal. NO_PROXY names what is asked without one."
        reason = error.strerror or str(error)
        return bad("proxy", f"The proxy {found} cannot be reached.", mend, evidence=reason)
    spent = (time.monotonic() - began) * 1000
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "nothing"
    return fine("proxy", f"The proxy {found} can be reached.", evidence=f"{spent:.0f} ms; asked directly: {spared}")


@look("network", seconds=8, database=False)
def resolvers(situation: Situation) -> Iterator[Line]:
    """Whether the resolvers of the settings answer on their port."""
    for text in settings.DNS_RESOLVERS:
        host, port = server_parse(text, 53)
        try:
            socket.create_connection((host, port), timeout=_SECONDS / 2).close()
        except OSError as error:
            mend = "Correct BINDERY_DNS_RESOLVERS, or open the way there."
            sentence = f"The resolver {text} takes no connection over TCP."
            yield note("resolvers", sentence, mend, evidence=error.strerror or str(error))
        else:
            yield fine("resolvers", f"The resolver {text} takes connections.")
    if not settings.DNS_RESOLVERS:
        yield _system_resolver()


def _system_resolver() -> Line:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as stream:
            servers = [line.split()[1] for line in stream if line.startswith("nameserver") and len(line.split()) > 1]
    except OSError as error:
        return unknown("resolvers", f"The system's resolvers are not known: {error.strerror}.")
    if servers:
        return fine("resolvers", "Names are resolved as the system does.", evidence=", ".join(servers))
    return note("resolvers", "The system names no resolver.", "Set one in /etc/resolv.conf, or BINDERY_DNS_RESOLVERS.")


@look("network", database=False)
def roots(situation: Situation) -> Iterator[Line]:
    """Whether the roots that are trusted can be read."""
    file = system_file()
    given = load_pem_x509_certificates(settings.CA_BUNDLE.encode()) if settings.CA_BUNDLE else []
    more = f", and {len(given)} by BINDERY_CA_BUNDLE" if given else ""
    expired = [each.subject.rfc4514_string() for each in given if each.not_valid_after_utc <= clock.now()]
    if not file.is_file():
        mend = "Install the package ca-certificates, or name a file of roots with SSL_CERT_FILE."
        yield bad("roots", "This machine has no roots of its own, so no CA can be trusted.", mend)
    elif expired:
        mend = "Take it out of BINDERY_CA_BUNDLE, and put its successor there."
        yield note("roots", "A root of BINDERY_CA_BUNDLE has expired.", mend, evidence="; ".join(expired))
    else:
        yield fine("roots", f"CAs are trusted by the roots of the system{more}.", evidence=str(file))
