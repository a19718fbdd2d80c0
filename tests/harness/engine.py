"""What an engine makes of compose.yaml and deploy/kubernetes.yaml, with what the kernel has: a stand-in for Docker and
for a cluster, since neither is here. It runs their commands as they stand, as the image's user without any capability,
on a read-only root with the mounts, secrets, variables and settings that the files name. The image is not built: the
checkout and its virtual environment lie where the Dockerfile puts them. Root, in namespaces of one's own, is needed.
"""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.artifacts import ROOT
from tests.harness.container import Stage, Walk, must, read_dockerfile, tool
from tests.harness.process import Process

_COMMAND = re.compile(r"^#   (\S.*)$", re.MULTILINE)
_SECRETS = "/run/secrets"


@dataclass
class Container:
    """One that runs. `node` is its name among the nodes."""

    process: Process
    enter: list[str]
    environment: dict[str, str]
    health: list[str]

    @property
    def log(self) -> str:
        return self.process.log

    def run(self, *words: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """As `docker exec` or `kubectl exec`."""
        return subprocess.run(
            [*self.enter, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def is_healthy(self) -> bool:
        """Raises RuntimeError with the log where it has ended."""
        if not self.process.is_alive():
            raise RuntimeError(self.log[-4000:])
        return self.run(*self.health).returncode == 0


class Engine:
    """Below `place`. Use it in namespaces that end with the test: nothing is unmounted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.stage: Stage = read_dockerfile((ROOT / "Dockerfile").read_text())[-1]
        walk = Walk(place, print)
        self._root = walk.overlay("image")
        walk.base(self._root)
        for source, target in ((ROOT, "app"), (Path(sys.prefix), "venv")):
            (self._root / target).mkdir()
            must(["mount", "--bind", str(source), str(self._root / target)])
            must(["mount", "-o", "remount,bind,ro", str(self._root / target)])
        for target in (self.stage.volumes[0], _SECRETS, "/run/secrets/bindery"):
            (self._root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (self._root / "etc/hosts").write_text(Path("/etc/hosts").read_text())
        (self._root / ".dockerenv").touch()
        self.project = place / "project"
        (self.project / "deploy").mkdir(parents=True)
        for name in ("Dockerfile", "compose.yaml", "deploy/kubernetes.yaml"):
            shutil.copyfile(ROOT / name, self.project / name)
        self._count = 0

    # -- the commands in the comments ------------------------------------------------------------------------------

    def run_comments(self, file: str) -> None:
        """The commands in the comment at the head of that file, in one shell, beside that file."""
        head = (self.project / file).read_text().partition("\n\n---" if "---" in file else "\n\nname:")[0]
        commands = "\n".join(_COMMAND.findall(head))
        assert "new_secrets" in commands
        tools = self.place / "tools"
        tools.mkdir(exist_ok=True)
        once = shlex.join([*self._enter(self._seal({}, [])), *self.stage.entrypoint])
        variables = " ".join(shlex.quote(f"{name}={value}") for name, value in self.stage.environment.items())
        _script(
            tools / "docker",
            f"""
case "$1 $2" in
  "build --tag") test -f "$4/Dockerfile" ;;
  "run --rm") shift 3; exec env -i {variables} {once} "$@" ;;
  *) echo "docker: $*: not known here" >&2; exit 125 ;;
esac""",
        )
        _script(
            tools / "kubectl",
            f"""
