"""The portal was away while its certificate became due and expired: it catches up at its start, whatever is forced."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.acme_faults import Fault
from tests.harness.acme_server import AcmeServer
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_ports, wait_until
from tests.harness.tls import served, served_fingerprint

pytestmark = pytest.mark.e2e

NAME = "portal.test"
FORCE = f"""
from datetime import UTC, datetime
from certs.services.portal_state import state_update
state_update(force_ssl=True, force_ssl_confirm_by=None, hsts=True, hsts_host={NAME!r}, hsts_step=2, hsts_limit=2,
    hsts_step_since=datetime.now(UTC), hsts_checked_at=datetime.now(UTC))
"""


@pytest.mark.parametrize(("days", "forced"), [(70, False), (100, True)], ids=["due", "expired-and-forced"])
def test_a_missed_renewal_is_caught_up_at_the_start(days: int, forced: bool) -> None:
    need("pebble")
    _, https_port = free_ports(2)
    environment = {"BINDERY_PUBLIC_URL": f"https://{NAME}:{https_port}"}
    with (
        Portal(https_port=https_port, environment=environment) as portal,
        Pebble(http_port=portal.http_port) as pebble,
    ):
        words = ["--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file), "--allow-private-ca"]
        portal.manage("issue", NAME, *words, "--accept-terms", "--bind")
        served(https_port, NAME, roots_pem=pebble.root_pem())
        first = served_fingerprint(https_port, NAME)
        if forced:
            portal.run("from certs.services.links import setup_link_make\nfrom certs.models import User\n"
                       "User.objects.create_superuser('alice@example.com', 'x')\n" + FORCE)  # fmt: skip
        assert portal.stop() == 0

        if days > 90:  # the CA's clock stands still, so what it issues now has to last longer
            if not pebble.has_profiles:
                pytest.skip("this pebble cannot say how long a certificate lasts")
            pebble.stop()
            pebble.profiles = {"default": timedelta(days=days + 90)}
            pebble.start()
        portal.move_clock(timedelta(days=days))
        portal.start()
        if forced:
            assert portal.get("/", headers={"Host": NAME}).status_code == 307
        wait_until(
            lambda: served_fingerprint(https_port, NAME) != first, timeout=60, what="what was missed while it was away"
        )
        wait_until(lambda: states(portal) == ["done", "done"], timeout=20, what="the end of the order")
        assert pebble.issued() == 2
        wait_until(lambda: portal.count("certs_challenge") == 0, timeout=10, what="the challenge to be gone")
        (row,) = portal.rows("SELECT sweep_finished_at AS moment FROM certs_portalstate")
        finished = datetime.fromisoformat(row["moment"]).replace(tzinfo=UTC)
        assert finished > datetime.now(UTC) + timedelta(days=days - 1)
        codes = {check["code"]: check["ok"] for check in portal.get("/statusz").json()["checks"]}
        assert codes["sweep"]
        if forced:
            # Challenges were answered on plain HTTP all the while, and still are; everything else is led to HTTPS.
            path = "/.well-known/acme-challenge/unknown"
            assert portal.get(path, headers={"Host": "whoever.example"}).status_code == 404
            assert portal.get("/", headers={"Host": NAME}).status_code == 307


def states(portal: Portal) -> list[str]:
    return [row["state"] for row in portal.rows("SELECT state FROM certs_order ORDER BY created_at")]


def test_an_order_that_takes_longer_than_the_command_waits_is_busy_and_goes_on(tmp_path: Path) -> None:
    with Portal() as portal, AcmeServer(http_port=portal.http_port) as ca:
        bundle = tmp_path / "root.pem"
        bundle.write_text(ca.ca_bundle_pem)
        words = ["--directory", ca.directory_url, "--ca-bundle", str(bundle), "--allow-private-ca",
                 "--accept-terms", "--exit-code"]  # fmt: skip
        wait_until(
            lambda: portal.run("from certs.services.queue import worker_alive; result = worker_alive()"),
            timeout=30,
            what="a live worker",
        )
        ca.fault("order", Fault.STATUS, times=None, status="processing")
        slow = portal.manage("issue", NAME, *words, "--timeout", "1", check=False)
        assert slow.returncode == 5, slow.stdout + slow.stderr
        assert slow.stdout.splitlines()[-1] == "1 busy."
        second = portal.manage("issue", NAME, *words, "--timeout", "1", check=False)
        assert second.returncode == 5, second.stdout + second.stderr
        ca.heal()
        wait_until(
            lambda: portal.rows("SELECT state FROM certs_order") == [{"state": "done"}], timeout=60, what="its end"
        )
        third = portal.manage("issue", NAME, *words, check=False)
        assert (third.returncode, third.stdout.splitlines()[-1]) == (0, "None due."), third.stdout
        assert (len(ca.orders), len(ca.issued)) == (1, 1)
