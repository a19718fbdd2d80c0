"""The programs the end-to-end tests meet, found or fetched: `python -m tests.harness.counterparts` (make test does it).

Pebble and Caddy are single binaries: they are unpacked from Debian packages into `.cache/counterparts`, which needs
apt but no root. Chromium and PostgreSQL have many dependencies, so they are installed where we are root.
What could not be had is named with the reason. With CI=true that is a failure, here and in the tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "counterparts"


@dataclass(frozen=True)
class Counterpart:
    """`suites` are tried in order; an empty one is the machine's own. No suite at all: a system package."""

    name: str
    program: str
    package: str
    suites: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # glob patterns of directories beside PATH
    needed_for: str = ""


COUNTERPARTS = {
    each.name: each
    for each in (
        # forky's 2.10 has renewal information and profiles; bookworm's 2.4 has neither.
        Counterpart("pebble", "pebble", "pebble", ("forky", ""), needed_for="every order of a certificate"),
        Counterpart("caddy", "caddy", "caddy", ("",), needed_for="the second ACME server, 12 h certificates"),
        Counterpart("chromium", "chromium", "chromium", needed_for="all pages in a real browser"),
        Counterpart(
            "postgresql",
            "initdb",
            "postgresql",
            places=("/usr/lib/postgresql/*/bin",),
            needed_for="the portal on PostgreSQL",
        ),
        Counterpart(
            "unshare", "unshare", "util-linux", needed_for="private namespaces, where ports 80 and 443 are free"
        ),
        Counterpart("ip", "ip", "iproute2", places=("/usr/sbin", "/sbin"), needed_for="private namespaces"),
        Counterpart("named", "named", "bind9", places=("/usr/sbin",), needed_for="DNS challenges with dynamic updates"),
        Counterpart(
            "powerdns",
            "pdns_server",
            "pdns-backend-sqlite3",  # brings pdns-server
            places=("/usr/sbin",),
            needed_for="a DNS provider with an API",
        ),
        Counterpart(
            "haproxy",
            "haproxy",
            "haproxy",
            places=("/usr/sbin",),
            needed_for="HAProxy in front, and names that point to it",
        ),
        Counterpart(
            "squid", "squid", "squid-openssl", places=("/usr/sbin",), needed_for="a company's proxy that inspects TLS"
        ),
        Counterpart("lego", "lego", "lego", ("",), needed_for="a peer beside our issuance in `make bench`"),
        Counterpart(
            "systemd",
            "systemd",
            "systemd",
            places=("/lib/systemd", "/usr/lib/systemd"),
            needed_for="the service that `make install` makes",
        ),
        Counterpart("sshd", "sshd", "openssh-server", places=("/usr/sbin",), needed_for="machines reached by SSH"),
        Counterpart("sudo", "sudo", "sudo", needed_for="commands that the pages show, as a person runs them"),
        Counterpart(
            "iptables", "iptables", "iptables", places=("/usr/sbin", "/sbin"), needed_for="a port that is forwarded"
        ),
        Counterpart("openssl", "openssl", "openssl", needed_for="a TLS client that is not Python's"),
        Counterpart("keytool", "keytool", "openjdk-17-jre-headless", needed_for="key stores as Java reads them"),
        Counterpart(
            "tomcat",
            "catalina.sh",
            "tomcat10",
            places=("/usr/share/tomcat10/bin",),
            needed_for="the configuration that the pages show for Tomcat",
        ),
        Counterpart("certtool", "certtool", "gnutls-bin", needed_for="a second opinion on what we sign"),
        Counterpart("certbot", "certbot", "python3-certbot-dns-rfc2136", needed_for="what is taken over from certbot"),
        Counterpart("nginx", "nginx", "nginx", places=("/usr/sbin",), needed_for="nginx in front of the portal"),
        Counterpart("apache2", "apache2", "apache2", places=("/usr/sbin",), needed_for="Apache in front of the portal"),
    )
}


class Missing(Exception):
    """A counterpart is not here; the text says why and what cannot be tested without it."""


