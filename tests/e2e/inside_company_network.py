"""Run by test_company_network.py in a private network, beside another one where the CA, squid and BIND are.

Nothing but squid and one resolver can be reached; the zone's own name servers are not, and the CA is not.
"""

import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness import pki
from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.browser import chromium, visitor
from tests.harness.namespace import is_inside
from tests.harness.networks import FAR, OWN, Outside
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import is_listening
from tests.harness.squid import Squid
from tests.harness.tls import served

ZONE, NAME, CA = "company.test", "portal.company.test", "ca.example.test"
FIREWALLED = "198.51.100.53"  # the zone's name server, as its NS says
PASSWORD = "s3cret-of-the-proxy"

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_company_network.py in namespaces of its own")


@dataclass
class World:
    squid: Squid
    bind: Bind
    ca: Pebble  # behind the proxy
    near: Pebble  # a CA of the company, in its own network
    inspector: Path  # PEM of the root that squid signs with
    outside: Outside

    @property
    def environment(self) -> dict[str, str]:
        return {
            "https_proxy": self.squid.url(),
            "no_proxy": "localhost, 10.9.0.0/24",
            "BINDERY_CA_BUNDLE": str(self.inspector),
            "TSIG_SECRET": SECRET,
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    inspector = pki.authority("TLS inspection of the company")
    file = tmp_path_factory.mktemp("company") / "roots.pem"
    file.write_text(inspector.pem)
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        with outside():
            records = {ZONE: [f"portal A {OWN}"], "test": []}
            bind = Bind(zones=records, records=records, addresses=(FAR,), listed={ZONE: (FIREWALLED,)}, port=53)
            stack.enter_context(bind)
            ca = stack.enter_context(Pebble(http_port=80, dns=bind, host=CA))
            near = stack.enter_context(Pebble(http_port=80, dns=bind, host=FAR, address=FAR))
            squid = Squid(
                address=FAR,
                login="portal",
                password=PASSWORD,
                inspector=inspector,
                trusts=ca.ca_bundle_pem,
                hosts={CA: "127.0.0.1"},
            )
            stack.enter_context(squid)
        yield World(squid, bind, ca, near, file, outside)


@pytest.fixture(scope="module")
def portal(world: World) -> Iterator[Portal]:
    with Portal(http_port=80, https_port=443, environment=world.environment) as running:
        yield running


def check(portal: Portal, world: World, **environment: str) -> dict[str, str]:
    """What `issue --check` says, by code."""
    words = ["issue", NAME, "--check", "--json", "--directory", world.ca.directory_url]
    done = portal.manage(*words, environment=environment, check=False)
    assert PASSWORD not in done.stdout + done.stderr
    found = json.loads(done.stdout)["checks"][0]["findings"]
    return {one["code"]: f"{one['level']}: {one['sentence']} {one['advice']}" for one in found}


def test_nothing_but_the_proxy_and_the_resolver_can_be_reached(world: World) -> None:
    assert is_listening(world.squid.port, FAR)
    assert not is_listening(53, FIREWALLED)
    port = int(world.ca.directory_url.split(":")[2].split("/")[0])
    assert not is_listening(port, FAR)


def test_what_stands_in_the_way_is_named_with_its_mend(portal: Portal, world: World) -> None:
    place = f"{FAR}:{world.squid.port} (https_proxy)"
    said = check(portal, world, https_proxy=world.squid.url(password="wrong"))["directory"]
    assert f"The proxy {place} refuses the way to {CA}:" in said
    assert "407" in said
    assert "https_proxy=http://user:password@host:port" in said

    said = check(portal, world, BINDERY_CA_BUNDLE="")["directory"]
    assert "is not trusted here" in said
    assert "issued by “TLS inspection of the company”" in said
    assert "give its root certificate by BINDERY_CA_BUNDLE" in said

    well = check(portal, world)
    assert well["directory"].startswith("ok:")
    assert well["resolve"].startswith(f"unknown: {NAME} has the address {OWN}. Asked of your resolver {FAR} instead")

    assert f"Asked of your resolver {FAR} instead" in well["caa"]
    assert well["caa"].startswith("unknown:")

    started = time.monotonic()
    dead = check(portal, world, BINDERY_DNS_RESOLVERS=FIREWALLED, https_proxy="")
    assert time.monotonic() - started < 40
    assert dead["resolve"].startswith("unknown: No DNS resolver could say")
    assert "HTTPS_PROXY" in dead["directory"]


def test_a_bundle_that_is_not_there_stops_the_start(portal: Portal) -> None:
    done = portal.manage("check", environment={"BINDERY_CA_BUNDLE": "/absent/roots.pem"}, check=False)
    assert done.returncode != 0
    assert "BINDERY_CA_BUNDLE names /absent/roots.pem, which cannot be read" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_main_job_in_a_browser(portal: Portal, world: World) -> None:
    with chromium() as browser, visitor(browser) as alice:
        people.first_administrator(alice, portal, host=NAME)
        people.configure(alice, f"http://{NAME}")
        people.fill_request(alice, directory_url=world.ca.directory_url, ca_bundle="", names=[NAME])
        alice.page.uncheck("[name=allow_private_ca]")  # the proxy resolves the CA's name
        alice.shot("form")
        people.register(alice, anyway=False)
        people.wait_for_certificate(alice)
        alice.shot("done")
        people.go_to_https(alice, f"https://{NAME}")
        expect(alice.page.locator("body")).to_contain_text("Certificate")
        with world.outside():
            root = world.ca.root_pem()
        served(443, NAME, roots_pem=root)
    assert any(line.startswith(f"CONNECT {CA}:") for line in world.squid.asked)


def test_a_wildcard_by_dns_where_only_the_resolver_answers(portal: Portal, world: World) -> None:
    given = {"server": FAR, "port": world.bind.port, "key": KEY, "timeout": 3}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    portal.manage(
        "challenge_methods", "add", "BIND", "--kind", "dns01_rfc2136", *words, "--set-file", "secret=env:TSIG_SECRET"
    )
    tested = portal.manage("challenge_methods", "test", "BIND", ZONE)
    assert "It works" in tested.stdout
    done = portal.manage("issue", f"*.{ZONE}", "--challenge", "BIND", "--json")
    assert json.loads(done.stdout)["result"] == "renewed"


def test_a_ca_of_the_company_is_asked_without_the_proxy(portal: Portal, world: World) -> None:
    before = len(world.squid.asked)
    where = ["--directory", world.near.directory_url, "--ca-bundle", str(world.near.ca_bundle_file)]
    done = portal.manage("issue", NAME, *where, "--allow-private-ca", "--accept-terms", "--force", "--json")
    assert json.loads(done.stdout)["result"] == "renewed"
    assert not [line for line in world.squid.asked[before:] if FAR in line]
    assert world.near.issued() == 1


def test_the_doctor_takes_the_same_way_and_tells_no_password(portal: Portal, world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    done = portal.manage("doctor", "--json", "--bundle", str(bundle), check=False)
    lines = json.loads(done.stdout)["lines"]
    # A CA on the Internet would not reach the address of this test's network; nothing else is wrong.
    assert {line["code"] for line in lines if line["state"] == "bad"} == {"names-ipv4"}
    well = {line["code"] for line in lines if line["state"] == "ok"}
    assert well >= {"proxy", "roots", "directories", "clock", "resolvers"}
    (resolved,) = {line["state"] for line in lines if line["code"] == "names-resolve"}
    assert resolved == "unknown"  # as the resolver says, since port 53 is closed
    with zipfile.ZipFile(bundle) as archive:
        content = [archive.read(name).decode() for name in archive.namelist()]
    assert PASSWORD not in "".join([done.stdout, done.stderr, *content])
    ran = portal.manage("doctor", "--topic", "network", environment={"https_proxy": "http://192.0.2.1:9"}, check=False)
    assert "The proxy 192.0.2.1:9 (https_proxy) cannot be reached." in " ".join(ran.stdout.split())


def test_the_password_of_the_proxy_is_nowhere(portal: Portal) -> None:
    assert PASSWORD not in portal.log
    for file in portal.home.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file
