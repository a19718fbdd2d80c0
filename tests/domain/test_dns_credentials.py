"""Every provider and parameter that credentials of others are mapped to is one that the library has."""

import pytest

from certs.domain.dns_credentials import ACMESH, CERTBOT, Mapped, provider_given
from certs.solvers.dns01_provider import parameters

EVERY = [
    (client, name, way)
    for client, known in (("certbot", CERTBOT), ("acme.sh", ACMESH))
    for name, ways in known.items()
    for way in ways
]


@pytest.mark.parametrize(("client", "name", "way"), EVERY, ids=[f"{client} {name}" for client, name, _ in EVERY])
def test_the_library_knows_it(client: str, name: str, way: Mapped) -> None:
    known = {each.name for each in parameters(way.provider)}
    assert set(way.names.values()) <= known
    assert way.may <= set(way.names)


def test_the_first_way_that_is_complete_is_taken() -> None:
    ways = CERTBOT["cloudflare"]
    both = {"api_token": "t", "email": "e", "api_key": "k"}
    assert provider_given(ways, both) == {"provider": "cloudflare", "auth_token": "t"}
    assert provider_given(ways, {"email": "e"}) is None
    assert provider_given((), both) is None
