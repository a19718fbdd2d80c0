"""Bindery as a systemd service: what `make install` and `make uninstall` run. Standard library only, Python 3.11.

    PREFIX/releases/TIME     the code, root's; PREFIX/current leads to the one that runs, and the one before stays
    PREFIX/venvs/KEY         the packages, one directory for each Python and requirements.txt
    /etc/bindery             the key ring and the secret key, made once and never again, and bindery.env with settings
    /var/lib/bindery         the data, the only place that the service may write
    /usr/local/bin/bindery   the commands of manage.py as the service runs them

Nothing that runs is changed before all of the new is there; then one rename leads `current` to it. With DESTDIR all
goes below that directory, for packages and tests: no user, secret or data directory is made, nothing is started.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("manage.py", "requirements.txt", "LICENSE", "README.md", "CHANGELOG.md",
        "certs", "portal", "templates", "static", "deploy", "docs")  # fmt: skip
USER = "bindery"
ETC = Path("/etc/bindery")
DATA = Path("/var/lib/bindery")
UNIT = Path("/etc/systemd/system/bindery.service")
COMMAND = Path("/usr/local/bin/bindery")
# What a data directory holds beside database and secrets; everything else is made anew.
TAKEN_ALONG = ("server.crt", "server.key", "hooks")
RELEASES_KEPT = 2
OLDEST_SYSTEMD = 250  # %d, the directory of credentials
STARTS_WITHIN = 90.0  # seconds, migrations included


class Refused(Exception):
    """It ends here; the text says why and what to do."""


@dataclass(frozen=True)
class Place:
    prefix: Path
    destdir: Path | None

    def below(self, path: Path) -> Path:
        return self.destdir / path.relative_to("/") if self.destdir else path

    @property
    def code(self) -> Path:
        return self.below(self.prefix)

    @property
    def current(self) -> Path:
        return self.code / "current"

    @property
    def is_live(self) -> bool:
        return self.destdir is None

    def fill(self, template: Path) -> str:
        """The template with the places in it."""
        text = template.read_text()
        for word, value in (("prefix", self.prefix), ("etc", ETC), ("user", USER)):
            text = text.replace(f"@{word}@", str(value))
        return text


def install(place: Place, take: str) -> None:
    """`take`: a data directory to take along into the first installation, "none", or nothing."""
    source = _first_data(place, take)
    if place.is_live:
        _systemd_is_new_enough()
        user_ensure()
    packages = packages_ensure(place)
    release = release_make(place, packages)
    if place.is_live:
        _writable_only_by_root(place.code)
        fresh = _run_as_service(release, "new_secrets")  # and so it is known that the service's user can run the code
        if source:
            data_take(source)
        secrets_ensure(fresh)
        data_own()
    settings = place.below(ETC) / "bindery.env"
    if not settings.exists():
        _write(settings, place.fill(ROOT / "deploy" / "bindery.env"), 0o600)
    _write(place.below(COMMAND), place.fill(ROOT / "deploy" / "bindery.py"), 0o755)
    is_first = not place.below(UNIT).exists()
    _write(place.below(UNIT), place.fill(ROOT / "deploy" / "bindery.service"), 0o644)
    _lead_to(place.current, Path("releases") / release.name)
    _prune(place)
    if place.is_live:
        _start(is_first)
    else:
        say(f"Bindery lies in {place.destdir}; the service needs a user {USER}, and its secrets in {ETC}.")


def uninstall(place: Place) -> None:
    if place.is_live and _has_systemd():
        _systemctl("disable", "--now", UNIT.name, check=False)
    for file in (place.below(UNIT), place.below(COMMAND), place.current):
        file.unlink(missing_ok=True)
    for directory in (place.code / "releases", place.code / "venvs"):
        shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):  # what others put there stays
        place.code.rmdir()
    if place.is_live and _has_systemd():
        _systemctl("daemon-reload")
    say(
        f"The service is gone. Still there are the data in {place.below(DATA)}, and the secrets and settings in "
        f"{place.below(ETC)}: without this key ring nobody can read the stored keys. To delete them for good:"
    )
    say(f"  rm -r {place.below(DATA)} {place.below(ETC)}" + (f" && userdel {USER}" if place.is_live else ""))


# -- what is there already -------------------------------------------------------------------------------------------


def _first_data(place: Place, take: str) -> Path | None:
    """The data directory of `make run` to take along. Raises Refused where that has to be said first, or cannot be."""
    if not place.is_live:
        return None
    used = (DATA / "bindery.sqlite3").exists()
    tried = ROOT / "data"
    if take and take != "none":
        source = Path(take).absolute()
        if not (source / "bindery.sqlite3").exists():
            raise Refused(f"DATA={take}: there is no bindery.sqlite3.")
        if used:
            raise Refused(f"DATA={take} is for the first installation, and {DATA} holds a portal already.")
        if (source / "keyring.json").exists() and (ETC / "key_ring.json").exists():
            raise Refused(f"{ETC / 'key_ring.json'} is there already, and is never overwritten. Move it away first.")
        if not (source / "keyring.json").exists() and not (ETC / "key_ring.json").exists():
            raise Refused(f"{source / 'keyring.json'} is missing. Put the key ring into {ETC / 'key_ring.json'} first.")
        return source
    if used and not (ETC / "key_ring.json").exists():
        raise Refused(
            f"{DATA} holds a portal, but its key ring {ETC / 'key_ring.json'} is missing. Put the saved copy back: "
            "with another one no stored key can be read."
        )
    if not used and not take and (tried / "bindery.sqlite3").exists():
        raise Refused(
            f"{tried} holds the portal that `make run` has made. To take it along (it is copied, nothing is moved):\n"
            f"  make install DATA={shlex.quote(str(tried))}\nTo begin anew:\n  make install DATA=none"
        )
    return None


def user_ensure() -> None:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(USER)
        return
    say(f"Making the system user {USER} …")
    home = ["--home-dir", str(DATA), "--no-create-home"]
    _must(["useradd", "--system", "--user-group", *home, "--shell", "/usr/sbin/nologin", USER])


# -- code and packages -----------------------------------------------------------------------------------------------


def packages_ensure(place: Place) -> Path:
    """A virtual environment with the pinned packages, for this very Python; it is never changed once it is whole."""
    requirements = ROOT / "requirements.txt"
    version = ".".join(map(str, sys.version_info[:3]))
    digest = hashlib.sha256(requirements.read_bytes() + os.path.realpath(sys.executable).encode()).hexdigest()[:12]
    venv = place.code / "venvs" / f"{version}-{digest}"
    python = venv / "bin" / "python"
    if (venv / "whole").exists() and _quiet([python, "-c", "import django, cryptography"]):
        return venv
    say(f"Installing Bindery's packages into {venv} …")
    _must([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input"]
    _must([*pip, "install", "--no-compile", "--requirement", str(requirements)])
    _compile(place, python, venv / "lib")
    _open(venv)
    (venv / "whole").touch()
    return venv


def release_make(place: Place, packages: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    release = place.code / "releases" / stamp
    partial = release.with_name(f".{stamp}.{os.getpid()}")
    partial.mkdir(parents=True)
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, partial / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(ROOT / name, partial / name)
    (partial / "venv").symlink_to(Path("../../venvs") / packages.name)
    _compile(place, packages / "bin" / "python", *(partial / name for name in ("certs", "portal", "manage.py")))
    _open(partial)
    partial.rename(release)
    return release


def _compile(place: Place, python: Path, *parts: Path) -> None:
    """The service may not write beside the code. Files of other Pythons' syntax in packages are passed over."""
    subprocess.run([python, "-m", "compileall", "-q", "-s", place.destdir or "", "-p", "/", *parts], check=False,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def _open(tree: Path) -> None:
    """Everybody reads, only the owner writes, whatever the umask was."""
    for directory, _, files in os.walk(tree):
        Path(directory).chmod(0o755)
        for name in files:
            file = Path(directory) / name
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _writable_only_by_root(code: Path) -> None:
    """Whoever can change a directory above can change what runs."""
    for path in (code, *code.parents):
        status = path.stat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise Refused(f"{path} can be written by others than root, so {code} is no place for a service.")


def _lead_to(link: Path, target: Path) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.rename(link)


def _prune(place: Place) -> None:
    releases = sorted(path for path in (place.code / "releases").iterdir() if not path.name.startswith("."))
    kept = {*releases[-RELEASES_KEPT:], place.current.resolve()}
    used = {(release / "venv").resolve() for release in kept}
    for path in [*(place.code / "releases").iterdir(), *(place.code / "venvs").iterdir()]:
        if path not in kept and path.resolve() not in used:
            shutil.rmtree(path, ignore_errors=True)


# -- secrets and data ------------------------------------------------------------------------------------------------


def secrets_ensure(fresh: str) -> None:
    """`fresh`: what `manage.py new_secrets` printed; what is there already is never overwritten."""
    given = dict(line.partition("=")[::2] for line in fresh.splitlines() if line.startswith("BINDERY_"))
    for file, name in (("key_ring.json", "BINDERY_KEY_RING"), ("secret_key", "BINDERY_SECRET_KEY")):
        if not (ETC / file).exists():
            _write(ETC / file, given[name].strip("'") + "\n", 0o600)


def data_take(source: Path) -> None:
    """A copy of the data directory of `make run`; its secrets become those of the service."""
    with _not_running(source):
        DATA.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = DATA / ".bindery.sqlite3.taken"
        partial.unlink(missing_ok=True)
        database = f"{(source / 'bindery.sqlite3').as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(database, uri=True)) as old,
            contextlib.closing(sqlite3.connect(partial)) as new,
        ):
            old.backup(new)
            _is_the_portal_now(new)
        partial.chmod(0o600)
        for name in TAKEN_ALONG:
            if (source / name).is_dir():
                shutil.copytree(source / name, DATA / name, dirs_exist_ok=True)
            elif (source / name).exists():
                shutil.copy2(source / name, DATA / name)
        for name, file in (("keyring.json", "key_ring.json"), ("secret_key", "secret_key")):
            if (source / name).exists() and not (ETC / file).exists():
                _write(ETC / file, (source / name).read_text(), 0o600)
        partial.rename(DATA / "bindery.sqlite3")  # last: with it the data count as there
    say(f"Copied {source} to {DATA}. Never start the old one again: both would order the same certificates.")


