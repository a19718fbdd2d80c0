"""One test in two lengths: the short one runs in `make test`, the long one in `make proof`; the code is the same."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings


def rounds(argument: str, short: Any, long: Any) -> pytest.MarkDecorator:
    """Parametrises `argument`; the long value carries the marker `proof`."""
    return pytest.mark.parametrize(
        argument, [pytest.param(short, id="short"), pytest.param(long, id="long", marks=pytest.mark.proof)]
    )


def property_hold(property_: Callable[..., None], examples: int, **strategies: Any) -> None:
    """Run a property of hypothesis with so many examples."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a long run on a busy machine is neither
    settings(max_examples=examples, deadline=None, suppress_health_check=checks)(given(**strategies)(property_))()
