"""The test settings with a watchdog that grows impatient within seconds."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

WATCHDOG_SECONDS = 5
