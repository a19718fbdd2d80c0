"""Endpoints that read files: the steps of an installation on a machine with POSIX commands.

A target is replaced by a rename, so that it is the old or the new and never half of either. The new one stands beside
it before, the old one until the next installation, so that there is a way back.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress

from certs.domain.errors import BinderyError
from certs.domain.installation import Command, Material, NodeSeen, Part, Plan, Write, digest
from certs.domain.pem import certificate_pem, certificates_read
from certs.installers.base import ChangedMeanwhile, Installer, InstallRefused
from certs.transports.hosts.base import CommandFailed, Ran
from certs.transports.hosts.posix import PosixHost, beside

NEW, OLD = "new", "old"
_HOLD_LEAF = (Part.FULLCHAIN.value, Part.LEAF.value, Part.WHOLE.value)
_CHANGED = "Discover the endpoint again, then plan anew."


class FileInstaller(Installer):
    """`discover`, `plan` and `restart` are each type's own."""

    def certificate(self, host: PosixHost, node: NodeSeen) -> str:
        path = next((node.files[part] for part in _HOLD_LEAF if part in node.files), "")
        if not path or host.file(path) is None:
            return ""
        return "".join(certificate_pem(each) for each in certificates_read(host.read(path)))

    @abstractmethod
    def discovery_commands(self, host: PosixHost) -> list[list[str]]:
        """The command lines of a discovery that need root, for a sudoers file."""

    def check(self, host: PosixHost, plan: Plan, material: Material) -> None:
        for write in plan.writes:
            if host.digest(write.path) != write.before:
                raise ChangedMeanwhile(f"{write.path} was changed since the plan was made.", advice=_CHANGED)
        for command in filter(None, (plan.test, plan.activate, plan.start)):
            host.tool(command.argv[0])
        if plan.test:
            _must(host, plan.test, "The configuration is broken already, before anything was changed")
        for write in _changing(plan):
            self._put(host, write, material)  # shows rights and room, as nothing else does

    def stage(self, host: PosixHost, plan: Plan, material: Material) -> None:
        for write in _changing(plan):
            self._put(host, write, material)
            if write.before and host.digest(write.path) == write.before:
                _copy(host, write)

    def switch(self, host: PosixHost, plan: Plan) -> None:
        for write in _changing(plan):
            found = host.digest(write.path)
            if found == write.before:
                _move(host, beside(write.path, NEW), write.path)
            elif found != write.after:
                raise ChangedMeanwhile(f"{write.path} was changed by somebody else just now.", advice=_CHANGED)

    def activate(self, host: PosixHost, plan: Plan) -> None:
        if plan.test:
            _must(host, plan.test, "The server does not accept the configuration")
        if plan.activate:
            _must(host, plan.activate, "The server could not be told to read the new certificate")

    def restore(self, host: PosixHost, plan: Plan) -> None:
        for write in _changing(plan):
            found = host.digest(write.path)
            if found == write.before:
                continue
            if found != write.after:
                raise ChangedMeanwhile(
                    f"{write.path} was changed by somebody else meanwhile, so it was left as it is.",
                    advice=f"The old one is {beside(write.path, OLD)}.",
                )
            if write.before:
                _move(host, beside(write.path, OLD), write.path)
            else:
                _remove(host, [write.path])
        self._read_again(host, plan)

    def clean(self, host: PosixHost, plan: Plan) -> None:
        for write in _changing(plan):
            _remove(host, [beside(write.path, NEW)])
            host.unstage(_staged_name(write))

    def _read_again(self, host: PosixHost, plan: Plan) -> None:
        """A reload may have ended the server (Apache dies of a key that does not fit), so it is started as well."""
        if plan.activate is None:
            return
        told = _run(host, plan.activate)
        if not told.ok and plan.start:
            _must(host, plan.start, "The server does not start again with what stood there before")
        elif not told.ok:
            raise CommandFailed(f"The server could not be told to read the old certificate: {told.why}", ran=told)

    def _put(self, host: PosixHost, write: Write, material: Material) -> None:
        content = material.part(write.part)
        if digest(content) != write.after:
            raise ChangedMeanwhile(f"What is to be written to {write.path} is not what was planned.", advice=_CHANGED)
        target = beside(write.path, NEW)
        if host.digest(target) == write.after:
            return
        staged = host.stage(_staged_name(write), content)
        try:
            host.check(
                _install(host, write, staged),
                f"{target} on {host.place} cannot be written",
                advice="Make room there, or give the account the right to write into that directory.",
                root=True,
            )
            if host.digest(target) != write.after:
                raise InstallRefused(f"{target} on {host.place} did not arrive as it was sent.", advice="Try again.")
            host.unstage(_staged_name(write))
        except BaseException:
            self._tidy(host, target)
            raise

    def _tidy(self, host: PosixHost, path: str) -> None:
        with suppress(BinderyError):
            _remove(host, [path])


