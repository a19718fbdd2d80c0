"""The marks of a container, written where the portal is told to look for them: a machine without an engine has none."""

from pathlib import Path

_ROOT = "21 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n"
VOLUME = "22 21 254:1 /var/lib/docker/volumes/bindery/_data {home} rw,relatime - ext4 /dev/vda1 rw\n"
NAMELESS = f"22 21 254:1 /var/lib/docker/volumes/{'a1' * 32}/_data {{home}} rw,relatime - ext4 /dev/vda1 rw\n"
EMPTY_DIR = "22 21 8:1 /pods/8d1c/volumes/kubernetes.io~empty-dir/data {home} rw - ext4 /dev/sda1 rw\n"


def mark(root: Path, *, home: Path, mount: str = "", engine_file: str = ".dockerenv") -> Path:
    """`root` for CONTAINER_ROOT; `mount` is one of the lines above, or none: part of the container."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/mountinfo").write_text(_ROOT + mount.format(home=str(home.resolve()).replace(" ", "\\040")))
    (root / engine_file).parent.mkdir(parents=True, exist_ok=True)
    (root / engine_file).touch()
    return root
