"""What a person reads on the terminal when the portal is up: where it is, and how to get in."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from certs.domain.addresses import address_is_any
from certs.models import Binding, CertificateVersion, Listener
from certs.services.addresses import https_url, machine_address, plain_url, ports_are_forwarded, url_make
from certs.services.listeners import listener_get
from certs.services.portal_state import state_get


@dataclass(frozen=True)
class Addresses:
    http: str
    https: str
    fingerprint: str  # SHA-256 of what HTTPS answers with by default, AB:CD:…; empty while unknown
    self_signed: bool
    http_elsewhere: str = ""  # the same for other machines, where it listens on all addresses
    https_elsewhere: str = ""
    forwarded: bool = False  # by the public URL, whose port is not ours: where plain HTTP is outside is a guess


def addresses_here() -> Addresses:
    """As seen from this machine, or by the public URL's host where the environment names one."""
    public = urlsplit(settings.PUBLIC_URL).hostname
    http, https = listener_get("http"), listener_get("https")
    version = _default_version()
    return Addresses(
        http=plain_url() if public else url_make("http", _host(http), http.port),
        https=https_url(public) if public else url_make("https", _host(https), https.port),
        fingerprint=_colons(version.fingerprint_sha256) if version else "",
        self_signed=version is None or version.self_signed,
        http_elsewhere="" if public else _elsewhere(http),
        https_elsewhere="" if public else _elsewhere(https),
        forwarded=bool(public) and ports_are_forwarded(),
    )


def address_lines(addresses: Addresses) -> list[str]:
    """Where it is; on a machine without a screen the first line alone would lead nowhere."""
    if addresses.forwarded:
        return [f"Bindery is up: {addresses.https}/"]
    lines = [f"Bindery is up: {addresses.http}/ and {addresses.https}/"]
    elsewhere = [f"{address}/" for address in (addresses.http_elsewhere, addresses.https_elsewhere) if address]
    return lines + ([f"From other machines: {' and '.join(elsewhere)}"] if elsewhere else [])


def link_lines(addresses: Addresses, token: str) -> list[str]:
    """The one-time link in both forms, for other machines by HTTPS only, since a password is typed there; with what to
    compare the browser's warning against."""
    bases = [addresses.https] if addresses.forwarded else [addresses.http, addresses.https]
    lines = [f"{base}/setup/{token}/" for base in bases]
    if addresses.https_elsewhere:
        lines += ["or from another machine:", f"{addresses.https_elsewhere}/setup/{token}/"]
    if addresses.self_signed:
        lines.append("  over HTTPS the browser will warn, since this certificate signs itself; compare its SHA-256:")
        lines.append(f"  {addresses.fingerprint or 'not known yet'}")
    return lines


def _host(listener: Listener) -> str:
    if any(address_is_any(address) for address in listener.addresses):
        return "localhost"
    return str(listener.addresses[0])


def _elsewhere(listener: Listener) -> str:
    """Empty for a listener on given addresses: the line above names one already."""
    every = [address for address in listener.addresses if address_is_any(address)]
    address = machine_address(every) if every else ""
    return url_make(listener.protocol, address, listener.port) if address else ""


def _default_version() -> CertificateVersion | None:
    binding = Binding.objects.filter(server_name="").select_related("certificate__current").first()
    certificate = binding.certificate if binding else state_get().placeholder
    return certificate.current if certificate else None


def _colons(fingerprint: str) -> str:
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()