def _is_the_portal_now(database: sqlite3.Connection) -> None:
    """Whoever takes data along says that this portal goes on: without the old one's identity (services/identity.py) it
    makes one of its own at its start, instead of holding its orders as any other copy does."""
    with contextlib.suppress(sqlite3.OperationalError):  # a database from before there were identities
        database.execute("DELETE FROM certs_portalidentity")
        database.commit()


@contextlib.contextmanager
def _not_running(source: Path) -> Iterator[None]:
    """Holds the lock of the supervisor meanwhile. Raises Refused while a portal runs there."""
    with (source / "bindery.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"A portal is running on {source}. End it first, with Ctrl-C where it was started.") from None
        yield


def data_own() -> None:
    """The directory, and nothing in it is root's: a command that root ran there would have locked the service out.
    Scripts in hooks/ stay whose they are."""
    user = pwd.getpwnam(USER)
    if not DATA.exists():
        DATA.mkdir(mode=0o700, parents=True)
        os.chown(DATA, user.pw_uid, user.pw_gid)
    for directory, folders, files in os.walk(DATA):
        if Path(directory) == DATA and "hooks" in folders:
            folders.remove("hooks")
        for path in (Path(directory), *(Path(directory) / name for name in files)):
            if path.lstat().st_uid == 0:
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


# -- the service -----------------------------------------------------------------------------------------------------


def _start(is_first: bool) -> None:
    if not _has_systemd():
        say(f"systemd does not run here, so nothing was started. The unit is {UNIT}.")
        return
    _systemctl("daemon-reload")
    if _systemctl("is-active", "--quiet", UNIT.name, check=False):
        _systemctl("restart", UNIT.name)
    elif is_first:
        for port in _ports():
            _port_is_free(port)
        _systemctl("enable", "--now", UNIT.name)
    else:
        say("Installed. The service was not running, so it was not started: systemctl enable --now bindery")
        return
    _wait_until_it_answers()


def _wait_until_it_answers() -> None:
    port = _ports()[0]
    deadline = time.monotonic() + STARTS_WITHIN
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            direct.open(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            say(f"Bindery runs as the user {USER}; settings are in {ETC / 'bindery.env'}, data in {DATA}.")
            subprocess.run([COMMAND, "setup_link"], check=False, stderr=subprocess.DEVNULL)
            say(f"Keep a copy of {ETC / 'key_ring.json'} apart from the data: without it nobody can read stored keys.")
            return
        time.sleep(0.5)
    say(f"It has not answered on port {port} within {STARTS_WITHIN:g} seconds. Its last words:")
    subprocess.run(["journalctl", "--no-pager", "-n", "15", "-u", UNIT.name], check=False)
    sys.exit(1)


def _ports() -> list[int]:
    """As the settings say: plain HTTP, HTTPS."""
    settings: dict[str, str] = {}
    for file in (ROOT / "deploy" / "service.env", ETC / "bindery.env"):
        lines = (line.strip().partition("=") for line in file.read_text().splitlines())
        settings |= {name: value.strip("\"' ") for name, _, value in lines}
    return [int(settings["BINDERY_HTTP_PORT"]), int(settings["BINDERY_HTTPS_PORT"])]


def _port_is_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            name = "BINDERY_HTTP_PORT" if port == _ports()[0] else "BINDERY_HTTPS_PORT"
            raise Refused(
                f"All is installed, but was not started: port {port} cannot be opened ({error.strerror}). Stop the "
                f"program that holds it, or set another {name} in {ETC / 'bindery.env'}. Then:\n"
                "  systemctl enable --now bindery"
            ) from error


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _systemd_is_new_enough() -> None:
    if _has_systemd():
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout.split()
        if said[:1] == ["systemd"] and said[1].isdigit() and int(said[1]) < OLDEST_SYSTEMD:
            raise Refused(
                f"This is systemd {said[1]}, and the unit needs {OLDEST_SYSTEMD} or newer. `make run` works here."
            )


def _systemctl(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["systemctl", *words], check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise Refused(f"`systemctl {' '.join(words)}` failed; its message is above.")
    return done.returncode == 0


# -- small things ----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


def _run_as_service(release: Path, command: str) -> str:
    user = pwd.getpwnam(USER)
    done = subprocess.run(
        [release / "venv" / "bin" / "python", release / "manage.py", command],
        cwd="/", env={"BINDERY_HOME": str(DATA)}, user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Refused(f"The user {USER} cannot run the installed code:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def _write(file: Path, content: str, mode: int) -> None:
    """With its final mode from the beginning, complete or not at all. A directory for secrets is root's alone."""
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700 if file.parent.name == ETC.name else 0o755, parents=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    partial.rename(file)


def _must(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Refused(f"`{shlex.join(map(str, command))}` failed; its message is above.")


def _quiet(command: Sequence[str | Path]) -> bool:
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Install Bindery as a systemd service, or take it away.")
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument("--prefix", default="/opt/bindery", help="where code and packages go")
    parser.add_argument("--destdir", default="", help="a directory that stands for /, for packages")
    parser.add_argument("--data", default="", help="a data directory to take along, or none")
    given = parser.parse_args()
    place = Place(Path(given.prefix).absolute(), Path(given.destdir).absolute() if given.destdir else None)
    os.umask(0o022)
    try:
        if place.is_live and os.geteuid() != 0:
            raise Refused(f"This takes root: sudo make {given.action}. (`make run` starts a portal without it.)")
        if given.action == "install":
            install(place, given.data)
        else:
            uninstall(place)
    except Refused as refused:
        print(f"bindery: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
