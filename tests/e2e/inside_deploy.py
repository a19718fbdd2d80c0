"""Run by test_deploy.py in a private network: compose.yaml and deploy/kubernetes.yaml, as they stand."""

import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.balancer import Balancer
from tests.harness.browser import Visitor, chromium, visitor
from tests.harness.engine import Container, Engine
from tests.harness.namespace import is_inside
from tests.harness.pebble import Pebble
from tests.harness.portal import SETUP_LINK
from tests.harness.ports import LOOPBACK, is_listening, wait_until
from tests.harness.postgres import Postgres
from tests.harness.tls import served

NAME = "portal.example.com"
PUBLIC = f"https://{NAME}"
# The last order, as the worker left it.
LAST_ORDER = """
import django; django.setup()
from certs.models import Order
from certs.services.addresses import https_url, public_url
order = Order.objects.order_by("-created_at").first()
print(order.state, order.served, order.error_message or "-", public_url(), https_url(), sep="|")
"""
# As the kernel shows it in there: the volume, the image, and what is in memory.
WHERE_IT_LIES = """
from certs.domain.containers import keeping_of, mounts_read
mounts = mounts_read(open("/proc/self/mountinfo").read())
print(*(keeping_of(path, mounts) for path in ("/data", "/var/lib", "/tmp")))
"""
INSIDE_PORTS = re.compile(r":(808[01]|844[34])\b")
FORCE_SSL = "import django; django.setup(); from certs.services.portal_state import state_update; "
FORCE_SSL += "state_update(force_ssl=True, force_ssl_confirm_by=None)"

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_deploy.py in a namespace of its own")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_compose_starts_as_it_stands(engine: Engine) -> None:
    """The short version of the next one."""
    engine.run_comments("compose.yaml")
    with _database(engine.project / "secrets"), _running() as running:
        web = engine.compose("web")
        running.append(web)
        wait_until(web.is_healthy, timeout=60, what="the health check of the image")
        wait_until(lambda: SETUP_LINK.search(web.log), timeout=20, what="the one-time link")
        assert _python(web, WHERE_IT_LIES).split() == ["kept", "layer", "memory"]
        data = [path.name for path in engine.volume("web").iterdir()]
        assert not [name for name in data if "secret" in name or "keyring" in name or "sqlite" in name]


def test_compose_issues_as_it_stands(engine: Engine) -> None:
    engine.run_comments("compose.yaml")
    with _database(engine.project / "secrets"), _running() as running:
        web = engine.compose("web", BINDERY_PUBLIC_URL=PUBLIC)
        worker = engine.compose("worker", BINDERY_PUBLIC_URL=PUBLIC)
        running += [web, worker]
        wait_until(web.is_healthy, timeout=60, what="the health check of the image")
        wait_until(lambda: "works on the queue" in worker.log, timeout=60, what="the worker")
        wait_until(lambda: "Bindery is up:" in web.log, timeout=20, what="what is printed")
        assert f"Bindery is up: http://{NAME}/ and {PUBLIC}/" in web.log
        with Pebble(http_port=80, tls_port=443) as pebble:
            _issue(web, pebble, engine.volume("web"))
            assert _order(worker) == ["done", "True", "-", PUBLIC, PUBLIC]


def test_compose_in_a_browser_behind_other_ports(engine: Engine) -> None:
    """`443:8443` and `80:8080` under `ports:`, for an engine that gives no low ports: nobody sees those inside."""
    engine.run_comments("compose.yaml")
    inside = {"BINDERY_HTTP_PORT": "8080", "BINDERY_HTTPS_PORT": "8443"}
    with (
        _database(engine.project / "secrets"),
        _running() as running,
        Balancer(8080, port=80),
        Balancer(8443, port=443),
        Pebble(http_port=80, tls_port=443) as pebble,
        chromium() as browser,
        visitor(browser) as alice,
    ):
        web = engine.compose("web", inside, BINDERY_PUBLIC_URL=PUBLIC)
        worker = engine.compose("worker", BINDERY_PUBLIC_URL=PUBLIC)
        running += [web, worker]
        wait_until(lambda: SETUP_LINK.search(web.log), timeout=60, what="the one-time link")
        _from_the_link_to_the_certificate(alice, web, worker, pebble)
        assert "Done: web: 127.0.0.1:8443 serves it." in worker.log  # which the worker cannot ask: the node says so
        alice.go(f"{PUBLIC}/configuration/bindings/")
        expect(alice.page.locator("body")).to_contain_text('- "443:8443"')
        expect(alice.page.get_by_role("button", name="Try this address")).to_have_count(0)
        alice.shot("bindings")
        _force_ssl_in_the_browser(alice)
        assert not [url for url in alice.watch.navigations if INSIDE_PORTS.search(url)]


