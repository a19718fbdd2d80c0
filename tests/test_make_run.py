"""`make run` on fresh machines: which Python is taken, what is said where none will do, and how packages come here.

The interpreters on PATH are scripts that answer the questions of deploy/find_python.sh, and the portal of the scratch
checkout is a script that says it was started: make, pip, venv, the index and the proxy are real.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.harness.artifacts import ROOT
from tests.harness.namespace import refusal
from tests.harness.ports import LOOPBACK, wait_until

FIND = ROOT / "deploy" / "find_python.sh"
WHEEL = "bindery_stub-1.0-py3-none-any.whl"


def fake_python(place: Path, name: str, version: str, *, venv: bool = True, real: str = "/usr/bin/real") -> Path:
    """A script that answers as a Python of that version does; it can do nothing else."""
    place.mkdir(parents=True, exist_ok=True)
    numbers = version.replace(".", " ")
    is_old = tuple(int(part) for part in version.split("."))[:2] < (3, 11)
    file = place / name
    file.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f"  *version_info*) {'exit 1' if is_old else f'echo {numbers} {real}'} ;;\n"
        f"  *ensurepip*) exit {0 if venv else 1} ;;\n"
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    file.chmod(0o755)
    return file


def find(*places: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What find_python.sh says with these directories, and the tools it needs, as PATH."""
    tools = places[0].parent / "tools"
    if not tools.exists():
        tools.mkdir()
        for tool in ("sort", "tr", "id"):
            (tools / tool).symlink_to(str(shutil.which(tool)))
    path = ":".join(str(place) for place in (*places, tools))
    return subprocess.run(
        ["/bin/sh", str(FIND)], env={"PATH": path, **environment}, capture_output=True, text=True, check=False
    )


