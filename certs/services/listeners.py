"""Where this node listens, which addresses it has, and who holds a port."""

import errno
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from datetime import timedelta

import psutil
from django.conf import settings

from certs.domain.addresses import EVERY_ADDRESS, address_is_any, address_reachable, address_shown, addresses_collide
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import Listener, NodeProcess
from certs.services.nodes import node_name
from portal import clock, home

LIVE_SECONDS = 10.0  # a process that has not reported for so long has ended
UNSEEN = "another process, which this user may not see,"
_ABSENT = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def listener_get(protocol: str) -> Listener:
    """The confirmed listener of this node; an unsaved one with `managed` off where no supervisor has made it."""
    saved = Listener.objects.filter(node=node_name(), protocol=protocol).first()
    return saved or Listener(node=node_name(), protocol=protocol, managed=False, **_configured(protocol))


def listener_answering(protocol: str) -> Listener:
    """Where people reach the portal: this node's listener, or, where it listens nowhere, that of a node that serves."""
    own = listener_get(protocol)
    if own.managed:
        return own
    return Listener.objects.filter(node__in=nodes_serving(), protocol=protocol).order_by("node").first() or own


def nodes_serving() -> list[str]:
    """Names of the nodes with a live serving process, in order."""
    live = NodeProcess.objects.filter(seen_at__gte=clock.real() - timedelta(seconds=LIVE_SECONDS))
    return sorted(set(live.values_list("node", flat=True)))


def listeners_ensure() -> None:
    """Called by the supervisor at its start: what the environment sets wins, then what a page has confirmed."""
    for protocol in ("http", "https"):
        wanted = _configured(protocol)
        row = Listener.objects.filter(node=node_name(), protocol=protocol).first()
        if row is None:
            Listener.objects.create(node=node_name(), protocol=protocol, **wanted)
            continue
        if row.source == Listener.Source.PAGE and protocol == "https":
            wanted = {
                "addresses": wanted["addresses"] if settings.HTTPS_ADDRESS_LOCKED else row.addresses,
                "port": wanted["port"] if settings.HTTPS_PORT_LOCKED else row.port,
                "source": Listener.Source.PAGE,
            }
        if any(getattr(row, field) != value for field, value in wanted.items()) or not row.managed:
            Listener.objects.filter(pk=row.pk).update(**wanted, managed=True, updated_at=clock.now())


def listeners_leave() -> bool:
    """Called by a supervisor that does not serve: what one of this node's name left behind leads nowhere any more.

    The choice of a page is kept for when it serves again. Returns whether anything was there; a node that serves under
    the same name, beside this one, keeps its own.
    """
    if node_name() in nodes_serving():
        return False
    return bool(Listener.objects.filter(node=node_name(), managed=True).update(managed=False, updated_at=clock.now()))


def local_addresses() -> list[str]:
    """Every address of this machine, IPv4 first; link-local ones need a zone to be listened on and are left out."""
    found = {
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family.name in {"AF_INET", "AF_INET6"} and "%" not in entry.address
    }
    parsed = [ipaddress.ip_address(address) for address in found]
    return [str(address) for address in sorted(parsed, key=lambda item: (item.version, int(item)))]


def address_here(address: str) -> str:
    """Where this machine itself reaches a listener on `address`; "" for all of a family that it has no address of."""
    if not address_is_any(address):
        return address
    own = [each for each in local_addresses() if (":" in each) == (":" in address)]
    loopback = address_reachable(address)
    return loopback if loopback in own else next(iter(own), "")


def addresses_here(addresses: Sequence[str]) -> str:
    """Where this machine itself reaches a listener on all of these: over a family that it has."""
    return next(filter(None, map(address_here, addresses)), address_reachable(addresses[0]))


def address_is_local(address: str) -> bool:
    return address in EVERY_ADDRESS or address in local_addresses()


