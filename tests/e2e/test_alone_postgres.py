"""On several nodes the turn is kept by PostgreSQL, and the dead hold nothing."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.need import need
from tests.harness.postgres import Postgres

pytestmark = pytest.mark.e2e

NODE = """
import sys, time
import django
django.setup()
from certs.services.alone import alone
with alone("one zone"):
    print("in", time.time(), flush=True)
    time.sleep(float(sys.argv[1]))
    print("out", time.time(), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    need("postgresql")
    with Postgres() as running:
        yield running


def node(server: Postgres, home: Path, seconds: float) -> "subprocess.Popen[str]":
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "DATABASE_URL": server.url,
        "BINDERY_HOME": str(home),
        "BINDERY_SECRET_KEY": "x",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    return subprocess.Popen(
        [sys.executable, "-c", NODE, str(seconds)], env=environment, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def test_nodes_with_homes_of_their_own_take_turns(server: Postgres, tmp_path: Path) -> None:
    running = [node(server, tmp_path / str(number), 0.3) for number in range(3)]
    spans = []
    for each in running:
        said, _ = each.communicate(timeout=60)
        assert each.returncode == 0
        spans.append(tuple(float(line.split()[1]) for line in said.splitlines()))
    spans.sort()
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans)), spans


def test_a_node_that_is_killed_gives_its_turn_back(server: Postgres, tmp_path: Path) -> None:
    holder = node(server, tmp_path / "holder", 60)
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith("in")
    waiting = node(server, tmp_path / "waiting", 0)
    holder.kill()
    holder.communicate(timeout=10)
    said, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert "out" in said
