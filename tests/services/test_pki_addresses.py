"""The addresses under which our own CAs published: which certificates may hold which, and whether each leads here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.diagnosis import Situation, State
from certs.models import Alarm
from certs.services import pki_watch as watching
from certs.services.alarm_watch import alarms_sweep
from certs.services.diagnosis import own_cas
from certs.services.pki import PkiCheck, pki_base_url_confirm
from certs.services.pki_addresses import addresses_earlier, addresses_noted
from certs.services.pki_watch import pki_look, pki_watch
from certs.services.publication import ListCheck
from tests import own_ca, stock

pytestmark = pytest.mark.django_db
NEW, DAY = "http://new.example.com", 86_400.0


class World:
    """What answers at which address; the names of tests lead nowhere."""

    def __init__(self) -> None:
        self.good = {own_ca.BASE, NEW}
        self.asked: list[str] = []

    def check(self, url: str) -> PkiCheck:
        self.asked.append(url)
        good = url in self.good
        return PkiCheck(good, f"This portal answers at {url}." if good else f"Something else answers at {url}.")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for module in (watching, own_cas):
        monkeypatch.setattr(module, "pki_base_url_check", made.check)
    return made


def test_without_an_address_nothing_is_asked(world: World) -> None:
    assert pki_watch() == 0
    assert addresses_noted("") == []


def test_what_leads_here_is_asked_each_hour_and_anything_else_each_time(
    world: World, move_clock: Callable[[float], None]
) -> None:
    own_ca.root()
    assert pki_watch() == 1
    (address,) = addresses_noted(own_ca.BASE)
    assert (address.ok, address.text) == (True, f"This portal answers at {own_ca.BASE}.")
    assert pki_watch() == 0
    move_clock(3601)
    world.good.clear()
    assert pki_watch() == 1
    assert addresses_noted(own_ca.BASE)[0].ok is False
    assert pki_watch() == 1
    assert pki_look() == 1


def test_the_environment_takes_another_address_and_the_earlier_one_is_watched(
    world: World, settings: Any, move_clock: Callable[[float], None]
) -> None:
    ca = own_ca.root()
    own_ca.leaf(ca, "one.example.com")
    pki_watch()
    assert addresses_earlier(own_ca.BASE) == []
    move_clock(60)
    settings.PKI_BASE_URL = NEW
    assert [each.address.url for each in addresses_earlier(NEW)] == [own_ca.BASE]  # before the tick has seen it
    world.asked.clear()
    pki_watch()
    assert world.asked[0] == NEW
    move_clock(120)
    own_ca.leaf(ca, "two.example.com")  # holds the new one
    (earlier,) = addresses_earlier(NEW)
    assert (earlier.address.url, earlier.count) == (own_ca.BASE, 1)
    move_clock(91 * DAY)
    assert addresses_earlier(NEW) == []  # the last that held it has ended
    pki_watch()
    assert [each.url for each in addresses_noted(NEW)] == [NEW]


def test_an_address_that_leads_elsewhere_is_an_alarm_until_it_leads_here(
    world: World, settings: Any, move_clock: Callable[[float], None]
) -> None:
    ca = own_ca.root()
    world.good.clear()
    pki_watch()
    alarms_sweep()
    assert not Alarm.objects.filter(key="pki-address").exists()  # nothing is in force that could name it
    own_ca.leaf(ca, "one.example.com")
    alarms_sweep()
    alarm = Alarm.objects.get(key="pki-address")
    assert f"Something else answers at {own_ca.BASE}." in alarm.happened
    world.good = {NEW}
    move_clock(60)
    settings.PKI_BASE_URL = NEW
    pki_watch()
    alarms_sweep()
    alarm.refresh_from_db()
    assert alarm.cleared_at is None  # the earlier one still leads elsewhere
    world.good = {NEW, own_ca.BASE}
    pki_watch()
    alarms_sweep()
    alarm.refresh_from_db()
    assert alarm.cleared_at is not None


def test_there_and_back_again_is_no_change(world: World, move_clock: Callable[[float], None]) -> None:
    ca = own_ca.root()
    own_ca.leaf(ca, "one.example.com")
    move_clock(60)
    pki_base_url_confirm(NEW, although_living=True, actor="test")
    own_ca.leaf(ca, "two.example.com")
    move_clock(120)
    pki_base_url_confirm(own_ca.BASE, although_living=True, actor="test")
    own_ca.leaf(ca, "three.example.com")
    assert [(each.address.url, each.count) for each in addresses_earlier(own_ca.BASE)] == [(NEW, 1)]


def test_the_page_tells_what_was_seen_and_asks_nothing(
    world: World, settings: Any, move_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.views.configuration.pki.pki_base_url_check", world.check)
    client, page = Client(), reverse("pki-address")
    client.force_login(stock.administrator())
    own_ca.leaf(own_ca.root(), "one.example.com")
    assert "not asked yet" in client.get(page).content.decode()
    assert client.post(reverse("pki-check")).status_code == 302
    asked = len(world.asked)
    assert f"This portal answers at {own_ca.BASE}." in client.get(page).content.decode()
    move_clock(60)
    settings.PKI_BASE_URL = NEW
    world.good = {NEW}
    shown = client.get(page).content.decode()
    assert "1 certificate in force may hold the earlier address" not in shown  # it led here when it was last asked
    assert "Earlier addresses" in shown
    assert len(world.asked) == asked
    client.post(reverse("pki-check"))
    assert f"1 certificate in force may hold the earlier address {own_ca.BASE}." in client.get(page).content.decode()
    overview = reverse("configuration")
    assert f"{own_ca.BASE} does not lead here any more" in client.get(overview).content.decode()
    world.good.clear()
    client.post(reverse("pki-check"))
    assert f"{NEW} does not lead here" in client.get(overview).content.decode()


def test_the_doctor_tells_of_earlier_addresses(
    world: World, settings: Any, move_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_cas, "list_check", lambda asked: ListCheck(True, "The list is current.", asked.url))
    own_ca.leaf(own_ca.root(), "one.example.com")
    pki_watch()
    move_clock(60)
    settings.PKI_BASE_URL = NEW
    for good, state in ((True, State.OK), (False, State.BAD)):
        world.good = {NEW, own_ca.BASE} if good else {NEW}
        lines = {line.code: line for line in own_cas.lists(Situation("node", Path("/"), 12))}
        assert lines["pki-address"].state == State.OK
        assert lines["pki-earlier"].state == state
        assert f"1 certificates in force may hold the earlier address {own_ca.BASE}." in lines["pki-earlier"].sentence
        assert ("until" in lines["pki-earlier"].mend) is not good
