"""issue, check_certificates and renew with --inline against pebble: no portal, no queue, one process."""

from collections.abc import Callable, Iterator

import pytest

from certs.acme.sessions import sessions_forget
from certs.models import Certificate, Order
from tests.commands.running import run
from tests.harness.issuing import Responder
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
DAY = 86400


@pytest.fixture
def ca() -> Iterator[Pebble]:
    need("pebble")
    with Responder() as responder, Pebble(http_port=responder.port) as running:
        yield running
    sessions_forget()


def test_issue_then_check_then_renew(ca: Pebble, move_clock: Callable[[float], None]) -> None:
    words = ["--directory", ca.directory_url, "--ca-bundle", ca.ca_bundle_file, "--allow-private-ca", "--inline"]
    refused = run("issue", "a.example.test", *words)
    assert refused.code == 4
    assert "then add --accept-terms" in refused.err

    issued = run("issue", "a.example.test,b.example.test", "c.example.test", *words, "--accept-terms", "--exit-code")
    assert issued.code == 10, issued
    assert issued.last == "2 renewed."
    assert ca.issued() == 2
    again = run("issue", "c.example.test", *words, "--exit-code")
    assert (again.code, again.last) == (0, "None due."), again

    assert run("check_certificates", "--inline", "--exit-code").code == 0
    assert ca.issued() == 2
    held = run("renew", "c.example.test", "--inline")
    assert held.code == 4
    assert "held back" in held.out

    move_clock(70 * DAY)
    first = set(Certificate.objects.values_list("current__fingerprint_sha256", flat=True))
    checked = run("check_certificates", "--inline", "--json", "--exit-code")
    assert checked.code == 10, checked
    assert checked.json["counts"] == {"renewed": 2}
    assert not first & set(Certificate.objects.values_list("current__fingerprint_sha256", flat=True))
    assert ca.issued() == 4
    assert Order.objects.filter(finished_at=None).count() == 0

    forced = run("renew", "c.example.test", "--force", "--inline", "--json", "--exit-code")
    assert (forced.code, forced.json["result"]) == (10, "renewed"), forced


def test_a_name_that_does_not_validate_fails_in_the_ca_s_own_words(ca: Pebble) -> None:
    words = ["--directory", ca.directory_url, "--ca-bundle", ca.ca_bundle_file, "--allow-private-ca", "--inline"]
    ran = run("issue", "x.blocked.test", "good.example.test", *words, "--accept-terms")
    assert ran.code == 4, ran
    assert "good.example.test: renewed." in ran.out
    assert "x.blocked.test: failed." in ran.out
    assert ran.last == "1 renewed, 1 failed."
