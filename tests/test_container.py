"""What Dockerfile and compose.yaml promise, by reading; the walk through the steps is a proof of its own."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.harness.artifacts import ROOT
from tests.harness.container import Stage, context_files, read_dockerfile
from tests.test_docs import variables_read


@pytest.fixture
def stages() -> list[Stage]:
    return read_dockerfile((ROOT / "Dockerfile").read_text())


@pytest.fixture
def compose() -> dict[str, dict[str, dict[str, object]]]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_the_image_is_small_and_runs_without_rights(stages: list[Stage]) -> None:
    build, final = stages
    assert build.name == "build"
    assert final.base.endswith("-slim")
    assert build.base == final.base
    assert final.user == "10001:10001"
    assert not [rest for word, rest in final.steps if word == "RUN" and "pip" in rest]


def test_one_volume_two_ports_and_a_health_check(stages: list[Stage]) -> None:
    final = stages[-1]
    assert final.volumes == ["/data"] == [final.environment["BINDERY_HOME"]]
    assert final.ports == [80, 443]
    assert (final.environment["BINDERY_HTTP_PORT"], final.environment["BINDERY_HTTPS_PORT"]) == ("80", "443")
    assert "/healthz" in final.health[-1]
    assert final.entrypoint + final.command == ["python", "manage.py", "up"]


def test_nothing_but_the_program_is_sent_to_the_engine() -> None:
    sent = context_files()
    assert {path.split("/")[0] for path in sent} == {
        "LICENSE", "certs", "manage.py", "portal", "requirements.txt", "static", "templates",
    }  # fmt: skip
    assert not [path for path in sent if "__pycache__" in path or path.endswith((".pyc", ".sqlite3", ".key", ".pem"))]


def test_an_unknown_instruction_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="ONBUILD"):
        read_dockerfile("FROM x\nONBUILD RUN true\n")


def test_compose_gives_secrets_as_files_and_only_variables_there_are(
    compose: dict[str, dict[str, dict[str, object]]],
) -> None:
    known = set(variables_read())
    for name in ("web", "worker"):
        service = compose["services"][name]
        environment = service["environment"]
        assert isinstance(environment, dict)
        assert {variable.removesuffix("_FILE") for variable in environment} <= known
        for secret in ("DATABASE_URL", "BINDERY_SECRET_KEY", "BINDERY_KEY_RING"):
            path = environment[f"{secret}_FILE"]
            assert path.removeprefix("/run/secrets/") in service["secrets"]  # type: ignore[operator]
    assert set(compose["secrets"]) == {"database_password", "database_url", "secret_key", "key_ring"}
    assert all("file" in secret for secret in compose["secrets"].values())


def test_compose_has_one_node_that_serves_one_that_works_and_a_database(
    compose: dict[str, dict[str, dict[str, object]]],
) -> None:
    services = compose["services"]
    assert services["web"]["command"] == ["up", "--role", "web"]
    assert services["worker"]["command"] == ["up", "--role", "worker"]
    assert services["web"]["ports"] == ["80:80", "443:443"]
    assert "ports" not in services["worker"]
    assert "ports" not in services["database"]
    nodes = [services[name]["environment"]["BINDERY_NODE"] for name in ("web", "worker")]  # type: ignore[index]
    assert len(set(nodes)) == 2
    assert not services["web"]["depends_on"].keys() - services.keys()  # type: ignore[attr-defined]


@pytest.mark.proof
@pytest.mark.skipif(os.geteuid() != 0, reason="overlays and namespaces need root")
def test_the_steps_of_the_dockerfile_work_in_a_clean_directory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.container"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "port 443 answers" in done.stdout
