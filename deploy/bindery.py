#!@prefix@/current/venv/bin/python -I
"""`bindery COMMAND`: a command of manage.py as the service runs it, with its user, settings and secrets. Takes root."""

import os
import pwd
import sys
from pathlib import Path

USER = "@user@"
ETC = Path("@etc@")
CURRENT = Path("@prefix@/current")
SECRETS = {"BINDERY_KEY_RING": "key_ring.json", "BINDERY_SECRET_KEY": "secret_key"}
KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "COLUMNS", "LINES", "NO_COLOR")


def environment_read(file: Path) -> dict[str, str]:
    """NAME=value lines, as in systemd's EnvironmentFile=: the value may stand in quotes."""
    found = {}
    for line in file.read_text().splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            value = value.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if is_quoted else value
    return found


def environment() -> dict[str, str]:
    found = {name: os.environ[name] for name in KEPT if name in os.environ}
    found |= environment_read(CURRENT / "deploy" / "service.env")
    if (ETC / "bindery.env").exists():
        found |= environment_read(ETC / "bindery.env")
    for name, file in SECRETS.items():
        if name not in found and f"{name}_FILE" not in found:
            found[name] = (ETC / file).read_text().strip()
    return found


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("bindery: this takes root, since it reads the service's secrets: sudo bindery …")
    settings = environment()
    user = pwd.getpwnam(USER)
    os.initgroups(USER, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o077)
    python = str(CURRENT / "venv" / "bin" / "python")
    os.execve(python, [python, str(CURRENT / "manage.py"), *sys.argv[1:]], settings)


main()
