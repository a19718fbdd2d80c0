"""What Dockerfile and compose.yaml promise, by reading; the walk through the steps is a proof of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from certs.services.reachability import CHALLENGE_PATH
from portal import healthcheck
from tests.harness.artifacts import ROOT
from tests.harness.container import Stage, context_files, read_dockerfile
from tests.harness.ports import free_port
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
    assert final.health == ["python", "-m", "portal.healthcheck"]
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


@pytest.mark.parametrize(
    "words",
    [
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        ["kubernetes-validate", "--strict", "--quiet", "deploy/kubernetes.yaml"],
    ],
)
def test_the_files_are_in_order_by_the_rules_of_their_formats(words: list[str]) -> None:
    tool = Path(sys.executable).with_name(words[0])
    done = subprocess.run([tool, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def kubernetes() -> dict[str, dict[str, Any]]:
    """By kind/name."""
    resources = yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in resources}


def test_pods_have_no_rights_and_only_variables_there_are(kubernetes: dict[str, dict[str, Any]]) -> None:
    known = set(variables_read())
    for name in ("web", "worker"):
        pod = kubernetes[f"Deployment/{name}"]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False  # or a Service called bindery-http would set BINDERY_HTTP_PORT
        [container] = pod["containers"]
        assert container["args"] == ["up", "--role", name]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {each["name"].removesuffix("_FILE") for each in container["env"]} <= known
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        for each in container["env"]:
            if each["name"].endswith("_FILE"):
                assert str(Path(each["value"]).parent) in mounted


def test_pods_are_probed_but_never_restarted_because_a_person_should_look(
    kubernetes: dict[str, dict[str, Any]],
) -> None:
    deployment = kubernetes["Deployment/web"]["spec"]
    assert deployment["replicas"] >= 2
    [container] = deployment["template"]["spec"]["containers"]
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert kubernetes["Service/web"]["metadata"]["annotations"]["prometheus.io/path"] == "/statusz"


def test_the_challenge_path_of_every_host_leads_to_the_web_pods(kubernetes: dict[str, dict[str, Any]]) -> None:
    [rule] = kubernetes["Ingress/challenge"]["spec"]["rules"]
    assert "host" not in rule
    [path] = rule["http"]["paths"]
    assert path["path"] == CHALLENGE_PATH
    assert path["backend"]["service"] == {"name": "web", "port": {"name": "http"}}
    ports = {port["name"]: port["targetPort"] for port in kubernetes["Service/web"]["spec"]["ports"]}
    assert ports == {"http": "http", "https": "https"}
    selector = kubernetes["Service/web"]["spec"]["selector"]
    assert kubernetes["Deployment/web"]["spec"]["template"]["metadata"]["labels"] == selector


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "http://127.0.0.1:8080/healthz"),
        ("0.0.0.0,::", "http://127.0.0.1:8080/healthz"),
        ("::", "http://[::1]:8080/healthz"),
        ("192.0.2.7", "http://192.0.2.7:8080/healthz"),
    ],
)
def test_the_health_check_asks_where_the_portal_listens(
    monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    monkeypatch.setenv("BINDERY_HTTP_PORT", "8080")
    monkeypatch.setenv("BINDERY_HTTP_ADDRESS", address)
    assert healthcheck.url() == expected


def test_a_node_that_does_not_answer_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BINDERY_HTTP_PORT", str(free_port()))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert healthcheck.main() == 1
    assert "refused" in capsys.readouterr().err
    monkeypatch.setenv("BINDERY_HTTP_PORT", "none")
    assert healthcheck.main() == 1


@pytest.mark.proof
@pytest.mark.skipif(os.geteuid() != 0, reason="overlays and namespaces need root")
def test_the_steps_of_the_dockerfile_work_in_a_clean_directory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.container"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "port 443 answers" in done.stdout
