"""Settings of the tests: throw-away secrets, short periods, a clock that can be moved. Never used by a real portal."""

import os
import tempfile
from pathlib import Path

from certs.domain.envelope import KeyRing

os.environ.setdefault("BINDERY_HOME", tempfile.mkdtemp(prefix="bindery-test-"))
if os.environ.get("BINDERY_TEST_OWN_SECRETS") != "1":
    # e2e tests set this to prove that a real start makes its own.
    os.environ.setdefault("BINDERY_SECRET_KEY", "test-only-secret-key-" + "x" * 40)
    os.environ.setdefault("BINDERY_KEY_RING", KeyRing("test", {"test": b"0" * 32}).to_json())

from portal.settings import *  # noqa: F403 - the real settings, after their environment
from portal.settings import HOME

TEST_CLOCK_FILE: Path = HOME / "clock-offset"  # seconds, read by portal.clock
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

LEASE_SECONDS = 3
LEASE_RENEW_SECONDS = 1
RECOVERY_SECONDS = 1
WATCHDOG_SECONDS = 20
REBIND_CONFIRM_SECONDS = 6
IMPORT_SCAN_SECONDS = 2

# A file, not memory: threads and processes must meet the same locks as in a real portal.
DATABASES["default"].setdefault("TEST", {})["NAME"] = HOME / "test.sqlite3"  # noqa: F405 - from portal.settings