def find(name: str) -> Path:
    """The path of a counterpart's program. Raises Missing."""
    wanted = COUNTERPARTS[name]
    places = [str(CACHE / name / "usr" / "bin")]
    for pattern in wanted.places:
        places += sorted((str(place) for place in Path("/").glob(pattern.lstrip("/"))), reverse=True)
    path = shutil.which(wanted.program, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if path is None:
        raise Missing(f"{name} is not here ({wanted.needed_for}); `make counterparts` says why")
    return Path(path)


def version(name: str) -> str:
    """The Debian version of what was unpacked into the cache; empty for a program of the machine."""
    file = CACHE / name / "VERSION"
    return file.read_text().strip() if file.exists() else ""


def is_demanded() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def provide(name: str) -> None:
    """Find it, else fetch or install it. Raises Missing with the reason."""
    try:
        find(name)
    except Missing:
        wanted = COUNTERPARTS[name]
        (_unpack if wanted.suites else _install)(wanted)
        find(name)


def _install(wanted: Counterpart) -> None:
    if shutil.which("apt-get") is None:
        raise Missing(f"there is no apt-get; install the package {wanted.package} by hand")
    if os.geteuid() != 0:
        raise Missing(f"not root: run `apt-get install {wanted.package}` as root")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    try:
        if ours:  # no package may start a daemon on this machine
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = [
            "apt-get",
            "install",
            "-y",
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=300",
            "--no-install-recommends",
            wanted.package,
        ]
        if _quiet(install, environment) is not None:
            _quiet(["apt-get", "update", "-qq"], environment)
            trouble = _quiet(install, environment)
            if trouble is not None:
                raise Missing(f"apt-get could not install {wanted.package}: {trouble}")
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def _unpack(wanted: Counterpart) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Missing(f"there is no apt-get or dpkg; put {wanted.program} on the PATH by hand")
    CACHE.mkdir(parents=True, exist_ok=True)
    reasons = []
    for suite in wanted.suites:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=CACHE) as directory:
            place = Path(directory)
            try:
                package = _download(wanted.package, suite, place)
                unpacked = place / "out"
                _must(["dpkg", "-x", str(package), str(unpacked)], place)
                (unpacked / "VERSION").write_text(package.name.split("_")[1])
                # Renamed whole, so that two runs at once never see half of it.
                shutil.rmtree(CACHE / wanted.name, ignore_errors=True)
                unpacked.rename(CACHE / wanted.name)
            except (Missing, OSError) as error:
                reasons.append(f"{suite or 'own suite'}: {error}")
                continue
            return
    raise Missing(f"{wanted.package} could not be fetched ({'; '.join(reasons)})")


def _download(package: str, suite: str, place: Path) -> Path:
    """Into `place`, with lists and cache of its own: the machine's package state stays as it is."""
    sources = place / "sources.list"
    sources.write_text(_sources(suite))
    (place / "lists" / "partial").mkdir(parents=True)
    (place / "cache" / "archives" / "partial").mkdir(parents=True)
    (place / "status").touch()
    options = [
        f"Dir::Etc::sourcelist={sources}",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={place / 'lists'}",
        f"Dir::Cache={place / 'cache'}",
        f"Dir::State::status={place / 'status'}",
        "APT::Sandbox::User=",  # the directory belongs to us, not to _apt
        "Acquire::Languages=none",
        "Acquire::Retries=2",
    ]
    flags = [word for option in options for word in ("-o", option)]
    _must(["apt-get", *flags, "-qq", "update"], place)
    _must(["apt-get", *flags, "-qq", "download", package], place)
    found = sorted(place.glob(f"{package}_*.deb"))
    if not found:
        raise Missing("apt-get downloaded nothing")
    return found[0]


def _sources(suite: str) -> str:
    """The machine's own mirror, asked for `suite` (its own suites where empty)."""
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    rows = [words for line in listed if len(words := line.split()) >= 3 and words[2] == "main" and "ebian" in line]
    if not rows:
        raise Missing("no Debian mirror in the apt sources of this machine")
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    if not suite:
        return "".join(f"deb {signed}{row[0]} {row[1]} main\n" for row in rows)
    mirror = next((row[0] for row in rows if "security" not in row[1]), rows[0][0])
    return f"deb {signed}{mirror} {suite} main\n"


def _must(command: list[str], place: Path) -> None:
    trouble = _quiet(command, {**os.environ, "LC_ALL": "C"}, place)
    if trouble is not None:
        raise Missing(trouble)


def _quiet(command: list[str], environment: dict[str, str], place: Path | None = None) -> str | None:
    """None when it worked, else its last words."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return words[-1] if words else f"{command[0]} ended with {done.returncode}"


def main(say: Callable[[str], None] = print) -> int:
    """One line for each left out, none for what is here. 1 where CI demands all of them."""
    left_out = {}
    for name in COUNTERPARTS:
        try:
            provide(name)
        except Missing as error:
            left_out[name] = str(error)
    for name, reason in left_out.items():
        say(f"left out: {name}, needed for {COUNTERPARTS[name].needed_for}: {reason}")
    if left_out and is_demanded():
        say("CI is set, so a counterpart left out is a failure.")
        return 1
    if not left_out:
        say(f"counterparts: {', '.join(COUNTERPARTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
