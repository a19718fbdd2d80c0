"""The test settings with deadlines of about a second."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs

HELLO_SECONDS = 1.0
HANDSHAKE_SECONDS = 1.0
HEADER_SECONDS = 1.5
