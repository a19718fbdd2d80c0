"""A DNS server that knows every name: A is 127.0.0.1 unless told otherwise, AAAA is empty unless told."""

import contextlib
import socket
import socketserver
import struct
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from certs.domain.addresses import address_shown
from tests.harness.ports import LOOPBACK, free_port


class DnsServer:
    """Use as a context manager; `address` is host:port. Records may be changed while it runs."""

    def __init__(self, *, ipv4: str = LOOPBACK, ipv6: str = "", host: str = LOOPBACK) -> None:
        self.host = host  # where it listens
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.authoritative = True  # False: as a cache answers
        self.port = free_port()
        self.queries: list[tuple[str, str]] = []  # (name without final dot, type), as asked
        self._records: dict[tuple[str, str], list[str]] = {}
        self._codes: dict[str, dns.rcode.Rcode] = {}
        self._servers: list[socketserver.BaseServer] = []

    @property
    def address(self) -> str:
        return address_shown(self.host, self.port)

    def record(self, name: str, kind: str, *values: str) -> None:
        """`kind` is A, AAAA, TXT, CAA, CNAME…; values in zone file form. No value: the name has no such record."""
        self._records[name.lower().rstrip("."), kind] = list(values)

    def fail(self, name: str, code: str = "SERVFAIL") -> None:
        """Every question about `name` gets this response code, such as SERVFAIL or NXDOMAIN."""
        self._codes[name.lower().rstrip(".")] = dns.rcode.from_text(code)

    def reset(self) -> None:
        self._records.clear()
        self._codes.clear()

    def asked(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for name, kind in list(self.queries):
            found[name].add(kind)
        return found

    def answer(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | (dns.flags.AA if self.authoritative else 0)
        for question in query.question:
            name, kind = question.name.to_text().lower().rstrip("."), dns.rdatatype.to_text(question.rdtype)
            self.queries.append((name, kind))
            if name in self._codes:
                response.set_rcode(self._codes[name])
                continue
            values = self._values(name, kind)
            if values:
                response.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, *values))
        return response.to_wire()

    def _values(self, name: str, kind: str) -> list[str]:
        if (name, kind) in self._records:
            return self._records[name, kind]
        default = {"A": self.ipv4, "AAAA": self.ipv6}.get(kind, "")
        return [default] if default else []

    def __enter__(self) -> Self:
        for kind, handler in ((_Udp, _UdpHandler), (_Tcp, _TcpHandler)):
            server = kind((self.host, self.port), handler, bind_and_activate=False)
            if ":" in self.host:
                server.address_family = socket.AF_INET6
                server.socket.close()
                server.socket = socket.socket(socket.AF_INET6, server.socket_type)
            server.server_bind()
            server.server_activate()
            server.dns = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
            self._servers.append(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    dns: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    request_queue_size = 128  # of more than the usual five who come at once, the others wait a second and longer
    daemon_threads = True
    allow_reuse_address = True
    dns: DnsServer


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, connection = self.request
        with contextlib.suppress(OSError):
            connection.sendto(self.server.dns.answer(data), self.client_address)  # type: ignore[attr-defined]


class _TcpHandler(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while len(head := self.rfile.read(2)) == 2:
                answer = self.server.dns.answer(self.rfile.read(struct.unpack("!H", head)[0]))  # type: ignore[attr-defined]
                self.wfile.write(struct.pack("!H", len(answer)) + answer)
