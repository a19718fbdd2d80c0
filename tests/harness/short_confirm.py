"""The test settings with little time to confirm another address."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

REBIND_CONFIRM_SECONDS = 3