def test_two_pods_in_a_browser(engine: Engine) -> None:
    """`replicas: 2`, started at one moment; every second connection goes to the other one."""
    engine.run_comments("deploy/kubernetes.yaml")
    first, second = "web-7d9f-abcde", "web-7d9f-vwxyz"
    with (
        _database(engine.project / "deploy/secrets"),
        _running() as running,
        Balancer(8080, 8081, port=80) as plain,
        Balancer(8443, 8444, port=443) as secure,
        Pebble(http_port=80, tls_port=443) as pebble,
        chromium() as browser,
        visitor(browser) as alice,
    ):
        web = engine.pod("web", first)
        running.append(web)
        running.append(engine.pod("web", second, {"BINDERY_HTTP_PORT": "8081", "BINDERY_HTTPS_PORT": "8444"}))
        worker = engine.pod("worker", "worker-5c8b-fghij")
        running.append(worker)
        for pod in running[:2]:
            wait_until(lambda pod=pod: SETUP_LINK.search(pod.log), timeout=60, what="the one-time link")
        _from_the_link_to_the_certificate(alice, web, worker, pebble)
        assert f"Done: {first}, {second} serve it, each seen there." in worker.log
        for port in (8443, 8444):
            served(port, NAME, roots_pem=pebble.root_pem())
        alice.go(f"{PUBLIC}/configuration/bindings/")
        expect(alice.page.locator("body")).to_contain_text(re.compile(r"port: 443, targetPort: 844[34]"))
        alice.shot("bindings")
        _force_ssl_in_the_browser(alice)
        assert not [url for url in alice.watch.navigations if INSIDE_PORTS.search(url)]
        assert (len(plain.taken), len(secure.taken)) == (2, 2)


def test_kubernetes_as_it_stands(engine: Engine) -> None:
    engine.run_comments("deploy/kubernetes.yaml")
    # The Service: 80 leads to 8080 and 443 to 8443, which nobody outside knows of.
    with (
        _database(engine.project / "deploy/secrets"),
        _running() as running,
        Balancer(8080, port=80),
        Balancer(8443, port=443),
    ):
        web, worker = engine.pod("web", "web-7d9f-abcde"), engine.pod("worker", "worker-5c8b-fghij")
        running += [web, worker]
        wait_until(lambda: is_listening(8080) and _status("/healthz") == 200, timeout=60, what="the startup probe")
        wait_until(lambda: _status("/readyz") == 200, timeout=20, what="the readiness probe")
        assert _status("/statusz") == 503  # nothing is bound yet; that is no reason to restart a pod
        wait_until(lambda: "works on the queue" in worker.log, timeout=60, what="the worker")
        _what_is_printed(web)
        _where_redirects_lead()
        with Pebble(http_port=80, tls_port=443) as pebble:
            data = engine.place / "pods/web-7d9f-abcde/data"
            _issue(web, pebble, data)
            assert _order(worker) == ["done", "True", "-", PUBLIC, PUBLIC]
        _force_ssl_leads_to_the_public_url(worker)


def _from_the_link_to_the_certificate(alice: Visitor, web: Container, worker: Container, pebble: Pebble) -> None:
    [link] = [link for link in SETUP_LINK.findall(web.log) if link.startswith("https:")]
    assert link.startswith(f"{PUBLIC}/setup/")
    people.open_set_up(alice, link)
    people.obtain(alice, PUBLIC, pebble, [NAME], anyway=False)
    assert alice.page.url == f"{PUBLIC}{people.LETS_ENCRYPT}"
    served(443, NAME, roots_pem=pebble.root_pem())
    assert _order(worker) == ["done", "True", "-", PUBLIC, PUBLIC]


