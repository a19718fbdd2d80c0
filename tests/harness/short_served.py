"""The test settings with little patience for listeners that nobody can ask."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

SERVED_SECONDS = 4.0
