"""Many orders in a portal that runs elsewhere."""

from tests.harness.portal import Portal
from tests.harness.ports import wait_until


def every_order_done(portal: Portal, count: int, timeout: float = 300) -> None:
    """Wait until so many orders are done. Fails at once where one has failed."""

    def done() -> bool:
        failed = portal.rows("SELECT error_message, problem FROM certs_order WHERE state IN ('failed', 'cancelled')")
        assert not failed, failed[:3]
        return portal.rows("SELECT count(*) AS n FROM certs_order WHERE state = 'done'") == [{"n": count}]

    wait_until(done, timeout=timeout, what=f"{count} orders done")
    assert portal.count("certs_order") == count
    assert portal.count("certs_challenge") == 0