def _force_ssl_in_the_browser(alice: Visitor) -> None:
    page = alice.page
    alice.go(f"{PUBLIC}/configuration/https/")
    page.get_by_role("button", name="Switch Force SSL on").click()
    page.get_by_role("link", name=f"http://{NAME}").click()
    page.wait_for_url(f"{PUBLIC}/configuration/https/")
    page.get_by_role("button", name="Keep Force SSL").click()
    expect(page.locator("body")).to_contain_text("Force SSL is on")
    alice.go(f"http://{NAME}/help/?a=1")
    assert page.url == f"{PUBLIC}/help/?a=1"
    alice.shot("forced")


def _what_is_printed(web: Container) -> None:
    wait_until(lambda: SETUP_LINK.search(web.log), timeout=20, what="the one-time link")
    printed = web.log[web.log.index("Bindery is up:") :]
    assert f"Bindery is up: {PUBLIC}/\n" in printed
    links = SETUP_LINK.findall(printed)
    assert links
    assert all(link.startswith(f"{PUBLIC}/setup/") for link in links)
    assert not re.search(r":(8080|8443)\b", printed), printed
    path = links[0].removeprefix(PUBLIC)
    page = requests.get(f"http://{NAME}{path}", timeout=20).text  # over plain HTTP it leads to HTTPS
    assert f"{PUBLIC}{path}" in page
    assert "8443" not in page


def _where_redirects_lead() -> None:
    assert _location(443, tls=False) == f"{PUBLIC}/help/?a=1"  # plain HTTP on the TLS port
    assert _location(80, tls=True) == f"{PUBLIC}/help/?a=1"  # TLS on the plain port


def _force_ssl_leads_to_the_public_url(worker: Container) -> None:
    _python(worker, FORCE_SSL)

    def leads() -> bool:
        answer = requests.get(f"http://{NAME}/help/", timeout=20, allow_redirects=False)
        return answer.status_code == 307 and answer.headers["Location"] == f"{PUBLIC}/help/"

    wait_until(leads, timeout=10, what="Force SSL")


def _issue(web: Container, pebble: Pebble, data: Path) -> None:
    """On the web node, by the worker; what is served then was issued by pebble."""
    shutil.copyfile(pebble.ca_bundle_file, data / "ca.pem")
    (data / "ca.pem").chmod(0o644)
    done = web.run(
        "python", "manage.py", "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", "/data/ca.pem",
        "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    served(443, NAME, roots_pem=pebble.root_pem())


def _order(container: Container) -> list[str]:
    return _python(container, LAST_ORDER).strip().split("|")


def _python(container: Container, code: str) -> str:
    done = container.run("env", "DJANGO_SETTINGS_MODULE=portal.settings", "python", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _database(secrets: Path) -> Iterator[None]:
    with Postgres(port=5432, password=(secrets / "database_password").read_text(), database="bindery"):
        yield


@contextmanager
def _running() -> Iterator[list[Container]]:
    """Each ends as an engine ends it, and cleanly."""
    containers: list[Container] = []
    try:
        yield containers
    except BaseException:
        for container in containers:
            print(container.log[-6000:])
        raise
    finally:
        codes = [container.process.stop(60) for container in containers]
    assert codes == [0] * len(codes)


def _status(path: str) -> int:
    try:
        return requests.get(f"http://{LOOPBACK}:8080{path}", timeout=5).status_code
    except requests.RequestException:
        return 0


def _location(port: int, *, tls: bool) -> str:
    """Where one raw request is sent on to."""
    context = ssl._create_unverified_context()
    plain = socket.create_connection((LOOPBACK, port), timeout=20)
    with context.wrap_socket(plain, server_hostname=NAME) if tls else plain as stream:
        stream.sendall(f"GET /help/?a=1 HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := stream.recv(65536):
            answer += chunk
    found = re.search(rb"(?im)^location: (\S+)", answer)
    assert found, answer[:500]
    return found[1].decode()
