"""Under which names and addresses the portal answers, and the address that its links carry."""

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from certs.domain.addresses import EVERY_ADDRESS, address_is_any
from certs.domain.errors import InputError
from certs.domain.names import NameRules, is_address, name_covers, name_parse
from certs.domain.roles import Right
from certs.models import Binding, PortalState
from certs.services.access import Actor, needs
from certs.services.container import addresses_are_published
from certs.services.events import audit_record
from certs.services.front import front_is_on
from certs.services.listeners import listener_answering, local_addresses
from certs.services.portal_state import state_get, state_update
from certs.transports.local import machine_name

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST_RULES = NameRules(dotless=True, address=True)
# For all addresses of a family: its wildcard, and an address of documentation (RFC 5737, RFC 3849) far away.
_FAMILIES = (
    ("0.0.0.0", socket.AF_INET, "198.51.100.1"),
    ("::", socket.AF_INET6, "2001:db8::1"),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def public_url() -> str:
    """scheme://host[:port], no path: what links are built from. The environment wins over what the page confirmed."""
    return public_url_given(settings.PUBLIC_URL) or state_get().public_url or _guess()


@lru_cache(maxsize=8)
def public_url_given(text: str) -> str:
    """What BINDERY_PUBLIC_URL says, in the form in which origins are compared. Raises InputError naming it."""
    if not text:
        return ""
    try:
        return url_parse(text)
    except InputError as error:
        raise InputError(f"BINDERY_PUBLIC_URL cannot be used. {error.message}", advice=error.advice) from error


def https_url(host: str | None = None) -> str:
    """https://name[:port] of this portal, 443 left out; the host of the public URL where none is given.

    Where the public URL is https for the same host, its port is the one people reach (a forwarded port, say); where
    the ports of a container are published, or TLS ends in front, for every host.
    """
    public = urlsplit(public_url())
    wanted = host or public.hostname or _fqdn()
    if public.scheme == "https" and (public.hostname == wanted or _listener_is_hidden()):
        return url_make("https", wanted, public.port)
    return url_make("https", wanted, listener_answering("https").port)


def _listener_is_hidden() -> bool:
    """Whether people never meet the port that the portal listens on, whatever name they use."""
    return bool(settings.PUBLIC_URL and addresses_are_published()) or front_is_on()


def plain_url(host: str = "") -> str:
    """http://name[:port] of this portal, 80 left out; the host of the public URL where none is given.

    Where people reach HTTPS on another port than the listener's, plain HTTP is taken to be forwarded from port 80.
    """
    public = urlsplit(public_url())
    wanted = host or public.hostname or _fqdn()
    if public.scheme == "http" and public.hostname == wanted:
        return url_make("http", wanted, public.port)
    forwarded = ports_are_forwarded() or front_is_on()
    return url_make("http", wanted, None if forwarded else listener_answering("http").port)


def ports_are_forwarded() -> bool:
    """Whether the public URL leads to another port than the listener's."""
    public = urlsplit(public_url())
    return public.scheme == "https" and (public.port or 443) != listener_answering("https").port


def https_host() -> str:
    """The host that `https_url` names when none is asked for."""
    return urlsplit(https_url()).hostname or ""


def host_of(names: Sequence[str]) -> str:
    """The first of a certificate's names that a browser can go to. A wildcard is no address: where there is nothing
    else, the public URL's host if the wildcard covers it, or ""."""
    plain = next((name for name in names if not name.startswith("*.")), "")
    if plain or not names:
        return plain
    host = https_host()
    return host if any(name_covers(name, host) for name in names) else ""


def url_make(scheme: str, host: str, port: int | None = None) -> str:
    """The scheme's own port is left out, an IPv6 address is put in brackets."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{shown}:{port}"


def url_parse(text: str) -> str:
    """scheme://host[:port] in its plain form. Raises InputError with a sentence that says what to type."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise InputError(f"“{text}” is not an address.", advice="Type it like https://portal.example.com.") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InputError(
            f"“{text}” is not a web address.", advice="Type it with http:// or https://, as the browser shows it."
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise InputError(
            "The address has more than scheme, name and port.", advice="Leave out what follows the name or the port."
        )
    return url_make(parts.scheme, host_parse(parts.hostname), port)


def host_normalize(header: str) -> str:
    """The host of a Host header in lower case, without port, brackets and trailing dot; empty when it is none."""
    if not (header.isascii() and header.isprintable()):
        return ""
    try:
        parts = urlsplit(f"//{header}")
        host, _port = parts.hostname, parts.port  # reading the port refuses one that is no number
    except ValueError:
        return ""
    more = parts.path or parts.username or parts.query or parts.fragment
    return "" if more else (host or "").lower().rstrip(".")


def accepted_hosts() -> frozenset[str]:
    """Names and addresses under which pages are shown; a name may be a wildcard such as *.example.com."""
    bound = Binding.objects.filter(certificate__current__isnull=False).values_list(
        "certificate__current__names", flat=True
    )
    return frozenset(
        {
            *LOOPBACK,
            *local_addresses(),
            socket.gethostname().lower(),
            _fqdn(),
            urlsplit(public_url()).hostname or "",
            *(name for names in bound for name in names),
            *(host.lower() for host in settings.EXTRA_HOSTS),
            *state_get().extra_hosts,
        }
    ) - {""}


def host_is_accepted(host: str, accepted: frozenset[str] | None = None) -> bool:
    """`host` as `host_normalize` gives it; `accepted` where the caller keeps the set for a moment."""
    known = accepted_hosts() if accepted is None else accepted
    if not host:
        return False
    return host in known or "*" in known or any(name_covers(name, host) for name in known if name.startswith("*."))


def host_parse(name: str) -> str:
    """A host name or address as a person or a Host header gives it. Raises NameRefused."""
    return name_parse(name, _HOST_RULES)


@needs(Right.SETTING)
def host_allow(name: str, *, actor: Actor) -> str:
    """Accept one more host name or address; returns it as stored. Raises NameRefused."""
    host = host_parse(name)
    _extra_hosts_change(actor, "host.allow", host, add=True)
    return host


@needs(Right.SETTING)
def host_disallow(name: str, *, actor: Actor) -> str:
    """Take back what `host_allow` added. Raises InputError when it is not among them."""
    host = host_parse(name)
    if host not in state_get().extra_hosts:
        raise InputError(f"{host} is not among the hosts that were added.")
    _extra_hosts_change(actor, "host.disallow", host, add=False)
    return host


def _extra_hosts_change(actor: Actor, action: str, host: str, *, add: bool) -> None:
    with transaction.atomic():
        state_get()
        before = list(PortalState.objects.select_for_update().get(pk=1).extra_hosts)
        after = sorted({*before, host} if add else {*before} - {host})
        state_update(extra_hosts=after)
        audit_record(actor, action, host, before={"extra_hosts": before}, after={"extra_hosts": after})


def machine_address(listening: Sequence[str] = EVERY_ADDRESS) -> str:
    """Under which address other machines reach a listener on all addresses; empty where no such one is known.

    `listening` says of which families it is. The address with which this machine itself would go out comes first, so
    that bridges of containers do not win; IPv6 only where there is no IPv4.
    """
    own = local_addresses()
    for every, family, far in _FAMILIES:
        if every not in listening:
            continue
        usable = [address for address in own if (":" in address) == (":" in every) and _is_for_others(address)]
        outgoing = _outgoing(family, far)
        if usable:
            return outgoing if outgoing in usable else usable[0]
    return ""


def _is_for_others(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def _outgoing(family: socket.AddressFamily, far: str) -> str:
    """Read from the routing table: a datagram socket that is connected sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
        except OSError:  # no route: a machine without a network
            return ""
        return str(probe.getsockname()[0])


def _guess() -> str:
    """Plain HTTP at this machine's name: what answers before anything was set up."""
    listener = listener_answering("http")
    own = next((address for address in listener.addresses if not address_is_any(address)), "")
    return url_make("http", own or _fqdn(), listener.port)


@lru_cache(maxsize=1)
def _fqdn() -> str:
    """Asked once per process, since it may ask DNS."""
    name = machine_name().lower().rstrip(".")
    # A machine without a name of its own is told some name of its loopback address.
    return "localhost" if name.startswith("localhost") or is_address(name) else name
