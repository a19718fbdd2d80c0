"""Before a certificate is asked for, somebody has said that it may go with the container."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from pytest_django import Settings

from certs.domain.errors import NotAllowed
from certs.services import container, health
from tests.harness.container_marks import EMPTY_DIR, NAMELESS, VOLUME

IN = Callable[..., None]


def test_outside_of_a_container_nothing_is_asked() -> None:
    assert container.container_here() == ""
    assert container.volume_risk() is None
    container.volume_require(agreed=False)
    assert not container.addresses_are_published()


@pytest.mark.parametrize(
    ("mount", "ends"),
    [
        ("", "is part of this container, and goes with it"),
        (NAMELESS, "is on a volume without a name: the next container gets an empty one"),
        (EMPTY_DIR, "is in an emptyDir, which goes with the pod"),
    ],
)
def test_what_would_be_lost_is_said_with_the_mend(in_container: IN, settings: Settings, mount: str, ends: str) -> None:
    in_container(mount)
    with pytest.raises(NotAllowed) as refused:
        container.volume_require(agreed=False)
    assert refused.value.code == "volume"
    assert f"The data directory {settings.HOME} {ends}." in refused.value.message
    assert f"docker run -v bindery:{settings.HOME} …" in str(refused.value)
    container.volume_require(agreed=True)


def test_a_volume_with_a_name_keeps_it(in_container: IN) -> None:
    in_container(VOLUME)
    assert container.container_here() == "Docker"
    assert container.volume_risk() is None


def test_with_postgresql_there_is_nothing_to_lose(in_container: IN, monkeypatch: pytest.MonkeyPatch) -> None:
    in_container()
    monkeypatch.setattr(container, "connection", SimpleNamespace(vendor="postgresql"))
    assert container.volume_risk() is None


def test_the_mend_is_that_of_the_engine(in_container: IN) -> None:
    in_container(engine_file="run/.containerenv")
    risk = container.volume_risk()
    assert risk is not None
    assert "podman run -v" in risk.mend


def test_in_kubernetes_it_is_a_claim(in_container: IN) -> None:
    in_container(EMPTY_DIR, environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    risk = container.volume_risk()
    assert risk is not None
    assert "PersistentVolumeClaim" in risk.mend


@pytest.mark.django_db
def test_a_person_should_look(in_container: IN) -> None:
    def finding() -> bool:
        return next(one.ok for one in health.portal_findings() if one.code == "volume")

    assert finding()
    in_container()
    assert not finding()