def address_usable(address: str, port: int) -> bool:
    """Whether a stranger-free bind would succeed now; False for a wildcard of a family this machine lacks.

    Raises ConflictError naming the holder of a taken port, NotAllowed for a privileged one, InputError for an address
    that is not on this machine.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            # REUSEADDR alone passes over TIME_WAIT, but not over a socket that listens.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        if error.errno in _ABSENT and address_is_any(address):
            return False
        raise address_refusal(error, address, port) from error
    return True


def address_refusal(error: OSError, address: str, port: int) -> ConflictError | NotAllowed | InputError:
    """The sentence for a bind that the system refused."""
    place = address_shown(address, port)
    if error.errno == errno.EADDRINUSE:
        return port_conflict(address, port)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return NotAllowed(
            f"This user may not open {place}: low ports need a right.",
            advice="Choose a higher port (BINDERY_HTTP_PORT, BINDERY_HTTPS_PORT), or give the right: "
            f"`sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}`, or AmbientCapabilities=CAP_NET_BIND_SERVICE "
            "in a systemd unit, as `sudo make install` makes one.",
        )
    if error.errno in _ABSENT:
        return InputError(f"{address} is not an address of this machine, so {place} cannot be opened.")
    return ConflictError(f"{place} cannot be opened: {error.strerror}.")


def port_conflict(address: str, port: int) -> ConflictError:
    holder = port_holder(address, port) or UNSEEN
    return ConflictError(
        f"Port {port} is taken: {holder} listens on it, so {address_shown(address, port)} cannot be opened.",
        advice="Stop that program, or choose another port (BINDERY_HTTP_PORT, BINDERY_HTTPS_PORT).",
        code="port-taken",
    )


def port_holder(address: str, port: int) -> str:
    """Who else listens on that port of that address, as far as this user may see; empty when nobody does.

    The portal's own processes do not count: a rebind may share the port with the listener it replaces.
    """
    own = own_pids()
    unnamed = False
    for connection in _listening():
        if not connection.laddr:
            continue
        taken_address, taken_port = connection.laddr
        # An IPv6 wildcard that is not V6ONLY takes the IPv4 port too; nothing tells which of the two it is.
        if taken_port != port or not (addresses_collide(address, taken_address) or taken_address == "::"):
            continue
        if connection.pid is None:
            unnamed = True
        elif connection.pid not in own:
            return _describe(connection.pid)
    if unnamed and not _own_port(address, port):
        return UNSEEN
    return ""


def own_pids() -> set[int]:
    """This process and, where a supervisor runs, all of its family."""
    pids = {psutil.Process().pid}
    try:
        supervisor = psutil.Process(int(home.lock_file().read_text().split()[0]))
        # The number in the file may be that of a supervisor long gone, given to somebody else by now.
        if supervisor.create_time() > home.lock_file().stat().st_mtime + 1:
            return pids
        pids |= {supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))}
    except (OSError, ValueError, IndexError, psutil.Error):
        return pids
    return pids


def processes_prune(living: Iterable[int]) -> None:
    """Forget what processes of this node said of themselves once they have ended."""
    NodeProcess.objects.filter(node=node_name()).exclude(pid__in=list(living)).delete()


def _configured(protocol: str) -> dict[str, object]:
    if protocol == "http":
        return {"addresses": settings.HTTP_ADDRESSES, "port": settings.HTTP_PORT, "source": Listener.Source.ENV}
    locked = settings.HTTPS_ADDRESS_LOCKED or settings.HTTPS_PORT_LOCKED
    return {
        "addresses": settings.HTTPS_ADDRESSES,
        "port": settings.HTTPS_PORT,
        "source": Listener.Source.ENV if locked else Listener.Source.DEFAULT,
    }


def _listening() -> list[psutil._ntuples.sconn]:
    try:
        return [entry for entry in psutil.net_connections(kind="tcp") if entry.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # some systems show connections to the administrator only
        return []


def _own_port(address: str, port: int) -> bool:
    rows = Listener.objects.filter(node=node_name(), port=port)
    return any(addresses_collide(address, taken) for row in rows for taken in row.addresses)


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (process {pid}, user {process.username()})"
    except psutil.Error:
        return f"process {pid}"
