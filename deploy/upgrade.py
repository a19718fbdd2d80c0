"""`make upgrade`: the version that lies in this checkout takes the place of the one that runs. Standard library only.

`git pull` (or another checkout) comes first and is the person's. Where `make install` has made a service, that is
upgraded; else the portal that `make run` starts from this checkout. Nothing that runs is touched before the new
packages are there and the new code has looked at itself; the database is copied before its tables change. What fails
leaves the version before running, or startable by what is printed. Doing it again changes nothing.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import install
from install import DATA, ROOT, UNIT, Place, Refused, say

VENV, NEXT, BEFORE = ROOT / ".venv", ROOT / ".venv-next", ROOT / ".venv-before"
UNFIT = 6  # code and database do not fit each other (docs/operation.md)


def main() -> int:
    parser = argparse.ArgumentParser(description="Put the version of this checkout in place of the one that runs.")
    parser.add_argument("--prefix", default="/opt/bindery", help="where `make install` put the code")
    place = Place(Path(parser.parse_args().prefix).absolute(), None)
    try:
        if UNIT.exists():
            if os.geteuid() != 0:
                raise Refused("Bindery is installed as a service here, which takes root: sudo make upgrade.")
            service_upgrade(place)
        else:
            checkout_upgrade()
    except Refused as refused:
        print(f"bindery: {refused}", file=sys.stderr)
        return 1
    return 0


# -- a portal that `make run` starts ---------------------------------------------------------------------------------


def checkout_upgrade() -> None:
    """Raises Refused; `.venv` is then the one that it was."""
    fresh = not _is_ready(VENV)
    if fresh and not _is_ready(NEXT):
        _packages_beside()
    python = (NEXT if fresh else VENV) / "bin" / "python"
    install._must([str(python), str(ROOT / "manage.py"), "check"])
    with _no_portal():
        if fresh:
            _swap(NEXT, BEFORE)
    if not _has_database():
        say("Upgraded. There is no database yet; the first start makes it: make run")
        return
    code = subprocess.run(
        [VENV / "bin" / "python", ROOT / "manage.py", "migrate", "--verbosity", "0"], check=False
    ).returncode
    if code != 0:
        if fresh:
            _swap(BEFORE, NEXT)
        raise Refused("Nothing else was changed. The message above says why, and what to do.")
    say("Upgraded. Start it: make run")
    if fresh:
        say("The way back, with the line above if there is one: git checkout the version before, and then")
        say(f"  rm -rf {VENV.name} && mv {BEFORE.name} {VENV.name}")


def _home() -> Path:
    return Path(os.environ.get("BINDERY_HOME") or ROOT / "data").absolute()


def _has_database() -> bool:
    elsewhere = os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE")
    return bool(elsewhere) or (_home() / "bindery.sqlite3").exists()


def _is_ready(venv: Path) -> bool:
    """As the Makefile sees it: the packages were installed after requirements.txt was last written."""
    mark = venv / "ready-run"
    return mark.exists() and mark.stat().st_mtime >= (ROOT / "requirements.txt").stat().st_mtime


def _packages_beside() -> None:
    say(f"Installing the new packages into {NEXT.name} …")
    shutil.rmtree(NEXT, ignore_errors=True)
    install._must([sys.executable, "-m", "venv", str(NEXT)])
    pip = [str(NEXT / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input"]
    install._must([*pip, "install", "-r", str(ROOT / "requirements.txt")])
    for mark in ("made", "ready-run"):
        (NEXT / mark).touch()


def _swap(new: Path, old: Path) -> None:
    """`.venv` becomes `old`, `new` becomes `.venv`."""
    shutil.rmtree(old, ignore_errors=True)
    if VENV.exists():
        VENV.rename(old)
    new.rename(VENV)


@contextlib.contextmanager
def _no_portal() -> Iterator[None]:
    """Holds the lock of the supervisor. Raises Refused while a portal runs: its packages must not be changed."""
    home = _home()
    if not home.is_dir():
        yield
        return
    with (home / "bindery.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise Refused(
                f"All is prepared, and a portal is running (process {file.read().strip()}). End it, with Ctrl-C where "
                "it was started, and run `make upgrade` again: it goes on from here."
            ) from None
        yield


# -- the service -----------------------------------------------------------------------------------------------------


def service_upgrade(place: Place) -> None:
    """Raises Refused. The new release is started; where it does not answer and the tables are as they were, the one
    before is started again."""
    if not place.current.exists():
        raise Refused("Nothing is installed yet. Install it: make install")
    before, tables = place.current.resolve(), _tables()
    packages = install.packages_ensure(place)
    release = install.release_make(place, packages)
    install._run_as_service(release, "check")
    _put(place, release)
    if not install._has_systemd() or not install._systemctl("is-active", "--quiet", UNIT.name, check=False):
        say("Upgraded. The service was not running, so it was not started.")
        return
    install._systemctl("restart", UNIT.name)
    if _answers():
        install._prune(place)
        say(f"Upgraded; {place.current} leads to {release.name}. What was printed at its start:")
        _journal()
        say(f"The way back: {_way_back(place, before)}")
        return
    _journal()
    if _tables() != tables:
        raise Refused(
            "The new version does not answer, and it has changed the tables, so the one before was not started. The "
            f"lines above hold the way back of the database, to be run while the service is stopped. Then:\n"
            f"  {_way_back(place, before)}"
        )
    _put(place, before)
    install._systemctl("restart", UNIT.name)
    raise Refused("The new version does not answer; its words are above. The one before was started again.")


def _put(place: Place, release: Path) -> None:
    """Unit and command of that release, and then the release itself, by one rename."""
    for name, target, mode in (("bindery.py", install.COMMAND, 0o755), ("bindery.service", UNIT, 0o644)):
        install._write(target, place.fill(release / "deploy" / name), mode)
    install._lead_to(place.current, Path("releases") / release.name)
    if install._has_systemd():
        install._systemctl("daemon-reload")


def _way_back(place: Place, before: Path) -> str:
    return f"systemctl stop bindery && ln -sfn releases/{before.name} {place.current} && systemctl start bindery"


def _answers() -> bool:
    port = install._ports()[0]
    deadline = time.monotonic() + install.STARTS_WITHIN
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            direct.open(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return True
        if not install._systemctl("is-active", "--quiet", UNIT.name, check=False) and _gave_up():
            return False
        time.sleep(0.5)
    return False


def _gave_up() -> bool:
    """The unit does not start it again after such an end."""
    said = subprocess.run(
        ["systemctl", "show", "-P", "ExecMainStatus", UNIT.name], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() == str(UNFIT)


def _journal() -> None:
    subprocess.run(["journalctl", "--no-pager", "-n", "15", "-u", UNIT.name], check=False)


def _tables() -> list[str] | None:
    """The migrations that the SQLite database has; None where there is none to look at."""
    with contextlib.suppress(sqlite3.Error):
        database = sqlite3.connect(f"{(DATA / 'bindery.sqlite3').as_uri()}?mode=ro", uri=True)
        with contextlib.closing(database):
            return sorted(name for (name,) in database.execute("SELECT app || '.' || name FROM django_migrations"))
    return None


if __name__ == "__main__":
    sys.exit(main())
