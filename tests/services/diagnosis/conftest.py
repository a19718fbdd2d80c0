from collections.abc import Callable
from pathlib import Path

import pytest

from certs.domain.diagnosis import Line, Look, Situation, State
from certs.services.nodes import node_name


@pytest.fixture
def situation(tmp_path: Path) -> Situation:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Situation(node_name(), home, 20)


@pytest.fixture
def told(situation: Situation) -> Callable[[Look], dict[State, list[Line]]]:
    """What a check says, by state."""

    def tell(check: Look) -> dict[State, list[Line]]:
        lines = check(situation)
        return {state: [line for line in lines if line.state == state] for state in State}

    return tell
