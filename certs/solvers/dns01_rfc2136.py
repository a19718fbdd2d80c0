"""TXT records by dynamic update (RFC 2136), signed with a TSIG key (RFC 8945): BIND, Knot DNS, PowerDNS …"""

import base64
import binascii
import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
from dns.rdtypes.ANY.TXT import TXT

from certs.domain.addresses import server_parse
from certs.domain.errors import BinderyError, InputError, Unavailable
from certs.domain.options import OptionRefused, option
from certs.solvers.base import Site
from certs.solvers.dns import DnsSolver, challenge_option, ttl_option

STRING = 255  # bytes of one string of a TXT record (RFC 1035 §3.3.14)
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1", "hmac-md5")
_WIRE = {"hmac-md5": "hmac-md5.sig-alg.reg.int"}  # RFC 8945 §6


class UpdateRefused(BinderyError):
    """The server understood the update and will not do it."""

    code = "dns-update"


class Dns01Rfc2136(DnsSolver):
    """The record is put into the zone by a dynamic update, signed with a TSIG key (RFC 2136)."""

    label: ClassVar[str] = "DNS (dynamic update)"
    put_by: ClassVar[tuple[str, ...]] = ("server", "port", "zone")

    @dataclass(frozen=True)
    class Options:
        server: str = option("Name server", help="The primary that takes updates: an address or a host name.")
        port: int = option("Port", default=53, low=1, high=65535)
        key: str = option(
            "Key name", default="", help="As the server calls the TSIG key. Empty: updates are not signed."
        )
        secret: str = option("Key secret", default="", secret=True, help="base64, as tsig-keygen prints it.")
        algorithm: str = option("Algorithm", default=ALGORITHMS[0], choices=[(each, each) for each in ALGORITHMS])
        zone: str = option("Zone", default="", help="Only if it cannot be found by itself, as with an inside zone.")
        transport: str = option("Transport", default="tcp", choices=[("tcp", "TCP"), ("udp", "UDP")])
        timeout: int = option("Timeout", default=10, low=1, high=30, help="Seconds.")
        ttl: int = ttl_option()
        challenge: str = challenge_option()

    def __init__(self, options: "Dns01Rfc2136.Options", site: Site | None = None) -> None:
        super().__init__(options, site)
        self._key = _key(options)
        self._server = _server(options)

    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        zone = self.zone_chosen(zone, name)
        update = dns.update.UpdateMessage(zone)
        update.add(dns.name.from_text(name), ttl, _txt(value))
        self._send(update, zone)
        return {"zone": zone}

    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        zone = str(data.get("zone") or self.zone_chosen(zone, name))
        update = dns.update.UpdateMessage(zone)
        update.delete(dns.name.from_text(name), _txt(value))  # this value only (RFC 2136 §2.5.4)
        self._send(update, zone)

    def _send(self, update: dns.update.UpdateMessage, zone: str) -> None:
        """Raises UpdateRefused, Unavailable. No message holds the secret or the record's value."""
        if self._key is not None:
            update.use_tsig(self._key, algorithm=self._key.algorithm)
        host, port = self._server
        shown, key = f"The name server {host}", self.options.key
        try:
            response = self._exchange(update, host, port)
        except dns.tsig.PeerError as error:
            raise self._distrusted(shown, error) from None
        except (dns.exception.FormError, dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey):
            raise UpdateRefused(
                f"{shown} did not answer as it should{f', signed with the key {key}' if key else ''}.",
                advice="Check that it is the server meant, the key, and the clocks of both machines.",
                code="dns-update-signature",
            ) from None
        except (TimeoutError, dns.exception.Timeout):
            raise Unavailable(
                f"{shown} did not answer an update within {self.options.timeout} s.",
                advice=f"Check that port {port} of it is open from here by {self.options.transport.upper()}.",
            ) from None
        except (OSError, EOFError, dns.exception.DNSException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "the answer makes no sense"
            raise Unavailable(
                f"{shown} could not be asked for an update: {reason}.", advice=f"Check its address and port {port}."
            ) from None
        if response.rcode() != dns.rcode.NOERROR:
            raise self._refused(shown, response.rcode(), zone)

    def _exchange(self, update: dns.update.UpdateMessage, host: str, port: int) -> dns.message.Message:
        """By the first address of the host that there is a way to. Raises as dnspython does."""
        send = dns.query.udp if self.options.transport == "udp" else dns.query.tcp
        *others, last = _addresses(host, port)
        for address in others:
            with contextlib.suppress(OSError):
                return send(update, address, timeout=self.options.timeout, port=port)
        return send(update, last, timeout=self.options.timeout, port=port)

    def _distrusted(self, shown: str, error: dns.tsig.PeerError) -> UpdateRefused:
        key = self.options.key
        why, advice, code = {
            dns.tsig.PeerBadKey: (
                f"does not know the key {key} with {self.options.algorithm} (BADKEY)",
                "Check the name and the algorithm of the key; both must be as the server has them.",
                "dns-update-key",
            ),
            dns.tsig.PeerBadSignature: (
                f"finds the signature of the key {key} wrong (BADSIG)",
                "Set the secret of the key again, as the server has it.",
                "dns-update-key",
            ),
            dns.tsig.PeerBadTime: (
                "finds our clock wrong (BADTIME)",
                "Set the clock of this machine and of the server by NTP; they must agree within 5 minutes.",
                "dns-update-clock",
            ),
        }.get(type(error), ("does not accept the signature", "Check the key and its algorithm.", "dns-update-key"))
        return UpdateRefused(f"{shown} {why}.", advice=advice, code=code)

    def _refused(self, shown: str, code: int, zone: str) -> BinderyError:
        key = f"the key {self.options.key}" if self.options.key else "this machine"
        words = {
            dns.rcode.REFUSED: (
                f"{shown} refuses to let {key} change the zone {zone} (REFUSED).",
                "Allow it there: update-policy or allow-update of the zone, for TXT records.",
            ),
            dns.rcode.NOTZONE: (
                f"{shown} says that the record is outside the zone {zone} (NOTZONE).",
                "Set the zone of this method.",
            ),
            dns.rcode.NOTAUTH: (
                f"{shown} is not responsible for the zone {zone} (NOTAUTH).",
                "Name the primary server of the zone, or set the zone of this method.",
            ),
            dns.rcode.NOTIMP: (f"{shown} takes no dynamic updates (NOTIMP).", "Name another server or another method."),
        }
        if code in words:
            message, advice = words[dns.rcode.Rcode(code)]
            return UpdateRefused(message, advice=advice)
        if code == dns.rcode.SERVFAIL:
            return Unavailable(
                f"{shown} could not change the zone {zone} (SERVFAIL).",
                advice="Its own log says why; it may be read-only.",
            )
        return UpdateRefused(f"{shown} answered {dns.rcode.to_text(dns.rcode.Rcode(code))}.", advice="See its log.")


def _key(options: Dns01Rfc2136.Options) -> dns.tsig.Key | None:
    """Raises OptionRefused, which never shows the secret."""
    if not options.key and not options.secret:
        return None
    if not options.key:
        raise OptionRefused("A key secret needs the name of its key.", field="key")
    if not options.secret:
        raise OptionRefused(f"The key {options.key} needs its secret.", field="secret")
    try:
        secret = base64.b64decode("".join(options.secret.split()), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        raise OptionRefused(
            "The key secret is not base64.", field="secret", advice="Copy it whole, as tsig-keygen printed it."
        )
    try:
        return dns.tsig.Key(options.key, secret, _WIRE.get(options.algorithm, options.algorithm))
    except dns.exception.DNSException:
        raise OptionRefused(f"“{options.key}” cannot be the name of a key.", field="key") from None


def _server(options: Dns01Rfc2136.Options) -> tuple[str, int]:
    """(host, port). Raises OptionRefused."""
    try:
        return server_parse(options.server, options.port)
    except InputError as error:
        raise OptionRefused(error.message, field="server", advice=error.advice) from None


def _txt(value: str) -> TXT:
    data = value.encode()
    strings = [data[start : start + STRING] for start in range(0, len(data), STRING)] or [b""]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)


def _addresses(host: str, port: int) -> list[str]:
    """At least one. Raises OSError, as for any host that cannot be reached."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))
