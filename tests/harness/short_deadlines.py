"""The test settings with deadlines of about a second, and a generation that is looked at more often."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

HELLO_SECONDS = 1.0
HANDSHAKE_SECONDS = 1.0
HEADER_SECONDS = 1.5
GENERATION_POLL_SECONDS = 0.3
