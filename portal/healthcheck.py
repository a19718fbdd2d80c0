"""Whether this node answers `/healthz`, for the HEALTHCHECK of a container: `python -m portal.healthcheck`.

Asks plain HTTP where BINDERY_HTTP_ADDRESS and BINDERY_HTTP_PORT say that the portal listens, directly, whatever proxy
the environment names. Starts in a fraction of a second, since it needs no Django.
"""

import sys
import urllib.request
from http.client import HTTPException

from certs.domain.addresses import address_reachable, address_shown
from portal import env

SECONDS = 5.0
DEFAULT_PORT = 8000  # as in portal/settings.py


def url() -> str:
    """Raises EnvError."""
    address = (env.addresses("BINDERY_HTTP_ADDRESS") or ["0.0.0.0"])[0]
    return f"http://{address_shown(address_reachable(address), env.port('BINDERY_HTTP_PORT', DEFAULT_PORT))}/healthz"


def main() -> int:
    try:
        place = url()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(place, timeout=SECONDS) as answer:
            healthy = answer.status == 200
    except (OSError, HTTPException, env.EnvError) as error:
        sys.stderr.write(f"bindery: {error}\n")
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
