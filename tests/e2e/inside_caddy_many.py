"""Run by test_many_caddy.py inside a private network, where the names lead to loopback and port 80 is the portal's."""

import time

import pytest

from tests.e2e.test_many_caddy import LONG, SHORT, names_of
from tests.harness.caddy import Caddy
from tests.harness.many import every_order_done
from tests.harness.namespace import is_inside
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.rounds import rounds

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_many_caddy.py in a namespace of its own")


@rounds("count", SHORT, LONG)
def test_all_are_issued_once_and_renewed_once(count: int) -> None:
    names = names_of(count)
    with Caddy() as caddy, Portal(http_port=80, https_port=443) as portal, PortalData(portal.home) as data:
        began = time.monotonic()
        data.call("orders", caddy.directory_url, str(caddy.ca_bundle_file), names)
        every_order_done(portal, len(names))
        assert data.call("renewals") == len(names)
        every_order_done(portal, count)
        seconds = time.monotonic() - began
        asked = caddy.asked("/finalize")
        serials = portal.rows(
            "SELECT count(DISTINCT v.serial) AS n FROM certs_certificateversion v"
            " JOIN certs_certificate c ON c.id = v.certificate_id WHERE c.source = 'acme'"
        )
        assert serials == [{"n": count}]
        assert portal.rows("SELECT id FROM certs_order WHERE restarts > 0") == []
        assert "Traceback" not in portal.log
    print(
        f"{count} of {count} issued by Caddy in {seconds:.0f} s, {count / seconds:.1f} per second; {asked} in its log"
    )
