"""How this command or process was set, and whether that is how the portal beside it was."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from certs.domain.diagnosis import Line, Situation, bad, fine, look, note, unknown
from certs.services.nodes import supervisor_pid
from certs.transports.local import user_name
from portal import env

_OURS = ("BINDERY_", "DATABASE_URL")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
# How much it tells, and what a supervisor hands to its own children.
_SECRETS = frozenset({"BINDERY_KEY_RING", "BINDERY_SECRET_KEY", "DATABASE_URL"})
_NO_MATTER = frozenset({"BINDERY_LOG_LEVEL", "BINDERY_LOG_FORMAT", "BINDERY_SOCKETS"})


def settings_given(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment decides how the portal runs."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_OURS) or name.upper() in _PROXIES
        if value and name not in _NO_MATTER and not name.startswith("BINDERY_TEST_")
    }


def settings_compared(environment: Mapping[str, str]) -> dict[str, str | None]:
    """The same for a comparison: a secret is what its file says; None where that cannot be read."""
    found: dict[str, str | None] = {}
    for name, value in settings_given(environment).items():
        secret = name.removesuffix("_FILE")
        if secret not in _SECRETS:
            found[name] = value
        elif name == secret:
            found[secret] = value.strip()
        else:
            found[secret] = _content(value)
    return found


def _content(file: str) -> str | None:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _differ(ours: Mapping[str, str | None], theirs: Mapping[str, str | None]) -> list[str]:
    """Names only. What could not be read is not said to differ."""
    every = sorted({*ours, *theirs})
    known = [name for name in every if None not in (ours.get(name, ""), theirs.get(name, ""))]
    return [name for name in known if ours.get(name) != theirs.get(name)]


@look("settings", database=False)
def settings(situation: Situation) -> Iterator[Line]:
    """Whether the settings can be read."""
    names = ", ".join(sorted(settings_given(os.environ))) or "no variable is set"
    yield fine("settings", f"The settings can be read; data in {situation.home}.", evidence=names)


@look("settings", database=False)
def running(situation: Situation) -> Iterator[Line]:
    """Whether the portal runs with this data directory."""
    pid = supervisor_pid(situation.home)
    if pid == 0:
        sentence = f"No portal is seen running with {situation.home} here."
        others = _others()
        mend = "Start it: `manage.py up`, or `systemctl start bindery` where it is a service."
        if others:
            mend = "Another one runs: give this command the same BINDERY_HOME."
        yield note("running", sentence, mend, evidence="; ".join(others))
    elif pid is None:
        yield unknown("running", "Whether the portal runs is not to be seen from here: it may be in another container.")
    else:
        yield fine("running", f"The portal runs (process {pid}).")
        if pid not in {parent.pid for parent in psutil.Process().parents()}:
            yield from _compared(pid)


def _compared(pid: int) -> Iterator[Line]:
    """A command in a shell often lacks what a unit or a container sets, and then sees another portal than people do."""
    try:
        theirs = settings_compared(psutil.Process(pid).environ())
    except psutil.Error:
        # The kernel hides a service with rights of its own even from its own user; `bindery` reads the same files.
        if (user := _user_of(pid)) != user_name():
            sentence = f"With which settings the portal was started may not be seen by {user_name()}."
            yield unknown("same-settings", sentence, f"Run this as {user or 'its user'}, or as root.")
        return
    ours = settings_compared(os.environ)
    if other := _differ(ours, theirs):
        yield note(
            "same-settings",
            f"The running portal was started with other settings than this: {', '.join(other)}.",
            "What is told below is told with the settings of this command. Give it those of the portal: of a service "
            "made by `make install` by `sudo bindery doctor`, of a container by running this inside.",
        )
    else:
        yield fine("same-settings", "It was started with the same settings.")


def _others() -> list[str]:
    """Portals of this machine that this user may see, each by its supervisor."""
    found = {}
    for process in psutil.process_iter(["cmdline", "ppid", "username"]):
        words = process.info["cmdline"] or []
        if "up" in words and any(Path(word).name == "manage.py" for word in words) and process.pid != os.getpid():
            found[process.pid] = process.info
    return [
        f"{' '.join(info['cmdline'][:4])} (process {pid}, user {info['username']})"
        for pid, info in found.items()
        if info["ppid"] not in found
    ][:3]


def _user_of(pid: int) -> str:
    try:
        return str(psutil.Process(pid).username())
    except psutil.Error:
        return ""


@look("settings", database=False)
def files_named(situation: Situation) -> Iterator[Line]:
    """Whether the files named by the settings can be read."""
    for name in sorted(os.environ):
        if not name.startswith("BINDERY_") and name != "DATABASE_URL_FILE":
            continue
        if not name.endswith("_FILE") or not os.environ[name] or not env.is_set(name):
            continue
        file = Path(os.environ[name])
        mode = file.stat().st_mode & 0o777
        if mode & 0o007 and "KEY" in name:
            sentence = f"{file}, named by {name}, may be read by everybody on this machine ({mode:04o})."
            yield bad("files-named", sentence, f"chmod 0600 {shlex.quote(str(file))}")
