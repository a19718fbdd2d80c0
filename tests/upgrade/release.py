"""Keep the database of a release as a fixture, so that every later version proves that it can start on it.

At the commit of the release, once: `python -m tests.upgrade.release 0.1.0`. It starts the portal of that commit, lets
it get a certificate from pebble and make one row of most kinds, and writes `tests/upgrade/0.1.0.sql.gz` and beside it
`0.1.0.json` with what has to be found again. Secrets are sealed with the ring of the tests (tests/settings.py), which
protects nothing. For a release that had no such script, copy this file into a checkout of it.
"""

import contextlib
import gzip
import json
import sqlite3
import sys
from pathlib import Path

from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_port, wait_until
from tests.harness.tls import served_fingerprint

PLACE = Path(__file__).parent
NAME, OWN = "portal.test", "own.test"
PASSWORD, SECRET = "a long pass phrase", "https://hooks.example.com/a-secret-path"

_ROWS = f"""
from hashlib import sha256
from certs.domain.keys import key_to_der
from certs.models import Certificate, JobEvent, Order, PrivateKey, User
from certs.services.bindings import binding_set
from certs.services.certificates import certificate_self_sign
from certs.services.channels import channel_create
from certs.services.keys import key_open
User.objects.create_superuser("admin@example.com", {PASSWORD!r})
own = certificate_self_sign(name="own", names=[{OWN!r}], actor="release")
binding_set({OWN!r}, own, actor="release")
channel_create("webhook", name="Hook", values={{"url": {SECRET!r}}}, actor="release")
order = Order.objects.get()
held = PrivateKey.objects.exclude(sealed="")
result = {{
    "keys": {{str(row.pk): sha256(key_to_der(key_open(row))).hexdigest() for row in held}},
    "order": str(order.pk),
    "certificates": sorted(Certificate.objects.values_list("name", flat=True)),
    "lines": JobEvent.objects.filter(job=order.pk).count(),
}}
"""


def main(release: str) -> None:
    port = free_port()
    with Pebble(http_port=port) as ca:
        words = ["--hostnames", NAME, "--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file),
                 "--allow-private-ca", "--email", "alice@example.com", "--accept-le-sa"]  # fmt: skip
        with Portal(http_port=port, arguments=words) as portal:
            wait_until(
                lambda: portal.rows("SELECT 1 FROM certs_order WHERE state = 'done'"), timeout=60, what="the order"
            )
            found = portal.run(_ROWS)
            wait_until(
                lambda: len({_served(portal, name) for name in (NAME, OWN)}) == 2, timeout=20, what="both served"
            )
            found["served"] = {name: _served(portal, name) for name in (NAME, OWN)}
            portal.stop()
            with contextlib.closing(sqlite3.connect(portal.home / "bindery.sqlite3")) as database:
                dump = "\n".join(database.iterdump())
    (PLACE / f"{release}.sql.gz").write_bytes(gzip.compress(dump.encode(), mtime=0))
    (PLACE / f"{release}.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


def _served(portal: Portal, name: str) -> str:
    return str(served_fingerprint(portal.https_port, name))


if __name__ == "__main__":
    main(sys.argv[1])
