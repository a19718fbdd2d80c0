"""What every process has loaded before anybody asks for anything."""

import subprocess
import sys

# Seconds and megabytes that most portals never need, and what asks for them.
LATE = {
    "rest_framework.views": "the API",
    "drf_spectacular.openapi": "the API",
    "psycopg": "PostgreSQL",
    "pkilint": "the first certificate of an own CA",
    "lexicon": "a DNS provider",
    "asyncssh": "a machine reached by SSH",
    "crossplane": "an endpoint that is nginx",
}
WHAT_IS_LOADED = """
import sys
import portal.wsgi
import certs.tasks, portal.server.supervisor
from certs.services.challenges import solver_kinds
solver_kinds()
print(*sys.modules)
"""


def test_what_few_ask_for_is_loaded_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "certs.solvers.dns01_provider" in loaded
    assert not {name: LATE[name] for name in LATE.keys() & loaded}
