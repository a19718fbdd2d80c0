"""What a person asks for twice is ordered once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import connection

from certs.acme.directories import DirectoryInfo
from certs.domain.renewal import Code
from certs.models import Certificate, Order
from certs.services import first_start, issuing
from certs.services.first_start import CertificateWish, certificate_request
from certs.services.issuing import certificate_order
from tests import stock

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)
NAMES = ["www.example.com"]


def both(work: Callable[[], str]) -> list[str]:
    def press(_: int) -> str:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(press, range(2)))


def meeting(monkeypatch: pytest.MonkeyPatch, module: object, look: str) -> None:
    """Both look before either goes on, unless one of them is made to wait for the other."""
    looked, meet = getattr(module, look), threading.Barrier(2, timeout=1)

    def looking(*words: object) -> object:
        found = looked(*words)
        with suppress(threading.BrokenBarrierError):
            meet.wait()
        return found

    monkeypatch.setattr(module, look, looking)


def test_two_presses_at_the_same_moment_make_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    account = stock.account()
    meeting(monkeypatch, issuing, "_known_certificate")
    codes = both(lambda: certificate_order(NAMES, account, actor="test").code)
    assert codes == sorted([str(Code.ASKED), str(Code.BUSY)])
    assert (Certificate.objects.count(), Order.objects.count()) == (1, 1)


def test_two_nodes_that_start_at_the_same_moment_make_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = "https://acme.example/t"
    monkeypatch.setattr(first_start, "directory_read", lambda *_, **__: DirectoryInfo(terms))
    meeting(monkeypatch, first_start, "_certificate_of")
    wish = CertificateWish(NAMES, stock.account().directory_url, terms_accepted=True)
    said = both(lambda: certificate_request(wish))
    assert "was requested from" in said[0]
    assert "under way" in said[1]
    assert (Certificate.objects.count(), Order.objects.count()) == (1, 1)
