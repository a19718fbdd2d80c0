"""The address by which people reach the portal: what it is, who answers there, and with which certificate."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate
from django.conf import settings

from certs.domain.certinfo import certificate_info, covers
from certs.domain.diagnosis import Line, Situation, bad, bad_for, fine, look, note, unknown
from certs.domain.errors import InputError
from certs.domain.names import is_address
from certs.services.addresses import LOOPBACK, public_url
from certs.services.handshakes import client_refusal, leaf_seen
from certs.services.portal_state import state_get
from certs.services.self_probe import portal_asked
from certs.services.trust import roots_file
from portal import clock

_SET = "Type it under Configuration ➜ Public URL, or set BINDERY_PUBLIC_URL."


def _is_given() -> bool:
    return bool(settings.PUBLIC_URL or state_get().public_url)


@look("public-url")
def public_address(situation: Situation) -> Iterator[Line]:
    """Whether the portal knows the address by which people reach it."""
    try:
        url = public_url()
    except InputError as error:
        yield bad_for("public-address", error)
        return
    host = urlsplit(url).hostname or ""
    if not _is_given():
        yield note("public-address", f"The public URL is a guess: {url}. Links are built from it.", _SET)
    elif host in LOOPBACK:
        sentence = f"The public URL is {url}, which leads everybody to their own machine."
        yield note("public-address", sentence, _SET)
    else:
        source = "BINDERY_PUBLIC_URL" if settings.PUBLIC_URL else "set on the page"
        yield fine("public-address", f"The public URL is {url}.", evidence=source)


@look("public-url", seconds=8)
def public_answer(situation: Situation) -> Iterator[Line]:
    """Whether the public URL leads to this portal, as seen from this server."""
    if not _is_given():
        return
    url = public_url()
    asked = portal_asked(url, seconds=6)
    seen = f"GET {url}/healthz from this server"
    if asked.ok:
        yield fine("public-answer", f"{url} leads to this portal, as seen from this server.", evidence=seen)
    elif asked.ok is None:
        mend = (
            "If this server cannot reach its own public address (many routers do not allow it), this says nothing; "
            "the browser's line tells more. Else: does the name lead here, is the port forwarded?"
        )
        yield unknown("public-answer", f"Nothing answered this server at {url}.", mend, evidence=asked.detail)
    else:
        mend = "Correct the DNS record, the port forward or the web server in front, or the public URL."
        yield bad("public-answer", f"{url} does not lead to this portal.", mend, evidence=f"{seen}: {asked.detail}")


@look("public-url", seconds=8)
def public_certificate(situation: Situation) -> Iterator[Line]:
    """Whether the certificate at the public URL is for its name, in time and trusted."""
    parts = urlsplit(public_url())
    if not _is_given() or parts.scheme != "https":
        return
    host = parts.hostname or ""
    port = parts.port or 443
    info = certificate_info(load_der_x509_certificate(leaf_seen(host, port, "" if is_address(host) else host, 4)))
    evidence = f"for {', '.join(info.names[:5]) or 'no name'}, until {info.not_after:%Y-%m-%d %H:%M} UTC, {info.issuer}"
    now = clock.now()
    if not covers(info.names, host):
        mend = f"Bind a certificate for {host}: Configuration ➜ Let's Encrypt orders one, Bindings chooses one."
        yield bad(
            "public-certificate", f"The certificate shown at {host} is not for that name.", mend, evidence=evidence
        )
    elif info.not_after <= now:
        mend = "Open it under Certificates: it says why it was not renewed."
        yield bad("public-certificate", f"The certificate shown at {host} has expired.", mend, evidence=evidence)
    elif info.not_before > now:
        mend = "Look at this server's clock."
        yield bad("public-certificate", f"The certificate shown at {host} is not valid yet.", mend, evidence=evidence)
    elif reason := client_refusal(host, port, roots_file(), 3):
        sentence = f"Browsers warn at {host}, unless they know the CA of its certificate: {reason}."
        mend = "Order one from a public CA, or install your CA's root in the browsers."
        yield note("public-certificate", sentence, mend, evidence=evidence)
    else:
        yield fine("public-certificate", f"The certificate shown at {host} is for it and trusted.", evidence=evidence)
