"""Marks of containers, and mounts as kernels and engines really write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.containers import Keeping, Kind, container_kind, keeping_of, mounts_read

NOTHING = frozenset[str]()
DOCKER = """\
1402 1311 0:153 / / rw,relatime master:401 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/B,upperdir=/u
1403 1402 0:156 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1404 1402 0:157 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
1429 1402 254:1 /docker/containers/3f/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
"""
NAMELESS = "1428 1402 254:1 /var/lib/docker/volumes/%s/_data /data rw,relatime master:1 - ext4 /dev/vda1 rw\n" % (
    "a1" * 32
)
NAMED = "1428 1402 254:1 /var/lib/docker/volumes/bindery/_data /data rw,relatime master:1 - ext4 /dev/vda1 rw\n"
BIND = "1428 1402 254:1 /srv/bindery /data rw,relatime - xfs /dev/vda1 rw\n"
# The engine's own directory is often a filesystem of its own; then the root begins there.
OWN_FILESYSTEM = "1428 1402 0:50 /volumes/%s/_data /data rw - btrfs /dev/vdb rw\n" % ("0f" * 32)
POD = "/var/lib/kubelet/pods/8d1c/volumes/kubernetes.io~empty-dir/data"
EMPTY_DIR = f"90 80 8:1 {POD} /data rw,relatime - ext4 /dev/sda1 rw\n"
EMPTY_DIR_IN_MEMORY = f"90 80 0:99 {POD} /data rw,relatime - tmpfs tmpfs rw\n"
CLAIM = "90 80 8:16 / /data rw,relatime - ext4 /dev/sdb rw\n"
NFS = "90 80 0:61 /export/pvc-1 /data rw,relatime - nfs4 10.0.0.5:/export/pvc-1 rw,vers=4.2\n"
TMPFS = "1428 1402 0:158 / /data rw,nosuid - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ("", Keeping.LAYER),
        (NAMELESS, Keeping.NAMELESS),
        (OWN_FILESYSTEM, Keeping.NAMELESS),
        (NAMED, Keeping.KEPT),
        (BIND, Keeping.KEPT),
        (EMPTY_DIR, Keeping.POD),
        (EMPTY_DIR_IN_MEMORY, Keeping.POD),
        (CLAIM, Keeping.KEPT),
        (NFS, Keeping.KEPT),
        (TMPFS, Keeping.MEMORY),
        (TMPFS + NAMED, Keeping.KEPT),  # mounted over it later
        (NAMED + TMPFS, Keeping.MEMORY),
    ],
)
def test_what_outlives_the_container(lines: str, kept: Keeping) -> None:
    mounts = mounts_read(DOCKER + lines)
    assert keeping_of("/data", mounts) == kept
    assert keeping_of("/data/deep/below", mounts) == kept
    assert keeping_of("/database", mounts) == Keeping.LAYER


def test_a_directory_below_a_volume_that_is_covered_by_memory() -> None:
    below = "1430 1428 0:159 / /data/cache rw - tmpfs tmpfs rw\n"
    mounts = mounts_read(DOCKER + NAMED + below)
    assert keeping_of("/data/cache", mounts) == Keeping.MEMORY
    assert keeping_of("/data", mounts) == Keeping.KEPT


def test_mount_points_with_blanks_are_written_in_octal() -> None:
    mounts = mounts_read(DOCKER + "1 2 8:1 / /srv/my\\040data rw - ext4 /dev/sdb rw\n")
    assert keeping_of("/srv/my data/home", mounts) == Keeping.KEPT


def test_without_any_mounts_nothing_is_promised() -> None:
    assert keeping_of("/data", []) == Keeping.LAYER


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    keeping_of("/data", mounts_read(text))
    container_kind(files=NOTHING, environment=NOTHING, cgroup=text)


@pytest.mark.parametrize(
    ("files", "environment", "cgroup", "kind"),
    [
        ((), (), "0::/\n", Kind.NONE),
        ((), (), "0::/init.scope\n", Kind.NONE),
        ((), (), "0::/system.slice/docker.service\n", Kind.NONE),  # beside an engine, not in it
        ((), (), "0::/user.slice/user-1000.slice/session-2.scope\n", Kind.NONE),
        ((), (), "1:name=systemd:/lxc/104\n", Kind.NONE),  # a machine of its own
        (("/.dockerenv",), (), "0::/\n", Kind.DOCKER),
        (("/run/.containerenv",), (), "0::/\n", Kind.PODMAN),
        ((), ("KUBERNETES_SERVICE_HOST",), "0::/\n", Kind.KUBERNETES),
        (("/.dockerenv",), ("KUBERNETES_SERVICE_HOST",), "0::/\n", Kind.KUBERNETES),
        ((), (), "12:pids:/docker/3fa9\n", Kind.OTHER),
        ((), (), "0::/system.slice/docker-3fa9.scope\n", Kind.OTHER),
        ((), (), "11:cpu:/kubepods/besteffort/pod8d1c/3fa9\n", Kind.OTHER),
        ((), (), "0::/kubepods.slice/kubepods-pod8d.slice/cri-containerd-3fa9.scope\n", Kind.OTHER),
        ((), (), "0::/machine.slice/libpod-3fa9.scope/container\n", Kind.OTHER),
    ],
)
def test_the_marks_of_a_container(
    files: tuple[str, ...], environment: tuple[str, ...], cgroup: str, kind: Kind
) -> None:
    assert container_kind(files=frozenset(files), environment=frozenset(environment), cgroup=cgroup) == kind
