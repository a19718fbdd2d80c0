"""Shared by all tests: the clock, counterparts by fixture, and an end that leaves no directory behind."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import alone, container_marks, coverage
from tests.harness.dns import DnsServer
from tests.harness.need import need as need_counterparts
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.prepared import database_copy

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    coverage.save()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    coverage.show(terminalreporter)  # first: the end of the output belongs to what failed
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    with alone.turn(alone=item.get_closest_marker("alone") is not None):
        result = yield
    if nextitem is not None:  # else the database is gone
        _restore_rows(item)
    return result


def pytest_unconfigure(config: pytest.Config) -> None:
    if os.environ.get("BINDERY_TEST_HOME_OF") == os.environ.get("PYTEST_XDIST_WORKER", "main"):
        shutil.rmtree(os.environ["BINDERY_HOME"], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`proof` runs only when asked for by -m. The long end-to-end modules come first: short ones fill the end."""
    if "proof" not in config.getoption("markexpr", ""):
        proofs = [item for item in items if item.get_closest_marker("proof")]
        config.hook.pytest_deselected(items=proofs)
        items[:] = [item for item in items if not item.get_closest_marker("proof")]
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Those on this process's own database are not early: emptying its tables, they come after all that roll back.
    Those that are alone are last: they wait for whatever runs, and short tests run then."""
    if item.get_closest_marker("e2e") is None or item.get_closest_marker("django_db") is not None:
        return 1
    return 2 if item.get_closest_marker("alone") is not None else 0


@pytest.fixture(scope="session", autouse=True)
def followed_roots() -> None:
    """What the store trusts is read from the database, which most tests of transports have none of."""
    from certs.transports.roots import roots_follow

    roots_follow(None)


@pytest.fixture(scope="session")
def django_db_keepdb(request: pytest.FixtureRequest, django_db_modify_db_settings: None) -> bool:
    """SQLite is given a database that has its tables; elsewhere as the command line says."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith("sqlite3"):
        return bool(request.config.getvalue("reuse_db"))
    database_copy(Path(database["TEST"]["NAME"]))
    return True


_restore = pytest.StashKey[Callable[[], None]]()


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> None:
    from django.core.management.commands import flush
    from django.db import connection

    from tests.harness.rows import Rows

    flush.emit_post_migrate_signal = lambda *_: None  # what it would make anew is among the rows that come back
    with django_db_blocker.unblock():
        rows = Rows()
    connection._test_serialized_contents = "[]"  # type: ignore[attr-defined]  # not by Django a second time

    def restore() -> None:
        with django_db_blocker.unblock():
            rows.restore()

    request.config.stash[_restore] = restore


def _restore_rows(item: pytest.Item) -> None:
    """Tests with real transactions empty all tables at their end; the rows that the migrations made come back here."""
    marker = item.get_closest_marker("django_db")
    if marker is None or not marker.kwargs.get("transaction"):
        return
    from django.contrib.contenttypes.models import ContentType

    if _restore in item.config.stash:  # else there is no database yet
        item.config.stash[_restore]()
    ContentType.objects.clear_cache()


@pytest.fixture
def need() -> Callable[..., list[Path]]:
    """`need("pebble", …)`: the programs' paths; skips naming what is missing, fails with CI=true."""
    return need_counterparts


@pytest.fixture
def move_clock() -> Iterator[Callable[[float], None]]:
    """Set how many seconds portal.clock is ahead of real time, in this process and those that share its HOME."""
    from django.conf import settings

    file: Path = settings.TEST_CLOCK_FILE

    def move(seconds: float) -> None:
        file.write_text(str(seconds))

    yield move
    file.unlink(missing_ok=True)


@pytest.fixture
def dns_server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def portal() -> Iterator[Portal]:
    """A running portal on an empty data directory."""
    with Portal() as running:
        yield running


@pytest.fixture
def pebble(request: pytest.FixtureRequest) -> Iterator[Pebble]:
    """Pebble whose VA reaches the plain HTTP port of the fixture `portal`."""
    need_counterparts("pebble")
    portal: Portal = request.getfixturevalue("portal")
    with Pebble(http_port=portal.http_port) as running:
        yield running


@pytest.fixture
def in_container(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it: the portal of this process is in a container from then on, by default without a volume."""

    def enter(mount: str = "", *, engine_file: str = ".dockerenv", environment: dict[str, str] | None = None) -> None:
        settings.CONTAINER_ROOT = container_marks.mark(
            tmp_path / "container", home=settings.HOME, mount=mount, engine_file=engine_file
        )
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)

    return enter
