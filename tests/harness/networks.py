"""A second network beside that of the test: what is started `outside` meets the test only over one cable.

Inside a namespace of `tests.harness.namespace` only. The test's own network has the address OWN and a route to
everywhere by FAR, which is the system's resolver, too; the other side forwards nothing: whatever is sent to another
address is dropped without a word, as by a firewall.
"""

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import counterparts

OWN, FAR = "10.9.0.2", "10.9.0.1"
_CLONE_NEWNET = 0x40000000


class Outside:
    """Use as a context manager; then `with outside():` starts programs there, and asks from there."""

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen([counterparts.find("unshare"), "--net", "sleep", "infinity"])
        self._here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._there = self._namespace()
        ip = str(counterparts.find("ip"))
        pid = str(self._holder.pid)
        _do(ip, "link", "add", "cable", "type", "veth", "peer", "name", "far", "netns", pid)
        _do(ip, "address", "add", f"{OWN}/24", "dev", "cable")
        _do(ip, "link", "set", "cable", "up")
        with self():
            _do(ip, "address", "add", f"{FAR}/24", "dev", "far")
            _do(ip, "link", "set", "far", "up")
            _do(ip, "link", "set", "lo", "up")
            _do(ip, "route", "add", "blackhole", "default")
        _do(ip, "route", "add", "default", "via", FAR)
        self._resolv_conf = tempfile.NamedTemporaryFile("w", prefix="bindery-resolv-")
        self._resolv_conf.write(f"nameserver {FAR}\n")
        self._resolv_conf.flush()
        _do("mount", "--bind", self._resolv_conf.name, "/etc/resolv.conf")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _do("umount", "/etc/resolv.conf")
        self._resolv_conf.close()
        self._holder.kill()
        self._holder.wait()
        os.close(self._here)
        os.close(self._there)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """For the current thread: what it starts and opens meanwhile stays there."""
        _enter(self._there)
        try:
            yield
        finally:
            _enter(self._here)

    def _namespace(self) -> int:
        """Once the holder has one of its own."""
        here = os.readlink("/proc/self/ns/net")
        place = Path(f"/proc/{self._holder.pid}/ns/net")
        while os.readlink(place) == here:
            time.sleep(0.01)
        return os.open(place, os.O_RDONLY)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
