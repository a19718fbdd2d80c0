"""The test settings with a supervisor that raises alarms within seconds."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

ALARM_WATCH_SECONDS = 0.5
ALARM_AFTER_SECONDS = 3
