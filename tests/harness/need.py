"""`need("pebble")` at the head of a test or fixture: skips naming what is missing, and fails where CI demands all."""

from pathlib import Path

import pytest

from tests.harness import counterparts


def need(*names: str) -> list[Path]:
    """The paths of the programs, in order."""
    try:
        return [counterparts.find(name) for name in names]
    except counterparts.Missing as error:
        if counterparts.is_demanded():
            pytest.fail(f"left out: {error}")
        pytest.skip(f"left out: {error}")
