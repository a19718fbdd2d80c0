"""What `manage.py up` does before it serves: starting again and again must cost the CA nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from certs.acme.directories import DirectoryInfo
from certs.domain import states
from certs.domain.errors import NotAllowed
from certs.models import Certificate, Order
from certs.services import first_start
from certs.services.first_start import CertificateWish, certificate_request
from portal import clock
from tests import stock
from tests.harness.container_marks import NAMELESS

pytestmark = pytest.mark.django_db
WISH = CertificateWish(["portal.example.com"], "https://ca.example.com/directory", True)


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_start, "directory_read", lambda *_, **__: DirectoryInfo("", "", {}, False))


def test_a_start_after_a_failure_keeps_to_the_back_off() -> None:
    assert "was requested" in certificate_request(WISH)
    assert "under way" in certificate_request(WISH)
    Order.objects.update(state=states.FAILED, finished_at=clock.now())
    Certificate.objects.update(failures=1, next_attempt_at=clock.now() + timedelta(minutes=1))
    said = certificate_request(WISH)
    assert "Nothing was requested" in said
    assert "the last try failed" in said
    assert Order.objects.count() == 1


def test_a_portal_that_restarts_all_the_time_asks_four_times_an_hour_at_most() -> None:
    for _ in range(10):
        certificate_request(WISH)
        Order.objects.filter(finished_at=None).update(state=states.FAILED, finished_at=clock.now())
    assert Order.objects.count() == 4


def test_in_a_container_without_a_volume_nothing_is_requested_until_it_is_said(
    in_container: Callable[..., None],
) -> None:
    in_container(NAMELESS)
    with pytest.raises(NotAllowed, match="a volume without a name"):
        certificate_request(WISH)
    assert not Order.objects.exists()
    assert "was requested" in certificate_request(replace(WISH, without_volume=True))


def test_what_is_there_already_is_no_matter_of_volumes(in_container: Callable[..., None]) -> None:
    certificate_request(WISH)
    certificate = Certificate.objects.get()
    stock.renewed(certificate)
    in_container()
    assert "nothing was requested" in certificate_request(WISH)