def test_the_newest_is_taken_wherever_on_path_it_is(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fake_python(first, "python3", "3.11.9")
    fake_python(first, "python3.9", "3.9.2")
    wanted = fake_python(second, "python3.13", "3.13.4")
    fake_python(second, "python3.12", "3.12.11")
    assert find(first, second).stdout.strip() == str(wanted)


def test_ten_is_more_than_nine(tmp_path: Path) -> None:
    fake_python(tmp_path / "a", "python3.11", "3.11.9")
    wanted = fake_python(tmp_path / "b", "python3.11", "3.11.10")
    assert find(tmp_path / "a", tmp_path / "b").stdout.strip() == str(wanted)


def test_one_without_venv_yields_to_an_older_one(tmp_path: Path) -> None:
    fake_python(tmp_path / "a", "python3.13", "3.13.4", venv=False)
    wanted = fake_python(tmp_path / "a", "python3.11", "3.11.9")
    assert find(tmp_path / "a").stdout.strip() == str(wanted)


def test_one_newer_than_the_packages_is_taken_last(tmp_path: Path) -> None:
    future = fake_python(tmp_path / "a", "python3.19", "3.19.0")
    assert find(tmp_path / "a").stdout.strip() == str(future)
    wanted = fake_python(tmp_path / "a", "python3.14", "3.14.1")
    assert find(tmp_path / "a").stdout.strip() == str(wanted)


def test_what_does_not_answer_is_passed_over(tmp_path: Path) -> None:
    """As the shims of pyenv do for versions that are not chosen."""
    shim = fake_python(tmp_path / "a", "python3.13", "3.13.4")
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    (tmp_path / "a" / "python3.14").mkdir()
    fake_python(tmp_path / "a", "python3.12-config", "3.12.1")
    wanted = fake_python(tmp_path / "a", "python", "3.11.9")
    assert find(tmp_path / "a").stdout.strip() == str(wanted)


def test_a_service_takes_none_from_a_home(tmp_path: Path) -> None:
    fake_python(tmp_path / "a", "python3.13", "3.13.4", real="/home/alice/.pyenv/versions/3.13.4/bin/python3.13")
    fake_python(tmp_path / "a", "python3.12", "3.12.4", real="/root/.local/bin/python3.12")
    said = find(tmp_path / "a", OUTSIDE_HOMES="1")
    assert said.returncode == 1
    assert "outside of home directories" in said.stderr
    wanted = fake_python(tmp_path / "a", "python3", "3.11.2")
    assert find(tmp_path / "a", OUTSIDE_HOMES="1").stdout.strip() == str(wanted)


def test_the_one_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    fake_python(tmp_path / "a", "python3.13", "3.13.4")
    named = fake_python(tmp_path / "elsewhere", "python3.12", "3.12.4")
    assert find(tmp_path / "a", PYTHON=str(named)).stdout.strip() == str(named)
    fake_python(tmp_path / "elsewhere", "python3.12", "3.9.4")
    refused = find(tmp_path / "a", PYTHON=str(named))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert str(named) in refused.stderr


SYSTEMS = {
    "debian 12": ('ID=debian\nVERSION_ID="12"', "apt install python3 python3-venv"),
    "debian 11": ('ID=debian\nVERSION_ID="11"', ""),
    "ubuntu 24.04": ("ID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble", "apt install python3 python3-venv"),
    "ubuntu 22.04": ("ID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=jammy", "apt install python3.11 python3.11-venv"),
    "mint 21": ('ID=linuxmint\nID_LIKE="ubuntu debian"\nUBUNTU_CODENAME=jammy',
                "apt install python3.11 python3.11-venv"),
    "raspbian": ("ID=raspbian\nID_LIKE=debian\nVERSION_ID=12", "apt install python3 python3-venv"),
    "fedora": ("ID=fedora\nVERSION_ID=43", "dnf install python3"),
    "rocky": ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"', "dnf install python3.12"),
    "rhel": ("ID='rhel'\nVERSION_ID='9.4'", "dnf install python3.12"),
    "leap": ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"', "zypper install python311"),
    "tumbleweed": ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "zypper install python313"),
    "alpine": ("ID=alpine\nVERSION_ID=3.22.1", "apk add python3"),
    "arch": ("ID=arch", "pacman -S python"),
    "unknown": ("ID=plan9", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_line_that_installs_python_here(tmp_path: Path, name: str) -> None:
    text, line = SYSTEMS[name]
    (tmp_path / "os-release").write_text(f'PRETTY_NAME="{name}"\n{text}\n')
    (tmp_path / "a").mkdir()
    said = find(tmp_path / "a", OS_RELEASE=str(tmp_path / "os-release"))
    assert said.returncode == 1
    assert "Python 3.11 or newer is needed" in said.stderr
    shown = [words.strip().removeprefix("sudo ") for words in said.stderr.splitlines() if words.startswith("  ")]
    assert shown == ([line] if line else [])
    if not line:
        assert "make PYTHON=" in said.stderr


def test_the_line_that_installs_venv_names_the_version(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_ID=12\n")
    lacking = fake_python(tmp_path / "a", "python3", "3.11.2", venv=False)
    said = find(tmp_path / "a", OS_RELEASE=str(tmp_path / "os-release")).stderr
    assert f"{lacking} has no venv module" in said
    assert said.rstrip().endswith("apt install python3.11-venv")


# -- pip, the index and the proxy --------------------------------------------------------------------------------------


class Index:
    """A package index with one package, which is also a proxy for plain HTTP. `stall` keeps the wheel back."""

    def __init__(self, wheel: Path) -> None:
        self.asked: list[str] = []
        self.stall = threading.Event()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                is_wheel = self.path.endswith(".whl")
                if is_wheel and index.stall.is_set():
                    time.sleep(60)
                body = wheel.read_bytes() if is_wheel else f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    wheel = tmp_path / WHEEL
    about = "bindery_stub-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("bindery_stub.py", "")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: bindery-stub\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{about}/RECORD", f"bindery_stub.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"
        )
    running = Index(wheel)
    yield running
    running.server.shutdown()
    running.server.server_close()


class Checkout:
    """The Makefile and the script of this checkout, one small package, and a portal that only says it was started."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.python = place / ".venv" / "bin" / "python"
        (place / "deploy").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", place)
        shutil.copy(FIND, place / "deploy")
        (place / "requirements.txt").write_text("bindery-stub==1.0\n")
        (place / "manage.py").write_text("import sys, bindery_stub\nprint('started', *sys.argv[1:])\n")

    def start(self, *, before: list[str] | None = None, **environment: str) -> "subprocess.Popen[str]":
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
        inherited = {name: value for name, value in inherited.items() if not name.upper().endswith("_PROXY")}
        return subprocess.Popen(
            [*(before or []), "make", "--no-print-directory", "run", "ARGS=--role all"],
            cwd=self.place,
            env={
                **inherited,
                "PYTHON": sys._base_executable,
                "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_CACHE_DIR": "1",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, **options: object) -> str:
        said, _ = self.start(**options).communicate(timeout=180)  # type: ignore[arg-type]
        return said


@pytest.mark.skipif(bool(refusal()), reason="a start without a network takes a namespace")
def test_packages_come_by_the_environments_index_and_proxy_and_then_nothing_is_asked(
    tmp_path: Path, index: Index
) -> None:
    checkout = Checkout(tmp_path / "checkout")
    simple = {"PIP_INDEX_URL": f"{index.url}/simple"}

    index.stall.set()
    with checkout.start(**simple) as cut:
        wait_until(lambda: any(asked.endswith(".whl") for asked in index.asked), timeout=60, what="the download")
        os.killpg(cut.pid, signal.SIGKILL)
    index.stall.clear()
    left_behind = checkout.place / ".venv" / "lib" / "left-behind"
    left_behind.touch()

    said = checkout.run(**simple)
    assert "started up --role all" in said
    assert ("make install" in said) == (os.geteuid() == 0)
    assert not left_behind.exists(), "what was being installed when all ended is not trusted"

    index.asked.clear()
    assert "started up" in checkout.run(before=["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "-rn"])
    assert not index.asked

    (checkout.place / "requirements.txt").write_text("bindery-stub==1.0  # anew\n")
    subprocess.run([checkout.python, "-m", "pip", "-q", "uninstall", "-y", "bindery-stub"], check=True)
    proxied = {"PIP_INDEX_URL": "http://packages.test/simple", "PIP_TRUSTED_HOST": "packages.test"}
    assert "started up" in checkout.run(**proxied, http_proxy=index.url, HTTP_PROXY=index.url)
    assert any(asked.startswith("http://packages.test/") for asked in index.asked), index.asked


def test_an_environment_whose_python_has_gone_is_made_anew(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.python.parent.mkdir(parents=True)
    checkout.python.symlink_to("/nowhere/python3.10")
    for stamp in ("made", "ready-run"):
        (checkout.place / ".venv" / stamp).touch()
    fake = fake_python(tmp_path / "fake", "python3", "3.12.4")
    fake.write_text(fake.read_text().replace("#!/bin/sh\n", '#!/bin/sh\n[ "$2" != venv ] || echo "$@"\n'))
    said = checkout.run(PYTHON=str(fake))
    assert "-m venv --clear .venv" in said
    assert f"{fake} could not make the virtual environment .venv" in said
    assert "started" not in said
