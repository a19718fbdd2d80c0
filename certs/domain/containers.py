"""Whether the portal runs in a container, and whether what it writes outlives that container.

Pure: judged by the text of files that the kernel and the engines keep. Sources: proc_pid_mountinfo(5), cgroups(7);
Docker writes /.dockerenv, Podman /run/.containerenv, and the kubelet sets KUBERNETES_SERVICE_HOST in every pod.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

DOCKER_FILE, PODMAN_FILE = "/.dockerenv", "/run/.containerenv"
_CGROUP = re.compile(r"/(docker|kubepods|libpod|buildkit|ecs)(/|\.slice|-)|/(cri-containerd|crio)-")
_ESCAPE = re.compile(r"\\([0-7]{3})")
# What Docker and Podman call a volume that nobody named: `docker run --rm` removes it, a new container gets another.
_NAMELESS = re.compile(r"/volumes/[0-9a-f]{64}/_data(/|$)")
_EMPTY_DIR = "/kubernetes.io~empty-dir/"
_MEMORY = frozenset({"tmpfs", "ramfs"})
_LAYERS = frozenset({"overlay", "fuse-overlayfs", "aufs"})


class Kind(StrEnum):
    NONE = ""
    DOCKER = "Docker"
    PODMAN = "Podman"
    KUBERNETES = "Kubernetes"
    OTHER = "container"  # some engine


class Keeping(StrEnum):
    """What becomes of a directory when the container is made anew."""

    KEPT = "kept"
    LAYER = "layer"  # part of the container itself
    NAMELESS = "nameless"  # a volume that nobody will find again
    POD = "pod"  # emptyDir: as long as the pod
    MEMORY = "memory"


@dataclass(frozen=True)
class Mount:
    point: str
    root: str  # the part of its filesystem that is mounted here
    filesystem: str


def container_kind(*, files: frozenset[str], environment: frozenset[str], cgroup: str) -> Kind:
    """By the marks that there are: `files` of the two above, names in `environment`, and the text of
    /proc/1/cgroup or /proc/self/cgroup. A system container (LXC, nspawn) is a machine of its own and counts as none."""
    if "KUBERNETES_SERVICE_HOST" in environment:
        return Kind.KUBERNETES
    if PODMAN_FILE in files:
        return Kind.PODMAN
    if DOCKER_FILE in files:
        return Kind.DOCKER
    return Kind.OTHER if _CGROUP.search(cgroup) else Kind.NONE


def mounts_read(mountinfo: str) -> list[Mount]:
    """Lines of /proc/self/mountinfo in order; a line that is none is passed over."""
    found = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        words = before.split()
        if dash and len(words) >= 6 and after.split():
            found.append(Mount(_plain(words[4]), _plain(words[3]), after.split()[0]))
    return found


def keeping_of(path: str, mounts: list[Mount]) -> Keeping:
    """Where `path` (absolute, without links) lies: the deepest mount above it; of two at one place the later."""
    place = PurePosixPath(path)
    above = [mount for mount in mounts if place.is_relative_to(mount.point)]
    if not above:
        return Keeping.LAYER
    deepest = max(len(PurePosixPath(mount.point).parts) for mount in above)
    mount = next(one for one in reversed(above) if len(PurePosixPath(one.point).parts) == deepest)
    if mount.filesystem in _MEMORY:
        return Keeping.POD if _EMPTY_DIR in mount.root else Keeping.MEMORY
    if mount.point == "/" or mount.filesystem in _LAYERS:
        return Keeping.LAYER
    if _EMPTY_DIR in f"{mount.root}/":
        return Keeping.POD
    return Keeping.NAMELESS if _NAMELESS.search(mount.root) else Keeping.KEPT


def publishing_line(port: int, *, outside: int, name: str, pod: bool) -> str:
    """The line that leads port `outside` to `port` in the container: under `ports:` of compose.yaml, or of the Service
    of a pod, where such a port has a name."""
    return f"- {{name: {name}, port: {outside}, targetPort: {port}}}" if pod else f'- "{outside}:{port}"'


def _plain(word: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), word)
