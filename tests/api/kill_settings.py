"""The settings of a worker that a test kills: it works on the database of that test."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["BINDERY_TEST_DATABASE"]
