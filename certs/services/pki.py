"""Where our own CAs publish: issuer, revocation list and OCSP, on plain HTTP (RFC 5280 §8, RFC 6960 appendix A).

The address stands in every certificate that they sign, so a person confirms it before the first one. Whatever Host a
client names, the paths answer: an earlier address goes on working as long as it leads to the portal.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max

from certs.domain.destinations import address_is_public
from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.names import is_address
from certs.domain.roles import Right
from certs.models import Authority
from certs.selectors import issued_living
from certs.services.access import Actor, needs
from certs.services.addresses import plain_url, url_parse
from certs.services.events import audit_record
from certs.services.pki_addresses import addresses_note
from certs.services.portal_state import state_get, state_lock, state_update
from certs.services.reachability import probe_answer, probe_token
from certs.transports.line import PROBE
from certs.transports.outbound import fetch
from portal import clock

ISSUER, CRL, OCSP = "/pki/aia/{}.cer", "/pki/crl/{}.crl", "/pki/ocsp/{}"
EXAMPLE = "http://pki.example.com"
_SECONDS = 5.0


@dataclass(frozen=True)
class PkiUrls:
    """Of one authority. They never change while the base URL does not."""

    issuer: str
    ocsp: str
    crl: str


@dataclass(frozen=True)
class PkiCheck:
    """What asking the address brought; `ok` is None where that could not be told."""

    ok: bool | None
    text: str


@dataclass(frozen=True)
class Living:
    """Certificates of our own CAs that are still valid."""

    count: int
    until: datetime | None


def pki_base_url() -> str:
    """http://host[:port]; "" where nobody has confirmed one. The environment wins over the page."""
    if settings.PKI_BASE_URL:
        return _given(settings.PKI_BASE_URL)
    state = state_get()
    return state.pki_base_url if state.pki_base_url_confirmed_at else ""


def pki_base_url_guess() -> str:
    """Plain HTTP of the portal, as other machines know it."""
    return plain_url()


def pki_base_url_required() -> str:
    """Raises NotAllowed (code "pki-base-url") while nobody has confirmed it."""
    url = pki_base_url()
    if not url:
        raise NotAllowed(
            "The address under which a CA publishes is not confirmed yet. It stands in every certificate that it "
            "signs.",
            advice="Confirm it under Configuration ➜ PKI addresses, or set BINDERY_PKI_BASE_URL.",
            code="pki-base-url",
        )
    return url


def pki_urls(authority: Authority) -> PkiUrls:
    """Raises NotAllowed as `pki_base_url_required`."""
    base = pki_base_url_required()
    return PkiUrls(*(base + path.format(authority.pk) for path in (ISSUER, OCSP, CRL)))


def pki_base_url_parse(text: str) -> str:
    """Raises InputError."""
    url = url_parse(text)
    if urlsplit(url).scheme != "http":
        raise InputError(
            "This address must begin with http://.",
            advice="Clients fetch lists and answers without TLS: what they need to judge a certificate must not hang "
            "on another one. Everything there is signed, and nothing is secret.",
            code="pki-https",
        )
    return url


def pki_base_url_warning(url: str) -> str:
    """What stands against an address for good, though it may be used; "" for nothing."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost") or (is_address(host) and host.startswith(("127.", "::1"))):
        return "Only this machine reaches that address: no other can ask whether a certificate was revoked."
    if is_address(host):
        kind = "public" if address_is_public(host) else "private"
        return f"It is a {kind} address, not a name: certificates hold it for years, and the machine could not move."
    if "." not in host:
        return "It is a name without a domain: only machines with the same search domain find it."
    return ""


@needs(Right.SETTING)
def pki_base_url_confirm(url: str, *, although_living: bool = False, actor: Actor) -> str:
    """Store it as http://host[:port]; from then on it stands in what is signed.

    Raises InputError; ConflictError where the environment decides, and (code "living") where certificates with another
    address are still valid, unless `although_living`: the earlier address has to go on leading here.
    """
    if settings.PKI_BASE_URL:
        raise ConflictError(
            "BINDERY_PKI_BASE_URL is set in the environment of the portal and decides this.",
            advice="Change or unset it and restart the portal.",
            code="locked",
        )
    wanted = pki_base_url_parse(url)
    with transaction.atomic():
        state_lock()
        before = pki_base_url()
        if wanted == before:
            return wanted
        living = certificates_living()
        if before and living.count and living.until and not although_living:
            raise ConflictError(
                f"{living.count} certificates that are still valid may hold {before}, the last until "
                f"{living.until:%Y-%m-%d}. Their clients go on asking there.",
                advice="Let that address lead to the portal until then, and confirm that you know this.",
                code="living",
            )
        for address in filter(None, [before, wanted]):
            addresses_note(address)
        state_update(pki_base_url=wanted, pki_base_url_confirmed_at=clock.now())
        audit_record(
            actor, "pki-base-url.confirm", wanted, before={"pki_base_url": before}, after={"pki_base_url": wanted}
        )
    return wanted


def certificates_living() -> Living:
    found = issued_living(clock.now()).aggregate(count=Count("pk"), until=Max("not_after"))
    return Living(found["count"], found["until"])


def pki_base_url_check(url: str) -> PkiCheck:
    """Ask that address for something that only this portal can say, without TLS and without following redirects.

    Seen from this machine: a network may look different from another one. Network, no transaction.
    """
    token = probe_token()
    try:
        answer = fetch(
            f"{url}/healthz?probe={token}",
            purpose=PROBE,
            allow_private=True,
            plain_http=True,
            whole=False,
            limit=4096,
            seconds=_SECONDS,
            proxied=False,
            version=settings.VERSION,
        )
    except BinderyError as error:
        return PkiCheck(None, f"Could not check from this machine. {error.message}")
    if answer.status in range(300, 400):
        return PkiCheck(
            False, f"{url} redirects. Most clients do not follow; let the paths below /pki/ pass without TLS."
        )
    try:
        said = json.loads(answer.body).get("probe")
    except (ValueError, AttributeError):
        said = None
    if said is None or said != probe_answer(token):
        return PkiCheck(False, f"Something else answers at {url} (status {answer.status}): not this portal.")
    return PkiCheck(True, f"This portal answers at {url}, seen from this machine.")


def _given(text: str) -> str:
    try:
        return pki_base_url_parse(text)
    except InputError as error:
        raise InputError(f"BINDERY_PKI_BASE_URL cannot be used. {error.message}", advice=error.advice) from error
