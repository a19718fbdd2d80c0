"""The HTTP challenge (RFC 8555 §8.3), answered by a web server that is there already: the answer is put as a file
below its document root."""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from certs.domain.errors import BinderyError, InputError
from certs.domain.options import OptionRefused, option
from certs.solvers.base import Evidence, Site, Solver, Task
from certs.solvers.http01 import http_look
from certs.transports.local import Folder, user_name

PLACE = (".well-known", "acme-challenge")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")  # RFC 8555 §8.3: base64url; it becomes a file name


class WebrootFailed(BinderyError):
    code = "webroot"


class Http01Webroot(Solver):
    """A web server that already answers on port 80 serves the answer as a file; Bindery writes it and removes it."""

    label: ClassVar[str] = "HTTP (webroot)"
    put_by: ClassVar[tuple[str, ...]] = ("webroot",)
    challenge_types: ClassVar[tuple[str, ...]] = ("http-01",)
    addresses: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Options:
        webroot: str = option(
            "Webroot",
            help="The document root, as /var/www/html. The file is written on the machine whose worker runs the "
            "order, below .well-known/acme-challenge: with several nodes each needs the same directory, as a share.",
        )

    def __init__(self, options: "Http01Webroot.Options", site: Site | None = None) -> None:
        super().__init__(options, site)
        root = Path(options.webroot)
        if not root.is_absolute() or ".." in root.parts:
            raise OptionRefused(
                f"“{options.webroot}” is not an absolute path.", field="webroot", advice="Type it like /var/www/html."
            )
        self.folder = Folder(root)
        self._made: list[str] = []  # by any answer of this order: whichever is removed last takes them along

    def present(self, task: Task) -> dict[str, Any]:
        content = task.key_authorization.encode()
        tries = 3  # another order may have just removed the directories that it had made
        while True:
            try:
                self._made += self.folder.put(PLACE, _name(task), content)
                return {"made": sorted(set(self._made))}
            except OSError as error:
                tries -= 1
                if error.errno != errno.ENOENT or error.filename == str(self.folder.root) or not tries:
                    raise self._failed(error, "written") from None

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        try:
            self.folder.take(PLACE, _name(task), task.key_authorization.encode(), data.get("made") or ())
        except OSError as error:
            raise self._failed(error, "removed") from None

    def look(self, task: Task) -> Evidence:
        return http_look(task, "the web server with this webroot", self.site)

    def _failed(self, error: OSError, deed: str) -> WebrootFailed:
        path = Path(error.filename or self.folder.root)
        user = user_name()
        place = self.folder.root.joinpath(*PLACE)
        if error.errno in (errno.EACCES, errno.EPERM):
            return WebrootFailed(
                f"{path} cannot be {deed}: the user {user} of the portal may not write there.",
                advice=f"Let {user} write: `mkdir -p {place} && chown {user} {place} && chmod 0755 {place}`.",
            )
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and path != self.folder.root:
            return WebrootFailed(
                f"{path} is a symbolic link or no directory, and nothing is written through it.",
                advice=f"Make it a real directory that {user} may write (mode 0755).",
            )
        if path == self.folder.root:
            return WebrootFailed(
                f"The webroot {path} is no directory that {user} can open: {error.strerror}.",
                advice="Name the document root of the web server on this machine.",
            )
        return WebrootFailed(f"{path} cannot be {deed}: {error.strerror}.", advice="Check the disk and its mount.")


def _name(task: Task) -> str:
    """The token as a file name. Raises InputError for one that could lead elsewhere."""
    if not _TOKEN.fullmatch(task.token):
        raise InputError(
            "The CA sent a token that is not base64url, which may not become the name of a file.",
            advice="Ask another CA, or answer by DNS.",
            code="webroot-token",
        )
    return task.token