def write_plan(host: PosixHost, path: str, part: Part, material: Material, **wanted: str) -> Write:
    """Of a file that is there: its mode and owner stay, unless others are `wanted` (mode, owner, group).

    Raises InstallRefused where there is none.
    """
    seen = host.file(path)
    if seen is None:
        raise InstallRefused(f"{path} on {host.place} is not there.", advice="Discover the endpoint again.")
    return Write(
        path=seen.real,
        part=part,
        before=host.digest(seen.real),
        after=digest(material.part(part)),
        mode=wanted.get("mode") or _private(seen.mode, part),
        owner=wanted.get("owner") or seen.owner,
        group=wanted.get("group") or seen.group,
        linked_from=path if seen.real != path else "",
    )


def shared_with(node: NodeSeen, nodes: Iterable[NodeSeen], writes: Sequence[Write]) -> tuple[str, ...]:
    """Names of the other nodes that read one of the files."""
    paths = {write.path for write in writes} | {write.linked_from for write in writes}
    return tuple(each.alias or each.name for each in nodes if each.key != node.key and paths & set(each.files.values()))


def _private(mode: str, part: Part) -> str:
    """A key that everybody may read stays where it is, but not readable by everybody."""
    return f"{int(mode, 8) & ~0o007:o}" if part.secret else mode


def commands_of(host: PosixHost, plan: Plan) -> list[list[str]]:
    """Every command line of an installation that needs root, for a sudoers file."""
    found: list[list[str]] = []
    for write in plan.writes:
        new, old = beside(write.path, NEW), beside(write.path, OLD)
        for path in filter(None, (write.linked_from, write.path)):
            found += [host.file_command(name, path) for name in ("stat", "readlink", "cat", "sha256sum")]
        found += [
            _install(host, write, f"{host.stage_directory}/{_staged_name(write)}"),
            host.file_command("sha256sum", new),
            host.file_command("sha256sum", old),
            host.file_command("cp", write.path, old),
            host.file_command("mv", new, write.path),
            host.file_command("mv", old, write.path),
            host.file_command("rm", new),
        ]
    told = (plan.test, plan.activate, plan.start)
    return found + [[host.tool(each.argv[0]), *each.argv[1:]] for each in told if each]


def _staged_name(write: Write) -> str:
    """The same at each installation, so that a sudoers file can name it."""
    return digest(write.path.encode())[:16]


def _install(host: PosixHost, write: Write, staged: str) -> list[str]:
    """Only root gives files away; without it they are the account's own, as they were before or it could not write."""
    owned = ["-o", write.owner, "-g", write.group] if host.is_root or host.elevates else []
    return [host.tool("install"), "-T", "-m", write.mode, *owned, "--", staged, beside(write.path, NEW)]


def _changing(plan: Plan) -> list[Write]:
    return [write for write in plan.writes if write.changes]


def _copy(host: PosixHost, write: Write) -> None:
    kept = beside(write.path, OLD)
    host.check(host.file_command("cp", write.path, kept), f"{kept} cannot be written", root=True)
    if host.digest(kept) != write.before:
        raise InstallRefused(f"{kept} on {host.place} is not what it is a copy of.", advice="Try again.")


def _move(host: PosixHost, source: str, target: str) -> None:
    host.check(host.file_command("mv", source, target), f"{target} cannot be replaced", root=True)


def _remove(host: PosixHost, paths: Sequence[str]) -> None:
    for path in paths:
        host.check(host.file_command("rm", path), f"{path} cannot be removed", root=True)


def _run(host: PosixHost, command: Command) -> Ran:
    return host.run([host.tool(command.argv[0]), *command.argv[1:]], root=True, seconds=60)


def _must(host: PosixHost, command: Command, otherwise: str) -> None:
    ran = _run(host, command)
    if not ran.ok:
        raise CommandFailed(f"{otherwise}: {ran.why}", ran=ran)
