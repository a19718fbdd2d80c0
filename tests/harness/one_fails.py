"""The test settings of a portal in which one serving process cannot load what is bound while a file `fail` is there."""

from tests.settings import *  # noqa: F403 - the test settings, then what differs
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.harness.failing"]
