"""One DNS question to one server, and what stands in its answer (RFC 1035 §4)."""

import time
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype

from certs.transports.dns_answers import Server

UDP_SECONDS, TCP_SECONDS = 1.0, 2.0  # for one server: UDP, then once more by TCP


def query_send(query: dns.message.Message, server: Server, deadline: float) -> dns.message.Message:
    """By UDP, and by TCP where that is cut or lost. Raises OSError (TimeoutError), DNSException."""
    try:
        response = dns.query.udp(
            query,
            server.address,
            _left(deadline, UDP_SECONDS),
            server.port,
            ignore_unexpected=True,
            ignore_errors=True,
        )
        if not response.flags & dns.flags.TC:
            return response
    except (dns.exception.Timeout, ConnectionError):
        pass
    return dns.query.tcp(query, server.address, _left(deadline, TCP_SECONDS), server.port)


def _left(deadline: float, most: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, most)


def trouble_of(server: Server, error: Exception) -> str:
    if isinstance(error, TimeoutError | dns.exception.Timeout):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "nobody answers there"
    if isinstance(error, OSError) and ":" in server.address:
        return "no way there over IPv6 from here"
    if isinstance(error, OSError):
        return f"no way there from here ({error.strerror or error})"
    return "an answer that makes no sense"


def record_values(response: dns.message.Message, type: str, name: str | None = None) -> list[str]:
    """Of the records of this type, those of `name` only where it is given."""
    wanted = dns.rdatatype.from_text(type)
    owner = dns.name.from_text(name) if name is not None else None
    return [
        _value(record)
        for rrset in response.answer
        if rrset.rdtype == wanted and (owner is None or rrset.name == owner)
        for record in rrset
    ]


def _value(record: Any) -> str:
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings).decode("utf-8", "replace")
    if record.rdtype == dns.rdatatype.CAA:
        return " ".join((str(record.flags), record.tag.decode("ascii"), record.value.decode("utf-8", "replace")))
    return str(record.to_text())


def alias_of(response: dns.message.Message, name: str) -> str:
    owner = dns.name.from_text(name)
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.CNAME and rrset.name == owner:
            return name_clean(rrset[0].target.to_text())
    return ""


def soa_owner(response: dns.message.Message, name: str) -> str:
    """The apex that an answer about `name` names: an SOA of the name itself or of a zone above it."""
    inside = dns.name.from_text(name)
    for rrset in (*response.answer, *response.authority):
        if rrset.rdtype == dns.rdatatype.SOA and inside.is_subdomain(rrset.name):
            return name_clean(rrset.name.to_text())
    return ""


def referral_of(response: dns.message.Message, name: str) -> str:
    """The zone to which a server that has only its parent sends us (RFC 1034 §4.3.2)."""
    inside = dns.name.from_text(name)
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.NS and inside.is_subdomain(rrset.name):
            return name_clean(rrset.name.to_text())
    return ""


def name_clean(name: str) -> str:
    return name.strip().rstrip(".").lower()


def parent_of(name: str) -> str:
    return name.partition(".")[2]
