"""Configuration ➜ On demand."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from certs.models import AcmeAccount, AuditEvent, Certificate
from certs.services.keys import key_create
from certs.services.portal_state import state_get
from portal import clock

PAGE = "/configuration/on-demand/"


@pytest.fixture
def account(db: None) -> AcmeAccount:
    return AcmeAccount.objects.create(
        directory_url="https://ca.example.com/dir",
        email="ca@example.com",
        key=key_create("ec-p256"),
        terms_agreed_at=clock.now(),
    )


def test_it_is_switched_on_with_names_and_an_account(client: Client, account: AcmeAccount) -> None:
    given = {"on": "on", "hosts": "Shop.Example.com\r\n*.shops.example.com, shop.example.com", "account": account.pk}
    page = client.post(PAGE, given, follow=True).content.decode()
    assert "Ordering at the first visit is on" in page
    assert "on for 2 names" in page
    state = state_get()
    assert (state.on_demand, state.on_demand_account) == (True, account)
    assert state.on_demand_hosts == ["*.shops.example.com", "shop.example.com"]
    assert AuditEvent.objects.get(action="on-demand.change").actor_text == "alice@example.com"
    assert "on for 2 names" in client.get("/configuration/").content.decode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hosts": "192.0.2.7"}, "is an IP address"),
        ({"hosts": ""}, "No host is listed"),
        ({"hosts": "a.example.com", "account": ""}, "An account is needed"),
        ({"hosts": "a.example.com\nhttps://b.example.com"}, "begins with https://"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(
    client: Client, account: AcmeAccount, given: dict[str, str], words: str
) -> None:
    response = client.post(PAGE, {"on": "on", "account": str(account.pk), **given})
    page = response.content.decode()
    assert words in page
    assert "field-error" in page
    assert not state_get().on_demand


def test_in_a_container_without_a_volume_it_asks_before_it_begins(
    client: Client, account: AcmeAccount, in_container: Callable[..., None]
) -> None:
    given = {"on": "on", "hosts": "a.example.com", "account": account.pk}
    assert "without_volume" not in client.get(PAGE).content.decode()
    in_container()
    assert "is part of this container, and goes with it" in client.get(PAGE).content.decode()
    page = client.post(PAGE, given).content.decode()
    assert "To go on all the same, tick the box" in page.split('name="without_volume"')[1].split("</form>")[0]
    assert "a.example.com" in page  # what was typed stays
    assert not state_get().on_demand
    assert client.post(PAGE, {**given, "on": ""}).status_code == 302  # a list alone orders nothing
    assert client.post(PAGE, {**given, "without_volume": "on"}).status_code == 302
    assert state_get().on_demand
    assert "without_volume" not in client.get(PAGE).content.decode()  # asked once
    assert client.post(PAGE, {**given, "hosts": "b.example.com"}).status_code == 302


def test_accounts_without_terms_are_no_choice(client: Client, account: AcmeAccount) -> None:
    assert "ca@example.com" in client.get(PAGE).content.decode()
    AcmeAccount.objects.update(terms_agreed_at=None)
    assert "ca@example.com" not in client.get(PAGE).content.decode()
    response = client.post(PAGE, {"on": "on", "hosts": "a.example.com", "account": account.pk})
    assert "field-error" in response.content.decode()
    assert not state_get().on_demand


def test_the_environment_locks_the_fields(client: Client, account: AcmeAccount, settings: Settings) -> None:
    settings.ON_DEMAND_LOCKED, settings.ON_DEMAND = True, False
    settings.ON_DEMAND_HOSTS_LOCKED, settings.ON_DEMAND_HOSTS = True, []
    page = client.get(PAGE).content.decode()
    assert "Set by BINDERY_ON_DEMAND in" in page
    assert "Set by BINDERY_ON_DEMAND_HOSTS in" in page
    client.post(PAGE, {"on": "on", "hosts": "a.example.com", "account": account.pk})
    assert (state_get().on_demand, state_get().on_demand_hosts) == (False, [])


def test_what_visits_have_made_is_listed(client: Client, onlooker: Client) -> None:
    Certificate.objects.create(name="shop.example.com", names=["shop.example.com"], source="acme", on_demand=True)
    Certificate.objects.create(name="other.example.com", names=["other.example.com"], source="acme")
    for browser in (client, onlooker):
        page = browser.get(PAGE).content.decode()
        assert "shop.example.com" in page
        assert "other.example.com" not in page
