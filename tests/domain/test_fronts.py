"""What is shown for each front: all filled in, and well-formed where no server could be tried."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from certs.domain.fronts import challenges_filled, fronts_filled
from certs.domain.recipes import Recipe

UPSTREAM = "192.0.2.7:8000"
WHOLE = fronts_filled(
    name="portal.example.com", upstream=UPSTREAM, certificate="/x/fullchain.pem", key="/x/privkey.pem", first="haproxy"
)
CHALLENGES = challenges_filled(name="portal.example.com", upstream=UPSTREAM)
SERVERS = {"nginx", "apache", "haproxy", "traefik", "ingress"}
PATH = "/.well-known/acme-challenge/"


def _of(recipes: list[Recipe], key: str) -> Any:
    return yaml.safe_load(next(recipe for recipe in recipes if recipe.server.key == key).text)


def test_every_front_has_both_and_the_wanted_one_comes_first() -> None:
    assert {recipe.server.key for recipe in WHOLE} == {recipe.server.key for recipe in CHALLENGES} == SERVERS
    assert WHOLE[0].server.key == "haproxy"


@pytest.mark.parametrize("recipe", [*WHOLE, *CHALLENGES], ids=lambda one: one.server.key)
def test_nothing_is_left_to_be_filled_in(recipe: Recipe) -> None:
    assert not re.search(r"@\w+@", recipe.text + recipe.place)
    assert recipe.source.startswith("https://")
    assert recipe.tried == (recipe.server.key in ("nginx", "apache", "haproxy"))


@pytest.mark.parametrize("recipes", [WHOLE, CHALLENGES])
def test_traefik_routes_lead_to_services_that_are_there(recipes: list[Recipe]) -> None:
    """By the reference of the file provider: routers name services, entry points and rules; servers have URLs."""
    found = _of(recipes, "traefik")["http"]
    for router in found["routers"].values():
        assert set(router) <= {"rule", "entryPoints", "service", "tls", "priority"}
        assert router["service"] in found["services"]
        assert re.fullmatch(r"(Host|PathPrefix)\(`[^`]+`\)", router["rule"])
    (server,) = found["services"]["bindery"]["loadBalancer"]["servers"]
    assert server == {"url": f"http://{UPSTREAM}"}


@pytest.mark.parametrize(("recipes", "path"), [(WHOLE, "/"), (CHALLENGES, PATH)])
def test_the_ingress_is_one_of_the_stable_api(recipes: list[Recipe], path: str) -> None:
    found = _of(recipes, "ingress")
    assert (found["apiVersion"], found["kind"]) == ("networking.k8s.io/v1", "Ingress")
    (rule,) = found["spec"]["rules"]
    (way,) = rule["http"]["paths"]
    assert (way["path"], way["pathType"]) == (path, "Prefix")
    assert rule.get("host") == ("portal.example.com" if path == "/" else None)  # a CA may ask for any name
    assert way["backend"] == {"service": {"name": "web", "port": {"name": "http"}}}
    kubernetes_validate.validate(found, "1.32", strict=True)
