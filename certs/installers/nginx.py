"""nginx: found by `nginx -T`, which prints all that the server would read; files are replaced where they are.

The text is cut into its files, each is read by crossplane, and includes are followed among what was printed: nothing is
looked up on the machine of the portal. No configuration is edited.
"""

import fnmatch
import posixpath
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import crossplane

from certs.domain.errors import InputError
from certs.domain.installation import Command, Material, NodeSeen, Part, Plan, Probe, Risk
from certs.domain.options import option
from certs.installers.base import InstallRefused
from certs.installers.files import FileInstaller, shared_with, write_plan
from certs.transports.hosts.base import CommandFailed, Ran
from certs.transports.hosts.posix import PosixHost

_HEADER = re.compile(r"^# configuration file (/.*):$", re.MULTILINE)
_PRINTED = 16 * 1024 * 1024  # bytes of a whole configuration
_EVERYWHERE = {"*", "0.0.0.0", "::"}


@dataclass(frozen=True)
class Options:
    nginx_config_path: str = option(
        "Configuration", default="/etc/nginx/", longest=4096, help="The file, or the directory of nginx.conf."
    )
    nginx_path: str = option("Program", default="nginx", longest=4096)
    reload_command: str = option("To reload", default="systemctl reload nginx.service", longest=4096)
    restart_command: str = option("To restart", default="systemctl restart nginx.service", longest=4096)


class Nginx(FileInstaller):
    """nginx, as Debian, Red Hat, Alpine and nginx.org ship it."""

    Options = Options
    label = "nginx"
    connections = ("local", "ssh")

    @property
    def configuration(self) -> str:
        path: str = self.options.nginx_config_path
        return posixpath.join(path, "nginx.conf") if path.endswith("/") else path

    def discover(self, host: PosixHost) -> list[NodeSeen]:
        ran = self._ask(host, "-T", keep=_PRINTED)
        return list(nodes_read(ran.output.decode("utf-8", "surrogateescape"), self.configuration))

    def plan(self, host: PosixHost, node: NodeSeen, material: Material, nodes: Sequence[NodeSeen]) -> Plan:
        if node.trouble:
            raise InstallRefused(node.trouble)
        paths = {Part(part): path for part, path in node.files.items()}
        if not paths:
            raise InstallRefused(
                f"{node.name} has no certificate in its configuration yet.",
                advice="Add listen … ssl, ssl_certificate and ssl_certificate_key there, then discover again.",
            )
        writes = tuple(write_plan(host, path, part, material) for part, path in paths.items())
        return Plan(
            writes=writes,
            test=Command((self.options.nginx_path, "-t", "-q", "-c", self.configuration), "the configuration is good"),
            activate=Command(_words(self.options.reload_command), "nginx reads it, dropping no connection"),
            start=Command(_words(self.options.restart_command), "nginx starts again"),
            risk=Risk.RELOAD,
            probes=_probes(node, host.place),
            shares=shared_with(node, nodes, writes),
            notes=tuple(
                f"{write.linked_from} is a link: {write.path} is what changes." for write in writes if write.linked_from
            ),
        )

    def restart(self, host: PosixHost) -> None:
        words = _words(self.options.restart_command)
        host.check([host.tool(words[0]), *words[1:]], "nginx did not restart", root=True, seconds=60)

    def discovery_commands(self, host: PosixHost) -> list[list[str]]:
        return [[host.tool(self.options.nginx_path), "-T", "-c", self.configuration]]

    def _ask(self, host: PosixHost, what: str, **how: Any) -> Ran:
        ran = host.run(
            [host.tool(self.options.nginx_path), what, "-c", self.configuration],
            root=True,
            private=True,
            seconds=60,
            **how,
        )
        if not ran.ok:
            raise CommandFailed(
                f"nginx on {host.place} does not accept its own configuration: {_complaint(ran)}",
                ran=ran,
                advice="Mend it there first: nothing was changed by us.",
            )
        return ran


def nodes_read(printed: str, main: str) -> Iterator[NodeSeen]:
    """The nodes of what `nginx -T` prints. Raises InputError where it cannot be read."""
    files = dict(_cut(printed))
    if main not in files:
        raise InputError(f"nginx printed no configuration file {main}.")
    tree = _Tree(files, posixpath.dirname(main))
    for block in tree.blocks(main, "http"):
        inherited = _own(block, {})
        for server in tree.within(block, "server"):
            yield from _server(server, _own(server, inherited), tree.prefix)


@dataclass(frozen=True)
class _Block:
    """A block with its includes opened, each directive with the file it stands in."""

    file: str
    line: int
    directives: tuple[tuple[str, Mapping[str, Any]], ...]

    def values(self, name: str) -> list[list[str]]:
        return [each["args"] for _, each in self.directives if each["directive"] == name]


