import time
from argparse import ArgumentParser
from typing import Any
from uuid import uuid4

from certs.domain import states
from certs.domain.installation import Plan
from certs.management.base import FAILED, BinderyCommand, json_argument
from certs.management.endpoints.finding import node_find
from certs.management.reporting import ACTOR
from certs.management.store.finding import WORD, version_of
from certs.management.tables import table_lines, terminal_width
from certs.models import CertificateVersion, Installation, JobEvent, Node
from certs.selectors import certificate_find
from certs.services.discoveries import endpoint_discover, node_certificate
from certs.services.endpoints import endpoint_find
from certs.services.installation_advance import installation_advance
from certs.services.installation_requests import endpoint_restart, node_previous
from certs.services.installations import installation_claim, installation_create, installation_plan

_POLL_SECONDS = 0.3


class DiscoverVerb(BinderyCommand):
    help = "Ask an endpoint what it listens on, and keep that as its nodes. Changes nothing there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name or id")

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        difference = endpoint_discover(row, actor=ACTOR)
        for word, keys in (("new", difference.new), ("changed", difference.changed), ("gone", difference.gone)):
            for key in keys:
                self.stdout.write(f"{word}: {key}")
        self.stdout.write(f"{row} has {row.nodes.filter(gone_at=None).count()} nodes.")


class NodesVerb(BinderyCommand):
    help = "List the nodes of an endpoint."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name or id")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        nodes = list(row.nodes.select_related("endpoint", "certificate"))
        if options["json"]:
            self.print_json({"nodes": [_node_document(node) for node in nodes]})
            return
        head = ("STATE", "PROTOCOL", "ADDRESS", "PORT", "SSL", "LAST INSTALLATION", "ALIAS", "NAME")
        lines = table_lines(head, [_node_row(node) for node in nodes], width=terminal_width())
        self.stdout.write("\n".join(lines) if lines else f"None yet. Run manage.py tls discover {row.name}")


class InstallVerb(BinderyCommand):
    help = "Install a certificate on a node, and prove it by handshakes; else the old one is put back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name or id")
        parser.add_argument("certificate", metavar="CERTIFICATE", help=WORD)
        parser.add_argument("--node", default="", metavar="NODE", help="its name, key or id, where there are several")
        parser.add_argument(
            "--version", default="", help="another one than the current: the beginning of its fingerprint"
        )
        parser.add_argument("--plan", action="store_true", help="only show what it would mean")

    def run(self, *args: Any, **options: Any) -> int:
        node = node_find(options["endpoint"], options["node"])
        version = version_of(certificate_find(options["certificate"]), options["version"])
        plan = installation_plan(node, version, actor=ACTOR)
        for line in _plan_lines(plan):
            self.stdout.write(line)
        if options["plan"]:
            return 0
        return _carry_out(self, node, version, Installation.Reason.PERSON, plan)


class RollbackVerb(BinderyCommand):
    help = "Install what a node had before. It then stays there until another is installed by a person."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name or id")
        parser.add_argument("--node", default="", metavar="NODE", help="its name, key or id, where there are several")

    def run(self, *args: Any, **options: Any) -> int:
        node = node_find(options["endpoint"], options["node"])
        return _carry_out(self, node, node_previous(node), Installation.Reason.BACK)


class RestartVerb(BinderyCommand):
    help = "Restart the server program of an endpoint."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help="its name or id")

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        endpoint_restart(row, actor=ACTOR)
        self.stdout.write(f"{row} was restarted.")


def _carry_out(
    command: BinderyCommand,
    node: Node,
    version: CertificateVersion,
    reason: Installation.Reason,
    plan: Plan | None = None,
) -> int:
    """Here, unless a worker has it already; the steps are told as they come."""
    row = installation_create(node, version, plan=plan, reason=reason, actor=ACTOR)
    told = 0
    while True:
        owner = uuid4()
        if installation_claim(row.pk, owner):
            installation_advance(row.pk, owner)
        row.refresh_from_db()
        for event in JobEvent.objects.filter(job=row.pk, pk__gt=told).order_by("pk"):
            told = event.pk
            command.stdout.write(f"{event.step}: {event.message}")
        if row.finished_at is not None:
            return 0 if row.state == states.INSTALLED else FAILED
        time.sleep(_POLL_SECONDS)


def _plan_lines(plan: Plan) -> list[str]:
    lines = [
        f"{'replace' if write.before else 'make'} {write.path}"
        f" ({write.part.value}, {write.mode} {write.owner}:{write.group})"
        for write in plan.writes
        if write.changes
    ] or ["It is there already: no file changes."]
    lines += [f"run {' '.join(each.argv)}: {each.why}" for each in (plan.test, plan.activate) if each]
    lines += [f"{name} reads the same files, and changes with it" for name in plan.shares]
    return [*lines, *plan.notes]


def _node_row(node: Node) -> tuple[str, ...]:
    document = _node_document(node)
    names = ("state", "protocol", "address", "port", "ssl", "installation", "alias", "name")
    return tuple(str(document[name]) for name in names)


def _node_document(node: Node) -> dict[str, Any]:
    ours = node_certificate(node)
    ssl = ours.certificate.name if ours else "External" if node.found_fingerprint else "not managed"
    last = node.installations.first()
    return {
        "id": str(node.pk),
        "key": node.key,
        "name": node.name,
        "alias": node.seen["alias"],
        "protocol": node.seen["protocol"],
        "address": node.seen["address"],
        "port": node.seen["port"],
        "ssl": ssl,
        "certificate": str(node.certificate_id or ""),
        "installation": last.get_state_display() if last else "",
        "error": last.error_message if last else "",
        "state": "gone" if node.gone_at else node.seen["trouble"] or "found",
    }
