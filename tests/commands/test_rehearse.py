"""`manage.py rehearse`: needs a worker and a staging directory, and tells what came of it."""

import pytest

from certs.acme.directories import KNOWN
from certs.domain.errors import AcmeRefused
from certs.models import Certificate
from certs.services import order_flow
from certs.services.accounts import account_get_or_create
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.commands.running import run

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa()
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr("certs.solvers.http01._seen", lambda *_: "no answer")
    stock.issued("a.example")
    account = account_get_or_create(
        directory_url=KNOWN["letsencrypt"].url, email="", terms_url="https://ca.example/t", actor="test"
    )
    Certificate.objects.update(account=account)
    return fake


def test_a_success_keeps_nothing(ca: FakeCa) -> None:
    ran = run("rehearse", "a.example", "--inline")
    assert (ran.code, ran.last) == (0, "a.example: the rehearsal succeeded; nothing was kept.")
    assert Certificate.objects.get().versions.count() == 1


def test_a_failure_says_why(ca: FakeCa) -> None:
    ca.fail["order_new"] = [AcmeRefused("CAA forbids it.", code="acme-caa", advice="Change the record.")]
    ran = run("rehearse", "a.example", "--inline")
    assert ran.code == 4
    assert "CAA forbids it. Change the record." in ran.out


def test_without_worker_or_staging_it_says_so(ca: FakeCa) -> None:
    assert "No worker is running" in run("rehearse", "a.example").err
    Certificate.objects.update(account=stock.account())
    assert "No staging directory is known" in run("rehearse", "a.example", "--inline").err
    assert run("rehearse", "nobody.example", "--inline").code != 0