[ "$1" = --namespace ] && shift 2
case "$1 $2" in
  "create namespace") ;;
  "create secret") made="{self.place}/kube/$4"; mkdir -p "$made"; shift 4
    for word; do cp "${{word#--from-file=}}" "$made/"; done
    chown -R 0:10001 "$made"; chmod 0750 "$made"; chmod 0440 "$made"/* ;;
  *) echo "kubectl: $*: not known here" >&2; exit 1 ;;
esac""",
        )
        done = subprocess.run(
            ["sh", "-e", "-c", commands],
            cwd=(self.project / file).parent,
            env={"PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"

    # -- compose.yaml ----------------------------------------------------------------------------------------------

    def compose(self, name: str, environment: dict[str, str] | None = None, **variables: str) -> Container:
        """A service of compose.yaml, with `variables` as its shell has them; `environment` is added to that of the
        service. What `ports:` do outside of it is left to the test."""
        text = re.sub(
            r"\$\{(\w+):-([^}]*)\}",
            lambda match: variables.get(match[1]) or match[2],
            (self.project / "compose.yaml").read_text(),
        )
        document = yaml.safe_load(text)
        service = document["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for key, value in service.get("sysctls", {}).items():
            Path("/proc/sys", *key.split(".")).write_text(value)
        mounts = {
            f"{_SECRETS}/{secret}": (self.project / document["secrets"][secret]["file"]).resolve()
            for secret in service["secrets"]
        }
        for volume in service["volumes"]:
            source, target = volume.split(":")
            mounts[target] = self._volume(source)
        whole = {key: str(value) for key, value in service["environment"].items()} | (environment or {})
        return self._start(name, service["command"], whole, mounts, service["tmpfs"])

    # -- deploy/kubernetes.yaml ------------------------------------------------------------------------------------

    def pod(self, name: str, node: str, environment: dict[str, str] | None = None) -> Container:
        """A pod of that Deployment. It has no address of its own here, so a second one needs other ports."""
        documents = list(yaml.safe_load_all((self.project / "deploy/kubernetes.yaml").read_text()))
        deployment = next(one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Deployment", name))
        spec = deployment["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsUser"] == int(self.stage.user.split(":")[0])
        [container] = spec["containers"]
        whole = {each["name"]: each.get("value", node) for each in container["env"]} | (environment or {})
        whole["KUBERNETES_SERVICE_HOST"] = "10.96.0.1"
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {
            mount["mountPath"]: self._pod_volume(node, volumes[mount["name"]]) for mount in container["volumeMounts"]
        }
        return self._start(node, container["args"], whole, mounts, [])

    def _pod_volume(self, node: str, volume: dict[str, Any]) -> Path:
        if "secret" in volume:
            return self.place / "kube" / volume["secret"]["secretName"]
        assert volume["emptyDir"] == {}
        path = self.place / "pods" / node / volume["name"]
        path.mkdir(parents=True)
        os.chown(path, 0, 10001)
        path.chmod(stat.S_ISGID | 0o777)
        return path

    # -- both ------------------------------------------------------------------------------------------------------

    def volume(self, name: str) -> Path:
        return self.place / "volumes" / name

    def _volume(self, name: str) -> Path:
        """Made as the image's directory is, the first time."""
        path = self.volume(name)
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
            user, group = self.stage.user.split(":")
            os.chown(path, int(user), int(group))
        return path

    def _start(
        self, name: str, command: list[str], environment: dict[str, str], mounts: dict[str, Path], memory: list[str]
    ) -> Container:
        enter = self._enter(self._seal(mounts, memory))
        whole = {**self.stage.environment, **environment}
        log = self.place / f"{name}.log"
        process = Process([*enter, *self.stage.entrypoint, *command], log, env=whole, cwd=Path("/"))
        return Container(process, enter, whole, self.stage.health)

    def _seal(self, mounts: dict[str, Path], memory: list[str]) -> Path:
        self._count += 1
        sealed = self.place / f"container{self._count}"
        sealed.mkdir()
        must(["mount", "--rbind", str(self._root), str(sealed)])
        for target in sorted(mounts):
            place = sealed / target.lstrip("/")
            if mounts[target].is_file() and not place.exists():
                place.touch()
            must(["mount", "--bind", str(mounts[target]), str(place)])
        for target in [*memory, "/dev/shm"]:  # every engine gives the latter
            must(["mount", "-t", "tmpfs", "tmpfs", str(sealed / target.lstrip("/"))])
        must(["mount", "-o", "remount,bind,ro", str(sealed)])
        return sealed

    def _enter(self, sealed: Path) -> list[str]:
        user, group = self.stage.user.split(":")
        rights = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"]
        return [tool("chroot"), str(sealed), *rights, "/bin/sh", "-c", 'cd "$0" && exec "$@"', self.stage.directory]


def _script(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
