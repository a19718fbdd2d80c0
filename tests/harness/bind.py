"""BIND (Debian's bind9) on free loopback ports: a primary that takes signed updates, and a secondary that may lag."""

import shutil
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone

from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, free_port

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


class Bind(Daemon):
    """`records` is zone -> lines of a zone file.

    `addresses` are where this server listens, all on `port`; a zone names one NS for each of them, or as `listed` says.
    `primary` makes it a secondary, which hears of changes only by `notify`. `recursive` follows aliases from zone to
    zone for whoever asks, as the resolver of a CA does; other names it asks of nobody.
    """

    program = "named"

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
        super().__init__()
        self.zones = tuple(zones)
        self.addresses = addresses
        self.port = port or free_port()
        self._records = records or {}
        self._listed = listed or {}
        self._primary = primary
        self._recursive = recursive

    @property
    def address(self) -> str:
        """host:port of its first address."""
        return f"{self.addresses[0]}:{self.port}"

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

    def command(self, program: Path) -> Sequence[str | Path]:
        # A copy: where AppArmor confines the package's own path, it may read no directory of ours.
        own = shutil.copy(program, self.home / "named")
        for zone in self.zones:
            (self.home / f"{zone}.zone").write_text(self._zone_file(zone))
        (self.home / "named.conf").write_text(self._config())
        return [own, "-g", "-n", "1", "-c", self.home / "named.conf"]

    def answers(self) -> bool:
        try:
            return all(self._ask(zone, "SOA").rcode() == dns.rcode.NOERROR for zone in self.zones)
        except (EOFError, dns.exception.DNSException):
            return False

    def _ask(self, name: str, kind: str) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        return dns.query.tcp(query, self.addresses[0], port=self.port, timeout=3)

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
