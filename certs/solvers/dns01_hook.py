"""TXT records by a script of the operator's, for whatever has no library: an inside DNS, a ticket system, an API.

Running a script is running code as the portal's user. So only an administrator sets it, and only scripts count that the
operator of the machine put into one directory and that nobody else can write. There is no shell, and the script gets
nothing of the portal's own environment.
"""

import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from certs.domain.errors import BinderyError, InputError, Unavailable
from certs.domain.options import OptionRefused, option
from certs.solvers.base import Site, Task
from certs.solvers.dns import DnsSolver, challenge_option, ttl_option
from certs.transports.local import Ran, run, user_name
from portal import logs

PRESENT, CLEAN = "present", "clean"
CHALLENGE = "_acme-challenge."
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = (
    *("LANG", "TZ", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("https_proxy", "http_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
_VARIABLE = re.compile(r"HOOK_[A-Z0-9_]{1,60}")  # no other name: PATH or LD_PRELOAD would run what no operator allowed
_SHOWN = 400  # characters of what a script said, in a sentence
_STORED = 2000

# What follows the script's name. Certbot's hooks are told everything by variables.
STYLES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "bindery": (
        "present|clean RECORD VALUE",
        {PRESENT: ("present", "{record}", "{value}"), CLEAN: ("clean", "{record}", "{value}")},
    ),
    "lego": (
        "present|cleanup RECORD. VALUE, as lego's exec",
        {PRESENT: ("present", "{record}.", "{value}"), CLEAN: ("cleanup", "{record}.", "{value}")},
    ),
    "dehydrated": (
        "deploy_challenge|clean_challenge DOMAIN - VALUE, as dehydrated",
        {
            PRESENT: ("deploy_challenge", "{domain}", "-", "{value}"),
            CLEAN: ("clean_challenge", "{domain}", "-", "{value}"),
        },
    ),
    "certbot": ("none: CERTBOT_DOMAIN and CERTBOT_VALIDATION, as certbot", {PRESENT: (), CLEAN: ()}),
}
_BY_DOMAIN = frozenset({"dehydrated", "certbot"})  # these scripts write at _acme-challenge.DOMAIN and nowhere else


class HookRefused(InputError):
    """The script may not be run as it is; the advice is the command that mends it."""

    code = "hook-refused"


class HookFailed(BinderyError):
    """It ran, and did not end well."""

    code = "hook-failed"


class Dns01Hook(DnsSolver):
    """A script of yours puts the record into DNS and takes it away. It must lie in the hooks directory of the machine
    (BINDERY_HOOKS_DIR), be executable, and be writable by nobody but root and the portal's user."""

    label: ClassVar[str] = "DNS (hook script)"
    put_by: ClassVar[tuple[str, ...]] = ("script", "clean_script", "style")
    runs_programs: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Options:
        script: str = option("Script", help="Its absolute path, inside the hooks directory.")
        clean_script: str = option(
            "Script for cleaning",
            default="",
            help="Where another one takes the record away, as certbot's cleanup hook.",
        )
        style: str = option(
            "Arguments",
            default="bindery",
            choices=[(name, about) for name, (about, _) in STYLES.items()],
            help="What the script expects. BINDERY_ACTION, _DOMAIN, _RECORD, _VALUE and _ZONE are always set.",
        )
        variables: str = option(
            "Variables",
            default="",
            secret=True,
            lines=True,
            help="For its credentials: HOOK_NAME=value, one a line. The script finds them in its environment.",
        )
        timeout: int = option("Time limit", default=50, low=1, high=55, help="Seconds; then the script is ended.")
        ttl: int = ttl_option()
        challenge: str = challenge_option()

    def __init__(self, options: "Dns01Hook.Options", site: Site | None = None) -> None:
        super().__init__(options, site)
        self._variables = _variables(options.variables)
        self._proven = ""  # the name whose turn it is: the two methods below are only told of its record
        for field in ("script", "clean_script"):
            script_path(getattr(options, field), field=field)

    def present(self, task: Task) -> dict[str, Any]:
        self._proven = task.name
        return super().present(task)

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        self._proven = task.name
        super().clean(task, data)

    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        ran = self._run(PRESENT, zone, name, value, {"BINDERY_TTL": str(ttl)})
        return {"output": ran.stdout.strip()[:_STORED]}

    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        self._run(CLEAN, zone, name, value, {"CERTBOT_AUTH_OUTPUT": str(data.get("output", ""))})

    def _run(self, action: str, zone: str, record: str, value: str, more: Mapping[str, str]) -> Ran:
        """Raises HookRefused, HookFailed; Unavailable where its time was up, since that may pass."""
        wanted = (self.options.clean_script if action == CLEAN else "") or self.options.script
        script = script_allowed(wanted, self.site.hooks)
        domain = self._domain(record)
        words = {"record": record, "value": value, "domain": domain}
        arguments = [each.format_map(words) for each in STYLES[self.options.style][1][action]]
        env = {
            **_environment(),
            **self._variables,
            **more,
            "BINDERY_ACTION": action,
            "BINDERY_DOMAIN": self._proven,
            "BINDERY_RECORD": record,
            "BINDERY_VALUE": value,
            "BINDERY_ZONE": zone,
            "CERTBOT_DOMAIN": domain,
            "CERTBOT_VALIDATION": value,
        }
        try:
            with self.site.alone(f"dns-hook:{script}"):  # as every client runs them: written for one at a time
                ran = run([script, *arguments], env=env, seconds=self.options.timeout, cwd=script.parent)
        except OSError as error:
            raise HookRefused(
                f"The script {script} cannot be run: {error.strerror}.",
                advice="Its first line must name its interpreter, such as #!/bin/sh.",
            ) from None
        ran = Ran(ran.code, self._masked(ran.stdout).encode(), self._masked(ran.stderr))
        if ran.code is None:
            raise Unavailable(
                f"The script {script} took longer than {self.options.timeout} s to {action} {record} and was ended."
                f"{_said(ran)}",
                advice="Give it more time, or let it return before the record is seen: Bindery looks for it by itself.",
                code="hook-time",
            )
        if ran.code != 0:
            how = f"ended with exit code {ran.code}" if ran.code > 0 else f"was ended by signal {-ran.code}"
            raise HookFailed(
                f"The script {script} {how} when it was to {action} {record}.{_said(ran)}",
                advice=f"Run it by hand as {user_name()} and mend what it complains of.",
            )
        return ran

    def _domain(self, record: str) -> str:
        if record.startswith(CHALLENGE):
            return record.removeprefix(CHALLENGE)
        if self.options.style not in _BY_DOMAIN:
            return self._proven
        raise InputError(
            f"A script for {self.options.style} can only write at {CHALLENGE}NAME, but the record belongs at {record}.",
            advice="Let it take its record from BINDERY_RECORD, and choose the arguments of bindery.",
            code="hook-style",
        )

    def _masked(self, text: str) -> str:
        for value in sorted(self._variables.values(), key=len, reverse=True):
            if len(value) > 3:  # shorter ones would only hide words
                text = text.replace(value, logs.MASK)
        return logs.mask(text.replace("\0", ""))


def script_path(text: str, *, field: str) -> Path:
    """Raises OptionRefused for what can be no script of ours, wherever this runs."""
    path = Path(text)
    if text and (not path.is_absolute() or ".." in path.parts):
        raise OptionRefused(f"“{text}” is not an absolute path.", field=field, advice="Type the whole path.")
    return path


def script_allowed(text: str, hooks: Path) -> Path:
    """The real path of a script that may be run. Raises HookRefused, its advice being what mends it."""
    path, user = Path(text), user_name()
    try:
        directory = hooks.resolve(strict=True)
    except OSError:
        raise HookRefused(
            f"The hooks directory {hooks} is not there, so no script may be run.",
            advice=f"Make it and put the script there: `mkdir -m 0755 {hooks}`; or set BINDERY_HOOKS_DIR.",
        ) from None
    try:
        script = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a circle of links is a RuntimeError before Python 3.13
        raise HookRefused(f"The script {path} is not there.", advice=f"Put it into {directory}.") from None
    if not script.is_relative_to(directory) or script == directory:
        raise HookRefused(
            f"The script {script} lies outside the hooks directory {directory}.",
            advice=f"Put a copy there, or let the operator of the machine set BINDERY_HOOKS_DIR to {script.parent}.",
        )
    if not stat.S_ISREG(script.stat().st_mode):
        raise HookRefused(f"{script} is no file.", advice="Name the script itself.")
    for place in (*reversed([each for each in script.parents if each.is_relative_to(directory)]), script):
        _unshared(place, user)
    if not os.access(script, os.X_OK):
        raise HookRefused(f"{script} may not be run by {user}.", advice=f"`chmod 0755 {script}`")
    return script


def _unshared(place: Path, user: str) -> None:
    """Whoever can write it could run anything as the portal's user."""
    about = place.stat()
    if about.st_uid not in (0, os.getuid()):
        raise HookRefused(f"{place} belongs to another user than root or {user}.", advice=f"`chown {user} {place}`")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise HookRefused(
            f"{place} can be written by others (mode {stat.S_IMODE(about.st_mode):04o}).",
            advice=f"`chmod go-w {place}`",
        )


def _variables(text: str) -> dict[str, str]:
    """Raises OptionRefused, which never shows a value."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not line.strip():
            continue
        if not equals or not _VARIABLE.fullmatch(name):
            raise OptionRefused(
                f"Line {number} of the variables is not like HOOK_NAME=value.",
                field="variables",
                advice="A name begins with HOOK_ and has capital letters, digits and underscores only.",
            )
        found[name] = value
    return found


def _environment() -> dict[str, str]:
    """Nothing of ours but how to speak and which way leads out."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = "/"
    return {"LANG": "C.UTF-8", **kept, "PATH": PATH, "HOME": home}


def _said(ran: Ran) -> str:
    """The end of its own words, since that is where programs say why."""
    words = " ".join((ran.stderr.strip() or ran.stdout.strip()).split())
    shown = words if len(words) <= _SHOWN else f"…{words[-_SHOWN:]}"
    return f" It said: {''.join(each if each.isprintable() else ' ' for each in shown)}" if shown else ""