class _Tree:
    def __init__(self, files: Mapping[str, str], prefix: str) -> None:
        self._files = files
        self.prefix = prefix
        self._parsed: dict[str, list[Mapping[str, Any]]] = {}

    def blocks(self, path: str, name: str) -> Iterator[_Block]:
        whole = _Block(path, 1, tuple(self._opened(path, self._parse(path), ())))
        yield from self.within(whole, name)

    def within(self, block: _Block, name: str) -> Iterator[_Block]:
        for file, each in block.directives:
            if each["directive"] == name and "block" in each:
                yield _Block(file, each["line"], tuple(self._opened(file, each["block"], ())))

    def _opened(
        self, file: str, directives: Sequence[Mapping[str, Any]], above: tuple[str, ...]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for each in directives:
            if each["directive"] != "include" or not each["args"]:
                yield file, each
                continue
            for path in self._included(each["args"][0]):
                if path not in above:
                    yield from self._opened(path, self._parse(path), (*above, path))

    def _included(self, pattern: str) -> list[str]:
        wanted = posixpath.normpath(posixpath.join(self.prefix, pattern))
        parts = wanted.count("/")
        return sorted(path for path in self._files if path.count("/") == parts and fnmatch.fnmatchcase(path, wanted))

    def _parse(self, path: str) -> list[Mapping[str, Any]]:
        """By crossplane, which reads files; nothing it would follow from there is followed."""
        if path not in self._parsed:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace", newline="") as copy:
                copy.write(self._files[path])
                copy.flush()
                read = crossplane.parse(copy.name, single=True, check_ctx=False, check_args=False)
            found = read["config"][0]
            if found["errors"]:
                said = str(found["errors"][0]["error"]).replace(copy.name, path)
                raise InputError(f"{path} cannot be read: {said}.")
            self._parsed[path] = found["parsed"]
        return self._parsed[path]


_CERTIFICATE, _KEY = "ssl_certificate", "ssl_certificate_key"


def _own(block: _Block, inherited: Mapping[str, list[list[str]]]) -> dict[str, list[list[str]]]:
    """What a level says of certificates stands in place of all that the one above said."""
    return {name: block.values(name) or inherited.get(name, []) for name in (_CERTIFICATE, _KEY, "ssl")}


def _server(server: _Block, tls: Mapping[str, list[list[str]]], prefix: str) -> Iterator[NodeSeen]:
    names = tuple(name for words in server.values("server_name") for name in words)
    asked = tuple(name.removeprefix(".") for name in names if _is_plain(name))
    on = tls["ssl"] == [["on"]]
    files, trouble = _files(tls, prefix)
    for words in server.values("listen") or [["*:80"]]:
        if words[0].startswith("unix:") or "quic" in words:
            continue
        address, port = _address(words[0])
        secure = on or "ssl" in words
        node = NodeSeen(
            key=f"{address}:{port} {names[0] if names else '_'}",
            name=asked[0] if asked else f"{address}:{port}",
            protocol="https" if secure else "http",
            address=address,
            port=port,
            alias=", ".join(asked[1:]),
            names=asked,
            where=f"{server.file}:{server.line}",
        )
        yield replace(node, files=files, trouble=trouble) if secure else node


def _files(tls: Mapping[str, list[list[str]]], prefix: str) -> tuple[dict[str, str], str]:
    pairs = [(certificate[0], key[0]) for certificate, key in zip(tls[_CERTIFICATE], tls[_KEY], strict=False)]
    if not pairs:
        return {}, ""
    if len(pairs) > 1:
        return {}, "It has several certificates, one for each type of key, which is not installed by us."
    certificate, key = (each if ":" in each else posixpath.join(prefix, each) for each in pairs[0])
    for path in (certificate, key):
        if "$" in path or path.startswith(("data:", "engine:", "store:")):
            return {}, f"Its certificate is not one file: {path}."
    if certificate == key:
        return {Part.WHOLE.value: certificate}, ""
    return {Part.FULLCHAIN.value: certificate, Part.KEY.value: key}, ""


def _address(word: str) -> tuple[str, int]:
    """Of `listen`: address and port, each with what nginx takes where it is not given."""
    if word.isdigit():
        return "*", int(word)
    if word.startswith("["):
        address, _, rest = word[1:].partition("]")
        return address, int(rest.removeprefix(":") or 80)
    address, _, port = word.partition(":")
    return address or "*", int(port or 80)


def _is_plain(name: str) -> bool:
    """A name that a browser could ask for, or a wildcard at its beginning."""
    return bool(name) and name != "_" and not name.startswith("~") and not name.endswith(".*")


def _probes(node: NodeSeen, place: str) -> tuple[Probe, ...]:
    host = place.rpartition(":")[0].strip("[]") or "localhost"
    address = host if node.address in _EVERYWHERE else node.address
    return tuple(Probe(address, node.port, name) for name in node.names or ("",))


def _cut(printed: str) -> Iterator[tuple[str, str]]:
    headers = list(_HEADER.finditer(printed))
    ends = [*(header.start() for header in headers[1:]), len(printed)][: len(headers)]
    for header, end in zip(headers, ends, strict=True):
        yield header[1], printed[header.end() + 1 : end]


def _words(command: str) -> tuple[str, ...]:
    """As a shell would cut it, though none reads it. Raises InstallRefused."""
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        words = ()
    if not words:
        raise InstallRefused(f"“{command}” is no command.", advice="Close its quotes, with manage.py tls edit.")
    return words


def _complaint(ran: Ran) -> str:
    """nginx ends with a line that only says that it failed; the reason stands above it."""
    marked = [line for line in ran.errors.splitlines() if "[emerg]" in line or "[crit]" in line]
    return marked[0].partition("] ")[2] if marked else ran.why
