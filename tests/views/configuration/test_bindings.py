"""Bindings: a taken port changes nothing, a trial is kept only from there, no certificate is swapped unasked."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.domain import states
from certs.models import Binding, Listener, NodeProcess, OneTimeLink, Rebind, User
from certs.services.bindings import binding_set
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update
from tests import stock
from tests.standing import HOST, URL, certificate_make, stand

PAGE = "/configuration/bindings/"


@pytest.fixture(autouse=True)
def standing(alice: User) -> None:
    stand(url=f"{URL}:8443", http=8000, https=8443)


@pytest.fixture
def trial() -> Rebind:
    """A move from every address, port 8443, to 127.0.0.1:9443 that waits for its confirmation."""
    return Rebind.objects.create(
        node=node_name(),
        addresses=["127.0.0.1"],
        port=9443,
        old_addresses=["0.0.0.0", "::"],
        old_port=8443,
        state=states.AWAITING,
        deadline=datetime.now(UTC) + timedelta(seconds=60),
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_page_shows_listener_and_bindings(client: Client) -> None:
    binding_set("", stock.issued(HOST), actor="test")
    binding_set(f"www.{HOST}", stock.issued(f"www.{HOST}"), actor="test")
    page = client.get(PAGE).content.decode()
    for words in (
        "port 8443 on all addresses",
        "port 8000 on all addresses",
        "default",
        f"www.{HOST}",
        "::, every IPv6",
    ):
        assert words in page
    assert "0.0.0.0 and :: take the port on all addresses" in page


def test_another_address_is_wished_for(client: Client) -> None:
    port = free_port()
    client.post(f"{PAGE}listener/", {"addresses": ["127.0.0.1"], "port": str(port)})
    rebind = Rebind.objects.get()
    assert (rebind.addresses, rebind.port, rebind.state) == (["127.0.0.1"], port, states.WISHED)
    page = client.get(PAGE).content.decode()
    assert reverse("bindings-watch", args=[rebind.pk, states.WISHED]) in page


def test_all_of_a_family_covers_each_of_it(client: Client) -> None:
    client.post(f"{PAGE}listener/", {"addresses": ["0.0.0.0", "127.0.0.1", "::1"], "port": str(free_port())})
    assert Rebind.objects.get().addresses == ["0.0.0.0", "::1"]


def test_a_taken_port_is_refused_naming_its_holder_and_nothing_changes(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = client.post(f"{PAGE}listener/", {"addresses": ["127.0.0.1"], "port": str(port)}).content.decode()
    assert f"Port {port} is taken" in page
    assert f'value="{port}"' in page
    assert not Rebind.objects.exists()


@pytest.mark.parametrize(
    "data",
    [
        {"addresses": ["127.0.0.1"], "port": "0"},
        {"addresses": ["127.0.0.1"], "port": "x"},
        {"addresses": ["127.0.0.1"], "port": "65536"},
        {"addresses": [], "port": "9443"},
        {"addresses": ["192.0.2.7"], "port": "9443"},
        {"addresses": ["127.0.0.1"], "port": "8000"},
    ],
)
def test_bad_addresses_and_ports_are_refused(client: Client, data: dict[str, object]) -> None:
    response = client.post(f"{PAGE}listener/", data)
    assert response.status_code == 200
    assert "notice-danger" in response.content.decode()
    assert not Rebind.objects.exists()


def test_locked_fields_name_their_variable(client: Client, settings: Settings) -> None:
    settings.HTTPS_PORT_LOCKED = True
    assert "Set by BINDERY_HTTPS_PORT" in client.get(PAGE).content.decode()
    settings.HTTPS_ADDRESS_LOCKED = True
    page = client.get(PAGE).content.decode()
    assert "Change BINDERY_HTTPS_ADDRESS and BINDERY_HTTPS_PORT there" in page
    assert "Try this address" not in page


def test_under_another_server_it_is_read_only(client: Client) -> None:
    Listener.objects.update(managed=False)
    page = client.get(PAGE).content.decode()
    assert "Another server owns the listener" in page
    assert "Try this address" not in page
    refused = client.post(f"{PAGE}listener/", {"addresses": ["127.0.0.1"], "port": str(free_port())})
    assert "belongs to another server" in refused.content.decode()
    assert not Rebind.objects.exists()


def test_a_trial_shows_the_way_there_and_the_return(client: Client, trial: Rebind) -> None:
    page = client.get(PAGE, secure=True, headers={"host": f"{HOST}:8443"}).content.decode()
    assert "On trial" in page
    assert f"Go to {URL}:9443" in page
    assert "it returns to port 8443 on all addresses by itself" in page
    assert "Try this address" not in page


def test_the_way_there_is_a_link_with_the_session_never_a_redirect(client: Client, trial: Rebind) -> None:
    state_update(extra_hosts=[HOST])
    response = client.post(f"{PAGE}go/", secure=True, headers={"host": f"{HOST}:8443"})
    page = response.content.decode()
    assert response.status_code == 200
    assert f'href="{URL}:9443/session/' in page
    assert "data-go" in page
    assert OneTimeLink.objects.get().target == f"{PAGE}confirm/"


def test_without_a_trial_there_is_no_way(client: Client) -> None:
    assert client.post(f"{PAGE}go/").status_code == 403
    assert client.post(f"{PAGE}confirm/").status_code == 403
    assert client.get(f"{PAGE}confirm/").status_code == 302


@pytest.mark.parametrize(
    ("secure", "through"),
    [
        (True, {"SERVER_NAME": "0.0.0.0", "SERVER_PORT": "8443"}),
        (True, {"SERVER_NAME": "0.0.0.0", "SERVER_PORT": "9443"}),
        (True, {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8443"}),
        (False, {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "9443"}),
    ],
)
def test_it_is_kept_only_from_the_new_address_whatever_the_host_header_says(
    client: Client, trial: Rebind, secure: bool, through: dict[str, str]
) -> None:
    response = client.post(f"{PAGE}confirm/", secure=secure, headers={"host": "127.0.0.1:9443"}, **through)
    assert response.status_code == 403
    trial.refresh_from_db()
    assert trial.state == states.AWAITING
    page = client.get(f"{PAGE}confirm/", secure=secure, headers={"host": "127.0.0.1:9443"}, **through)
    assert "You are not at the new address" in page.content.decode()


def test_kept_from_there_the_public_url_follows(client: Client, trial: Rebind) -> None:
    there = {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "9443"}
    page = client.get(f"{PAGE}confirm/", secure=True, headers={"host": "127.0.0.1:9443"}, **there)
    assert "Keep this address" in page.content.decode()
    response = client.post(f"{PAGE}confirm/", secure=True, headers={"host": "127.0.0.1:9443"}, **there)
    assert response["Location"] == PAGE
    trial.refresh_from_db()
    assert trial.state == states.CONFIRMED
    assert state_get().public_url == f"{URL}:9443"


def test_too_late_is_said(client: Client, trial: Rebind) -> None:
    Rebind.objects.update(deadline=datetime.now(UTC) - timedelta(seconds=1))
    there = {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "9443"}
    response = client.post(f"{PAGE}confirm/", secure=True, headers={"host": "127.0.0.1:9443"}, **there)
    assert response.status_code == 403
    assert state_get().public_url == f"{URL}:8443"


def test_what_came_of_the_last_trial_is_said(client: Client, trial: Rebind) -> None:
    Rebind.objects.update(
        state=states.RETURNED, message="Nobody confirmed it in time.", finished_at=datetime.now(UTC), deadline=None
    )
    assert "Nobody confirmed it in time." in client.get(PAGE).content.decode()


def test_the_page_is_loaded_anew_when_the_trial_goes_on(client: Client, trial: Rebind) -> None:
    assert client.get(reverse("bindings-watch", args=[trial.pk, states.AWAITING])).status_code == 204
    assert client.get(reverse("bindings-watch", args=[trial.pk, states.OPENING]))["HX-Refresh"] == "true"


def test_a_certificate_is_bound_changed_and_let_go(client: Client) -> None:
    one, two = stock.issued(HOST), stock.issued(HOST, name="two")
    for certificate in (one, two):
        client.post(f"{PAGE}set/", {"server_name": HOST.upper(), "certificate": str(certificate.pk)})
        assert [(row.server_name, row.certificate) for row in Binding.objects.all()] == [(HOST, certificate)]
    client.post(f"{PAGE}remove/", {"server_name": HOST})
    assert not Binding.objects.exists()


@pytest.mark.parametrize("name", ["https://x.example.com", "a b", "other.example.com", "-x.example.com"])
def test_a_name_the_certificate_does_not_hold_is_refused(client: Client, name: str) -> None:
    page = client.post(f"{PAGE}set/", {"server_name": name, "certificate": str(stock.issued(HOST).pk)}).content.decode()
    assert "field-error" in page
    assert name in page
    assert not Binding.objects.exists()


def test_an_unknown_certificate_is_refused(client: Client) -> None:
    for certificate in ("", "x", "00000000-0000-4000-8000-00000000000f"):
        assert "field-error" in client.post(f"{PAGE}set/", {"certificate": certificate}).content.decode()
    assert not Binding.objects.exists()


def test_while_hsts_is_on_nothing_is_bound_that_browsers_would_refuse(client: Client) -> None:
    good = stock.issued(HOST)
    binding_set("", good, actor="test")
    state_update(hsts=True, hsts_host=HOST)
    bad = certificate_make(None, [HOST], source="self-signed")
    refused = client.post(f"{PAGE}set/", {"server_name": "", "certificate": str(bad.pk)})
    assert "HSTS is on" in refused.content.decode()
    assert client.post(f"{PAGE}remove/", {"server_name": ""}).status_code == 409
    assert Binding.objects.get().certificate == good
    client.post(f"{PAGE}set/", {"server_name": HOST, "certificate": str(good.pk)})
    assert client.post(f"{PAGE}remove/", {"server_name": HOST}).status_code == 302


def test_in_a_container_the_published_ports_choose(
    client: Client, settings: Settings, in_container: Callable[..., None]
) -> None:
    in_container()
    settings.HTTPS_PORT = 8443
    assert "Try this address" in client.get(PAGE).content.decode()  # nothing outside knows of a port of its own
    settings.HTTPS_PORT_LOCKED = True
    page = client.get(PAGE).content.decode()
    assert "its published ports choose where people reach it" in page
    assert "- &quot;8443:8443&quot;" in page  # as the public URL has it
    state_update(public_url=URL)
    page = client.get(PAGE).content.decode()
    assert "- &quot;443:8443&quot;" in page
    assert "Try this address" not in page
    answer = client.post(f"{PAGE}listener/", {"addresses": ["127.0.0.1"], "port": 8443})
    assert "the published ports choose where people reach it" in answer.content.decode()
    assert not Rebind.objects.exists()
    in_container(environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    page = client.get(PAGE).content.decode()
    assert "of the Service" in page
    assert "targetPort: 8443" in page


def test_of_several_nodes_the_page_names_this_one_and_the_others(client: Client) -> None:
    assert "others serve too" not in client.get(PAGE).content.decode()
    Listener.objects.create(node="web-2", protocol="https", addresses=["192.0.2.2"], port=443)
    NodeProcess.objects.create(node="web-2", pid=1, seen_at=datetime.now(UTC))
    page = client.get(PAGE).content.decode()
    assert f"{node_name()} <span" in page
    assert "others serve too: web-2 (192.0.2.2:443)" in page
