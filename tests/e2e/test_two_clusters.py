"""Two clusters and two web nodes on one PostgreSQL, behind a load balancer: exactly one order per due certificate."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.balancer import Balancer
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
from tests.harness.postgres import Postgres
from tests.harness.rounds import rounds

pytestmark = pytest.mark.e2e

ROLES = ("web", "web", "worker", "worker")
STEP = timedelta(minutes=5)
HOUR = 12  # steps

ISSUE = """
from uuid import uuid4
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.orders import order_create
account = account_get_or_create(
    directory_url={directory!r}, email="", ca_bundle=open({bundle!r}).read(), allow_private=True,
    terms_url="data:text/plain,Do%20what%20thou%20wilt", actor="test",
)
for number in range({count}):
    certificate = certificate_new(name="", names=[f"host{{number:03}}.example.test"], account=account, actor="test")
    order_create(certificate, reason="asked", actor="test")
"""

DONE = """
from certs.models import Order
result = [Order.objects.filter(finished_at=None).count(), Order.objects.exclude(version=None).count()]
"""

OPEN = """
from certs.models import JobEvent, Order, WorkerBeat
from portal import clock
said = lambda order: [f"{event.at:%H:%M:%S} {event.message}" for event in JobEvent.objects.filter(job=order.pk)][-4:]
facts = lambda order: [order.state, order.attempts, order.next_attempt_at, order.lease_until, order.error_message]
left = Order.objects.filter(version=None)
result = {
    "now": str(clock.now()),
    "open": [f"{facts(order)} {said(order)}" for order in left[:8]],
    "beats": [f"{beat.pk} {beat.moved_at}" for beat in WorkerBeat.objects.all()],
}
"""

# Every certificate but the last ones becomes due in a step of the hour: its dates are those of an older one.
AGE = """
from datetime import timedelta
from certs.models import Certificate, CertificateVersion, Order
from portal import clock
Order.objects.update(created_at=clock.now() - timedelta(days=80))
for number, certificate in enumerate(Certificate.objects.filter(source="acme").order_by("name")):
    due = clock.now() + timedelta(seconds={seconds} * (number % {steps}) + {seconds} / 2)
    if number >= {due}:
        due += timedelta(days=1)
    CertificateVersion.objects.filter(certificate=certificate).update(
        not_before=due - timedelta(days=69), not_after=due + timedelta(days=21), created_at=due - timedelta(days=69)
    )
    Certificate.objects.filter(pk=certificate.pk).update(next_check_at=due, ari={{}})
"""

TICKS = """
from django_q.tasks import async_task
from certs.models import Certificate
from portal import clock
# Both clusters sweep at the same time, and more than once, with every certificate to be looked at.
Certificate.objects.filter(source="acme").update(next_check_at=clock.now())
for _ in range(4):
    async_task("certs.tasks.tick")
"""

RESULT = """
from collections import Counter
from certs.models import Challenge, Order, WorkerBeat
renewals = Order.objects.exclude(reason="asked")
result = {
    "orders": sorted(renewals.values_list("certificate__name", flat=True)),
    "states": dict(Counter(Order.objects.values_list("state", flat=True))),
    "versions": sorted(Order.objects.exclude(version=None).values_list("certificate__name", flat=True)),
    "challenges": Challenge.objects.count(),
}
"""


@pytest.fixture
def nodes() -> Iterator[list[Portal]]:
    need("postgresql", "pebble")
    with ExitStack() as stack:
        database = stack.enter_context(Postgres())
        secrets = {
            "DATABASE_URL": database.url,
            "BINDERY_SECRET_KEY": "a-secret-key-of-this-test-" + "y" * 40,
            "BINDERY_KEY_RING": KeyRing.generate().to_json(),
        }
        yield [
            stack.enter_context(
                Portal(
                    own_secrets=True,
                    environment={**secrets, "BINDERY_NODE": f"{role}{number}"},
                    arguments=["--role", role],
                )
            )
            for number, role in enumerate(ROLES)
        ]


@rounds("count", 6, 48)
def test_in_an_hour_each_due_certificate_is_ordered_once(nodes: list[Portal], count: int) -> None:
    web = [node for node in nodes if "web" in node.arguments]
    due = count - count // 6
    with Balancer(*(node.http_port for node in web)) as balancer, Pebble(http_port=balancer.port) as ca:
        web[0].run(ISSUE.format(directory=ca.directory_url, bundle=str(ca.ca_bundle_file), count=count))
        _await(web[0], [0, count], "the first certificates")
        web[0].run(AGE.format(seconds=STEP.total_seconds(), steps=HOUR, due=due))
        for step in range(1, HOUR + 1):
            for node in nodes:
                node.move_clock(STEP * step)
            web[step % 2].run(TICKS)
            time.sleep(0.2)
        _await(web[0], [0, count + due], "the renewals")
        time.sleep(2)  # what should not come would come now
        result = web[1].run(RESULT)
        assert ca.issued() == count + due
    names = [f"host{number:03}.example.test" for number in range(count)]
    assert result["orders"] == names[:due]
    assert result["versions"] == sorted([*names, *names[:due]])
    assert result["states"] == {"done": count + due}
    assert result["challenges"] == 0
    assert all(balancer.taken[node.http_port] for node in web), "a node was never asked"
    worked = [node.log.count("[bindery.job]") for node in nodes if "worker" in node.arguments]
    assert all(worked), f"a cluster did nothing: {worked}"
    print(f"{count} first certificates, {due} renewals; lines of each worker: {worked}")
    for node in nodes:
        assert "Traceback" not in node.log


def _await(web: Portal, wanted: list[int], what: str) -> None:
    try:
        wait_until(lambda: web.run(DONE) == wanted, timeout=150, what=what)
    except TimeoutError:
        print(web.run(DONE), web.run(OPEN))
        raise
