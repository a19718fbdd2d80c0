"""Where another web server is told to find the portal."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from certs.services.listeners import listeners_ensure
from certs.services.upstreams import upstreams

pytestmark = pytest.mark.django_db


def test_on_a_machine_it_is_where_the_portal_listens(settings: Settings) -> None:
    settings.HTTP_ADDRESSES, settings.HTTP_PORT = ["192.0.2.1"], 8000
    listeners_ensure()
    there = upstreams()
    assert (there.own, there.others, there.publish) == ("192.0.2.1:8000", "192.0.2.1:8000", "")


def test_the_address_inside_of_a_container_is_told_to_nobody(
    settings: Settings, in_container: Callable[..., None]
) -> None:
    settings.HTTP_PORT = 8000
    listeners_ensure()
    in_container()
    there = upstreams()
    assert (there.own, there.publish) == ("127.0.0.1:8080", '- "8080:8000"')
    assert there.others == "ADDRESS-OF-THE-MACHINE:8080"  # nothing tells it here
    settings.PUBLIC_URL = "https://portal.example.com:8443"
    assert upstreams().others == "portal.example.com:8080"


def test_a_pod_is_reached_by_its_service(settings: Settings, in_container: Callable[..., None]) -> None:
    settings.HTTP_PORT, settings.PUBLIC_URL = 8080, "https://portal.example.com"
    listeners_ensure()
    in_container(environment={"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    there = upstreams()
    assert (there.own, there.others) == ("portal.example.com:80", "portal.example.com:80")
    assert there.publish == "- {name: http, port: 80, targetPort: 8080}"
