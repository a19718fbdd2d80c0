"""`make install` without a machine of its own: files for a package, the unit as systemd reads it, what is refused.

tests/e2e/test_service.py has the service running.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import counterparts, systemd
from tests.harness.artifacts import ROOT

HIGHEST_EXPOSURE = 2.0
sys.path.insert(0, str(ROOT / "deploy"))
import install  # noqa: E402  (a script, not part of a package)

sys.path.pop(0)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A scratch root; the packages are those that the service tests have installed, where they have."""
    root = tmp_path_factory.mktemp("root")
    systemd.packages_install()
    (root / "opt/bindery").mkdir(parents=True)
    (root / "opt/bindery/venvs").symlink_to(systemd.PACKAGES / "opt/bindery/venvs")
    old_umask = os.umask(0o077)  # as careful administrators have it
    done = subprocess.run(
        ["make", "--no-print-directory", "install", f"DESTDIR={root}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    os.umask(old_umask)
    assert done.returncode == 0, done.stdout + done.stderr
    yield root
    shutil.rmtree(root)


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        if counterparts.is_demanded():
            pytest.fail("left out: there is no systemd-analyze")
        pytest.skip("left out: there is no systemd-analyze")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def unit(scratch: Path, tmp_path: Path) -> Path:
    """With its files where they are now, since systemd looks whether they are there."""
    text = (scratch / "etc/systemd/system/bindery.service").read_text()
    assert "@" not in re.sub(r"SystemCallFilter=.*", "", text)
    file = tmp_path / "bindery.service"
    file.write_text(text.replace("/opt/bindery", str(scratch / "opt/bindery")))
    return file


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_exposure_is_low(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={int(HIGHEST_EXPOSURE * 10)}", "--no-pager", unit)
    rated = re.search(r"Overall exposure level for bindery.service: ([\d.]+)", done.stdout)
    assert rated, done.stdout + done.stderr
    assert float(rated.group(1)) < HIGHEST_EXPOSURE, done.stdout
    assert done.returncode == 0


def test_a_package_has_the_code_and_no_secret(scratch: Path) -> None:
    assert {path.name for path in (scratch / "etc/bindery").iterdir()} == {"bindery.env"}
    assert not (scratch / "var").exists()
    code = scratch / "opt/bindery/current"
    assert code.readlink().parts[0] == "releases"
    for name in ("manage.py", "certs/apps.py", "templates/base.html", "deploy/service.env", "docs/operation.md"):
        assert (code / name).is_file(), name
    assert not list(code.glob("tests*"))
    open_to_others = [path for path in code.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert not open_to_others
    unreadable = [path for path in code.rglob("*") if not path.is_symlink() and not path.stat().st_mode & stat.S_IROTH]
    assert not unreadable, "whatever the umask of root was, the service reads it"
    assert list((code / "certs").rglob("__pycache__/*.pyc")), "the service cannot write beside the code"


def test_the_unit_names_each_credential_and_setting_that_is_installed(scratch: Path) -> None:
    text = (scratch / "etc/systemd/system/bindery.service").read_text()
    assert re.findall(r"^LoadCredential=(\w+):(\S+)$", text, re.MULTILINE) == [
        ("key_ring", "/etc/bindery/key_ring.json"),
        ("secret_key", "/etc/bindery/secret_key"),
    ]
    files = re.findall(r"^EnvironmentFile=(-?)(\S+)$", text, re.MULTILINE)
    assert files == [("", "/opt/bindery/current/deploy/service.env"), ("-", "/etc/bindery/bindery.env")]
    assert all((scratch / path.lstrip("/")).is_file() for _, path in files)


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_only_root_may(action: str) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_nobody, "/usr/bin/python3", ROOT / "deploy/install.py", action],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"sudo make {action}" in done.stderr


def test_what_is_not_roots_alone_is_no_place_for_code(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(install.Refused, match="no place for a service"):
        install._writable_only_by_root(tmp_path)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        ('  NAME = "a value"  ', "a value"),
        ("NAME='{\"a\": 1}'", '{"a": 1}'),
        ("NAME=https://portal.example.com/?a=b", "https://portal.example.com/?a=b"),
        ("NAME=", ""),
        ("# NAME=value", None),
        ("; NAME=value", None),
        ("NAME", None),
    ],
)
def test_the_command_reads_settings_as_the_service_does(tmp_path: Path, line: str, value: str | None) -> None:
    text = (ROOT / "deploy/bindery.py").read_text()
    script: dict[str, object] = {}
    exec(compile(text.removesuffix("main()\n"), "bindery", "exec"), script)
    file = tmp_path / "bindery.env"
    file.write_text(f"{line}\n\n")
    assert script["environment_read"](file).get("NAME") == value  # type: ignore[operator]


@pytest.mark.parametrize(
    ("version", "refused"), [("249.11-0ubuntu3.12", True), ("252.38-1", False), ("257~rc1", False)]
)
def test_a_systemd_without_credentials_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, refused: bool
) -> None:
    systemctl = tmp_path / "systemctl"  # a stand-in that only knows its version
    systemctl.write_text(
        f"#!/bin/sh\necho 'systemd {version.partition('.')[0].partition('~')[0]} ({version})'\necho +PAM\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(install, "_has_systemd", lambda: True)
    if refused:
        with pytest.raises(install.Refused, match="systemd 249"):
            install._systemd_is_new_enough()
    else:
        install._systemd_is_new_enough()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything below a scratch directory, as `install` would have it below /."""
    for name in ("ETC", "DATA", "ROOT"):
        monkeypatch.setattr(install, name, tmp_path / name.lower())
    for name in ("root", "etc"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(install, "UNIT", tmp_path / "bindery.service")
    return tmp_path


def tried(places: Path, ring: str = '{"ring": 1}') -> Path:
    """What `make run` leaves behind, as far as files go."""
    import sqlite3
    from contextlib import closing

    data = places / "root/data"
    (data / "hooks").mkdir(parents=True)
    with closing(sqlite3.connect(data / "bindery.sqlite3")) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE kept (word); INSERT INTO kept VALUES ('here')")
    (data / "keyring.json").write_text(ring)
    (data / "secret_key").write_text("sign")
    (data / "server.key").write_text("key")
    (data / "server.key").chmod(0o400)
    (data / "hooks/present").write_text("#!/bin/sh")
    (data / "bindery.sqlite3-wal").touch()
    (data / "bindery.lock").touch()
    return data


LIVE = install.Place(Path("/opt/bindery"), None)


def test_data_are_copied_with_their_secrets_and_nothing_of_the_moment(places: Path) -> None:
    source = tried(places)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert install._first_data(LIVE, str(source)) == source
    install.data_take(source)
    assert (install.ETC / "key_ring.json").read_text() == '{"ring": 1}'
    assert (install.ETC / "secret_key").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in install.DATA.iterdir()} == {"bindery.sqlite3", "server.key", "hooks"}
    assert (install.DATA / "server.key").stat().st_mode & 0o777 == 0o400
    install.secrets_ensure("BINDERY_KEY_RING='{\"ring\": 2}'\nBINDERY_SECRET_KEY=other\n")
    assert (install.ETC / "key_ring.json").read_text() == '{"ring": 1}', "never overwritten"
    assert {path: path.read_bytes() for path in before} == before


def test_it_has_to_be_said_what_becomes_of_data_that_are_there(places: Path) -> None:
    source = tried(places)
    with pytest.raises(install.Refused, match="make install DATA=none"):
        install._first_data(LIVE, "")
    assert install._first_data(LIVE, "none") is None
    (source / "keyring.json").unlink()
    with pytest.raises(install.Refused, match=r"keyring\.json is missing"):
        install._first_data(LIVE, str(source))
    with pytest.raises(install.Refused, match="no bindery"):
        install._first_data(LIVE, str(places))


def test_no_second_key_ring_takes_the_place_of_one_that_is_in_use(places: Path) -> None:
    source = tried(places)
    (install.ETC / "key_ring.json").write_text("{}")
    with pytest.raises(install.Refused, match="never overwritten"):
        install._first_data(LIVE, str(source))
    (install.ETC / "key_ring.json").unlink()
    install.DATA.mkdir()
    (install.DATA / "bindery.sqlite3").touch()
    with pytest.raises(install.Refused, match="Put the saved copy back"):
        install._first_data(LIVE, "")
    with pytest.raises(install.Refused, match="holds a portal already"):
        install._first_data(LIVE, str(source))
