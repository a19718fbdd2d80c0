"""The test settings with as many seconds to confirm another address as BINDERY_TEST_CONFIRM_SECONDS says."""

import os

from tests.settings import *  # noqa: F403 - the test settings, then what differs

REBIND_CONFIRM_SECONDS = float(os.environ.get("BINDERY_TEST_CONFIRM_SECONDS") or 3)
