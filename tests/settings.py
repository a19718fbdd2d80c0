"""Settings of the tests: throw-away secrets, short periods, a clock that can be moved. Never used by a real portal."""

import os
import tempfile
from pathlib import Path

from certs.domain.envelope import KeyRing

# A directory of its own for each run, and for each worker of pytest-xdist, which inherits our environment.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
_given = "BINDERY_HOME" in os.environ and "BINDERY_TEST_HOME_OF" not in os.environ
if not _given and os.environ.get("BINDERY_TEST_HOME_OF") != _worker:
    os.environ["BINDERY_HOME"] = tempfile.mkdtemp(prefix="bindery-test-")
    os.environ["BINDERY_TEST_HOME_OF"] = _worker
if os.environ.get("BINDERY_TEST_OWN_SECRETS") != "1":
    # e2e tests set this to prove that a real start makes its own.
    os.environ.setdefault("BINDERY_SECRET_KEY", "test-only-secret-key-" + "x" * 40)
    os.environ.setdefault("BINDERY_KEY_RING", KeyRing("test", {"test": b"0" * 32}).to_json())

from portal.settings import *  # noqa: E402, F403 - the real settings, after their environment
from portal.settings import HOME  # noqa: E402 - as above

TEST_CLOCK_FILE: Path = HOME / "clock-offset"  # seconds, read by portal.clock
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# The machine that runs the tests may itself be a container; for the portal it is none unless a test makes one up.
CONTAINER_ROOT = Path(os.environ.get("BINDERY_TEST_CONTAINER_ROOT") or HOME / "no-container")
# Nor has it a timer of certbot's, whatever is installed.
MACHINE_ROOT = HOME / "no-machine"

FAILURE_LOOK_SECONDS = 0.0  # the names of most tests are in no DNS
LEASE_SECONDS = 3
LEASE_RENEW_SECONDS = 1
RECOVERY_SECONDS = 1
WATCHDOG_SECONDS = 20
REBIND_CONFIRM_SECONDS = 6
IMPORT_SCAN_SECONDS = 2

# A file, not memory: threads and processes must meet the same locks as in a real portal.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405 - from portal.settings
    DATABASES["default"].setdefault("TEST", {})["NAME"] = HOME / "test.sqlite3"  # noqa: F405 - from portal.settings

# The portal's own probe of the challenge path asks port 80; here it asks where the test put plain HTTP.
PROBE_PORT = int(os.environ.get("BINDERY_TEST_PROBE_PORT") or 80)
# A default like 8443 is: a rebind may change it, unlike BINDERY_HTTPS_PORT, which locks it.
HTTPS_PORT = int(os.environ.get("BINDERY_TEST_HTTPS_PORT") or HTTPS_PORT)  # noqa: F405 - from portal.settings
