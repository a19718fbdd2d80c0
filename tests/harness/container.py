"""The Dockerfile's steps without a container engine: `make check-container` (as root, on Debian).

Each stage is an overlay on the machine's own root directory, so that Debian and Python of this machine stand for the
base image, and whatever the steps write goes away afterwards. Then the result runs as an engine would run it: read-only
but for the volume and /tmp, as the image's user without any capability, in a network of its own with the one sysctl
that Docker sets. The image itself is not built by this.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.artifacts import ROOT

Say = Callable[[str], None]


@dataclass
class Stage:
    """What a stage of the Dockerfile says, with ENV, WORKDIR and USER as they are at its end."""

    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)  # (instruction, rest) in order
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"


def read_dockerfile(text: str) -> list[Stage]:
    """Raises ValueError at an instruction that is not understood, rather than leave it out."""
    stages: list[Stage] = []
    for word, rest in _instructions(text):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base.strip(), name.strip()))
            continue
        stage = stages[-1]
        stage.steps.append((word, rest))
        _apply(stage, word, rest)
    return stages


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _apply(stage: Stage, word: str, rest: str) -> None:
    match word:
        case "ENV":
            stage.environment.update(pair.split("=", 1) for pair in shlex.split(rest))
        case "WORKDIR":
            stage.directory = rest
        case "USER":
            stage.user = rest
        case "VOLUME":
            stage.volumes += json.loads(rest) if rest.startswith("[") else rest.split()
        case "EXPOSE":
            stage.ports += [int(port.partition("/")[0]) for port in rest.split()]
        case "STOPSIGNAL":
            stage.stop_signal = rest
        case "HEALTHCHECK":
            stage.health = json.loads(rest.partition("CMD")[2])
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "COPY" | "RUN" | "LABEL":
            pass
        case _:
            raise ValueError(f"Dockerfile: {word} is not understood here")


def context_files(root: Path = ROOT) -> list[str]:
    """What .dockerignore lets through, as paths below the context; later lines win."""
    rules = [line.strip() for line in (root / ".dockerignore").read_text().splitlines()]
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    found = []
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in {".git", ".venv", "data", ".cache", "artifacts"}]
        for name in files:
            path = str((Path(directory) / name).relative_to(root))
            if not _is_ignored(path, rules):
                found.append(path)
    return sorted(found)


def _is_ignored(path: str, rules: list[str]) -> bool:
    ignored = False
    parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for rule in rules:
        pattern = rule.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatch(each, pattern) or (anywhere != pattern and fnmatch.fnmatch(Path(each).name, anywhere))
            for each in (parents if pattern != "*" else parents[-1:])
        ):
            ignored = not rule.startswith("!")
    return ignored


class Walk:
    """Runs inside mount namespace of its own, as root. `place` holds the overlays."""

    def __init__(self, place: Path, say: Say) -> None:
        self.place = place
        self.say = say
        self.roots: dict[str, Path] = {}

    def build(self, stages: list[Stage]) -> Path:
        for number, stage in enumerate(stages):
            root = self.overlay(f"stage{number}")
            self.roots[stage.name or str(number)] = root
            self.base(root)
            before = Stage(stage.base)
            for word, rest in stage.steps:
                _apply(before, word, rest)
                if word == "WORKDIR":
                    (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                elif word == "COPY":
                    self._copy(root, before, rest)
                elif word == "RUN":
                    self.say(f"  RUN {rest[:100]}")
                    self._run(root, before, ["/bin/sh", "-c", rest])
        return root

    def overlay(self, name: str) -> Path:
        parts = {part: self.place / name / part for part in ("upper", "work", "root")}
        for part in parts.values():
            part.mkdir(parents=True)
        options = f"lowerdir=/,upperdir={parts['upper']},workdir={parts['work']}"
        must(["mount", "-t", "overlay", "overlay", "-o", options, str(parts["root"])])
        return parts["root"]

    def base(self, root: Path) -> None:
        """Python in /usr/local, where the base image has it, and the few devices an engine gives."""
        local = root / "usr/local"
        if sys.base_prefix == "/usr":
            (local / "bin/python").unlink(missing_ok=True)
            (local / "bin/python").symlink_to(Path(sys.executable).resolve())
        else:
            must(["mount", "--bind", "-o", "ro", sys.base_prefix, str(local)])
            must(["mount", "-o", "remount,bind,ro", str(local)])
            # A shared library is looked for where this Python was built to live; everybody must get there.
            for parent in Path(sys.base_prefix).parents:
                (root / str(parent).lstrip("/")).chmod(0o755)
        for device in ("null", "zero", "random", "urandom"):
            target = root / "dev" / device
            target.touch()
            must(["mount", "--bind", f"/dev/{device}", str(target)])
        (root / "dev/fd").symlink_to("/proc/self/fd")
        (root / "dev/shm").mkdir(exist_ok=True)
        must(["mount", "-t", "proc", "proc", str(root / "proc")])

    def _copy(self, root: Path, stage: Stage, rest: str) -> None:
        words = rest.split()
        source = ROOT
        if words[0].startswith("--from="):
            source = self.roots[words.pop(0).removeprefix("--from=")]
            names, target = words[:-1], words[-1]
            for name in names:
                must(["cp", "-a", str(source / name.lstrip("/")), str(root / target.lstrip("/"))])
            return
        *names, target = words
        base = root / (Path(stage.directory) / target).as_posix().lstrip("/")
        sent = context_files()
        for name in names:
            chosen = [path for path in sent if path == name or path.startswith(f"{name}/")]
            if not chosen:
                raise RuntimeError(f"COPY {name}: .dockerignore keeps it away, or it is not there")
            for path in chosen:
                inside = Path(path).relative_to(name) if path != name else Path(Path(path).name)
                to = base / inside
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, to)
                to.chmod(0o644)

    def _run(self, root: Path, stage: Stage, command: list[str]) -> None:
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
        proxies = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "HTTP"))}
        must(["chroot", str(root), "/bin/sh", "-c", _IN, stage.directory, *command],
              env={**proxies, **path, **stage.environment})  # fmt: skip

    def run(self, stage: Stage, root: Path) -> None:
        """Start it as an engine would, wait for its health check, look at its ports, stop it."""
        sealed = self.place / "sealed"
        sealed.mkdir()
        must(["mount", "--rbind", str(root), str(sealed)])
        must(["mount", "-o", "remount,bind,ro", str(sealed)])
        volume = self.place / "volume"
        shutil.copytree(root / stage.volumes[0].lstrip("/"), volume)
        user, group = stage.user.split(":")
        owner = (root / stage.volumes[0].lstrip("/")).stat()
        os.chown(volume, owner.st_uid, owner.st_gid)
        must(["mount", "--bind", str(volume), str(sealed / stage.volumes[0].lstrip("/"))])
        for place in ("tmp", "dev/shm"):
            must(["mount", "-t", "tmpfs", "tmpfs", str(sealed / place)])
        rights = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"]
        script = 'ip link set lo up && echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && cd "$0" && exec "$@"'
        inside = [*rights, "/bin/sh", "-c", _IN, stage.directory]
        log = self.place / "container.log"
        with log.open("w") as output:
            started = time.monotonic()
            process = subprocess.Popen(
                [
                    "unshare",
                    "--net",
                    "sh",
                    "-c",
                    script,
                    "/",
                    tool("chroot"),
                    str(sealed),
                    *inside,
                    *stage.entrypoint,
                    *stage.command,
                ],
                env=stage.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._becomes_healthy(stage, sealed, process)
            self.say(
                f"  healthy after {time.monotonic() - started:.1f} s as user {stage.user}, read-only, no capability"
            )
            for port in stage.ports:
                self._inside(process, ["python", "-c", _LOOK, str(port)], sealed, stage)
                self.say(f"  port {port} answers")
        finally:
            process.send_signal(getattr(signal, stage.stop_signal))
            code = process.wait(30)
            self.say(f"  {stage.stop_signal}: ended with {code}")
            if code != 0 or sys.exc_info()[0] is not None:
                self.say(log.read_text()[-4000:])
            if code != 0:
                raise RuntimeError(f"it ended with {code}")

    def _becomes_healthy(self, stage: Stage, root: Path, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._inside(process, stage.health, root, stage)
            except RuntimeError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def _inside(self, process: "subprocess.Popen[bytes]", command: list[str], root: Path, stage: Stage) -> None:
        must(
            [
                "nsenter",
                f"--net=/proc/{process.pid}/ns/net",
                tool("chroot"),
                str(root),
                "/bin/sh",
                "-c",
                _IN,
                stage.directory,
                *command,
            ],
            env=stage.environment,
        )


_IN = 'cd "$0" && exec "$@"'  # as an engine runs a health check: in the directory of the image
_LOOK = """
import ssl, sys, urllib.request
port = int(sys.argv[1])
unchecked = ssl._create_unverified_context()
url = f"http://127.0.0.1:{port}/healthz" if port == 80 else f"https://127.0.0.1:{port}/healthz"
assert urllib.request.urlopen(url, timeout=5, context=unchecked if port != 80 else None).status == 200
"""


def tool(name: str) -> str:
    """By its path, since the image's PATH has no sbin."""
    return shutil.which(name) or name


def must(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(
            f"{shlex.join(command)[:300]}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def main(say: Say = print) -> int:
    if "--inside" not in sys.argv:
        if os.geteuid() != 0:
            say("check-container: needs root, to make overlays and namespaces. Nothing was checked.")
            return 1
        again = [sys.executable, "-m", "tests.harness.container", "--inside"]
        return subprocess.run(["unshare", "--mount", *again], cwd=ROOT, check=False).returncode
    stages = read_dockerfile((ROOT / "Dockerfile").read_text())
    with tempfile.TemporaryDirectory(prefix="bindery-container-") as directory:
        walk = Walk(Path(directory), say)
        try:
            say(f"Dockerfile: {len(stages)} stages, {len(context_files())} files in the context")
            root = walk.build(stages)
            walk.run(stages[-1], root)
            walk.say("check-container: all steps work; the image itself was not built.")
        finally:
            subprocess.run(["umount", "--recursive", "--lazy", *_mounts(directory)], check=False, capture_output=True)
    return 0


def _mounts(directory: str) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [words[1] for line in reversed(lines) if (words := line.split())[1].startswith(directory)]


if __name__ == "__main__":
    sys.exit(main())
