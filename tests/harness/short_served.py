"""The test settings with little patience for listeners that nobody can ask, and for other nodes."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

SERVED_SECONDS = 2.0
MIGRATION_PATIENCE_SECONDS = 1.0
