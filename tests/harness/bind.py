"""BIND (Debian's bind9) on free loopback ports: a primary that takes signed updates, and a secondary that may lag."""

import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone

from tests.harness import counterparts
from tests.harness.artifacts import keep
from tests.harness.ports import LOOPBACK, free_port, wait_until
from tests.harness.process import Process

KEY = "bindery"
OTHER_KEY = "reader"  # known to the server, and allowed nothing
ALGORITHM = "hmac-sha256"
SECRET = b64encode(b"b" * 32).decode()
OTHER_SECRET = b64encode(b"o" * 32).decode()
ZONES = ("one.test", "two.test")

_ZONE_FILE = """$TTL 60
@ SOA ns1.{zone}. hostmaster.{zone}. 1 86400 3600 604800 1
{servers}
{records}
"""


class Bind:
    """Use as a context manager. `records` is zone -> lines of a zone file.

    `addresses` are where this server listens, all on `port`; a zone names one NS for each of them, or as `listed` says.
    `primary` makes it a secondary, which hears of changes only by `notify`. `recursive` follows aliases from zone to
    zone for whoever asks, as the resolver of a CA does; other names it asks of nobody.
    """

    def __init__(
        self,
        *,
        zones: Iterable[str] = ZONES,
        records: dict[str, list[str]] | None = None,
        addresses: tuple[str, ...] = (LOOPBACK,),
        listed: dict[str, tuple[str, ...]] | None = None,
        port: int = 0,
        primary: "Bind | None" = None,
        recursive: bool = False,
    ) -> None:
        self.zones = tuple(zones)
        self.addresses = addresses
        self.port = port or free_port()
        self._records = records or {}
        self._listed = listed or {}
        self._primary = primary
        self._recursive = recursive
        self._directory = tempfile.TemporaryDirectory(prefix="bindery-bind-")
        self._process: Process | None = None

    @property
    def home(self) -> Path:
        return Path(self._directory.name)

    @property
    def address(self) -> str:
        """host:port of its first address."""
        return f"{self.addresses[0]}:{self.port}"

    @property
    def log(self) -> str:
        return self._process.log if self._process else ""

    def values(self, name: str, kind: str = "TXT") -> set[str]:
        """What this server itself says, TXT without quotes."""
        response = self._ask(name, kind)
        return {
            b"".join(each.strings).decode() if kind == "TXT" else each.to_text()
            for rrset in response.answer
            if dns.rdatatype.to_text(rrset.rdtype) == kind
            for each in rrset
        }

    def names(self, zone: str, kind: str = "TXT") -> set[str]:
        """Every name of the zone that has such a record."""
        wanted = dns.rdatatype.from_text(kind)
        sent = dns.query.xfr(self.addresses[0], zone, port=self.port, timeout=3, relativize=False)
        found = dns.zone.from_xfr(sent, relativize=False)
        return {name.to_text(omit_final_dot=True) for name, _ in found.iterate_rdatasets(wanted)}

    def notify(self) -> None:
        """Tell a secondary that its zones have changed; it fetches them."""
        for zone in self.zones:
            message = dns.message.make_query(zone, "SOA")
            message.set_opcode(dns.opcode.NOTIFY)
            message.flags |= dns.flags.AA
            dns.query.udp(message, self.addresses[0], port=self.port, timeout=3)

    def __enter__(self) -> Self:
        # A copy: where AppArmor confines the package's own path, it may read no directory of ours.
        program = shutil.copy(counterparts.find("named"), self.home / "named")
        for zone in self.zones:
            (self.home / f"{zone}.zone").write_text(self._zone_file(zone))
        (self.home / "named.conf").write_text(self._config())
        self._process = Process(
            [program, "-g", "-n", "1", "-c", self.home / "named.conf"],
            self.home / "named.log",
            env={**os.environ, "LC_ALL": "C"},
            cwd=self.home,
        )
        try:
            wait_until(self._answers, timeout=20, what="named")
        except Exception as error:
            error.add_note(self.log[-2000:])
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.stop(timeout=3)
        if error is not None:
            keep("named.log", self.home / "named.log")
        self._directory.cleanup()

    def _ask(self, name: str, kind: str) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        return dns.query.tcp(query, self.addresses[0], port=self.port, timeout=3)

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"named ended: {self._process.log[-2000:]}")
        try:
            return all(self._ask(zone, "SOA").rcode() == dns.rcode.NOERROR for zone in self.zones)
        except (OSError, EOFError, dns.exception.DNSException):
            return False

    def _zone_file(self, zone: str) -> str:
        servers = []
        for number, address in enumerate(self._listed.get(zone, self.addresses), 1):
            kind = "AAAA" if ":" in address else "A"
            servers += [f"@ NS ns{number}.{zone}.", f"ns{number} {kind} {address}"]
        return _ZONE_FILE.format(zone=zone, servers="\n".join(servers), records="\n".join(self._records.get(zone, [])))

    def _config(self) -> str:
        ipv4 = "; ".join(each for each in self.addresses if ":" not in each)
        ipv6 = "; ".join(each for each in self.addresses if ":" in each)
        return "\n".join(
            [
                f'key "{KEY}" {{ algorithm {ALGORITHM}; secret "{SECRET}"; }};',
                f'key "{OTHER_KEY}" {{ algorithm {ALGORITHM}; secret "{OTHER_SECRET}"; }};',
                "options {",
                f'  directory "{self.home}"; pid-file "named.pid"; session-keyfile "session.key";',
                f"  listen-on port {self.port} {{ {ipv4 + ';' if ipv4 else 'none;'} }};",
                f"  listen-on-v6 port {self.port} {{ {ipv6 + ';' if ipv6 else 'none;'} }};",
                f"  recursion {'yes' if self._recursive else 'no'}; forward only; forwarders {{ {LOOPBACK} port 1; }};",
                "  dnssec-validation no; notify no; allow-transfer { any; }; allow-notify { any; };",
                "  minimal-responses no; empty-zones-enable no; querylog yes; check-names primary ignore;",
                "};",
                "controls { };",
                *(self._zone_config(zone) for zone in self.zones),
            ]
        )

    def _zone_config(self, zone: str) -> str:
        if self._primary is None:
            grant = f"update-policy {{ grant {KEY} zonesub TXT; }};"
            return f'zone "{zone}" {{ type primary; file "{zone}.zone"; {grant} }};'
        source = f"{self._primary.addresses[0]} port {self._primary.port}"
        return (
            f'zone "{zone}" {{ type secondary; file "{zone}.copy"; primaries {{ {source}; }}; '
            "max-refresh-time 86400; min-refresh-time 86400; };"
        )
