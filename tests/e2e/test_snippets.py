"""The configuration that the pages show, word for word, in the servers, with the very files that are downloaded."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml

from certs.domain.formats.base import Material, format_find
from certs.domain.keys import Key
from certs.domain.options import options_read
from certs.domain.pem import Chain
from certs.domain.snippets import AcmeFacts, Facts, Snippet, snippets_for
from tests.harness import counterparts, pki
from tests.harness.apache import Apache
from tests.harness.daemon import Daemon
from tests.harness.haproxy import Haproxy
from tests.harness.nginx import Nginx
from tests.harness.ports import LOOPBACK, free_port, is_listening
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e
NAMES = ("shop.example.com", "*.example.com", "xn--bcher-kva.example", "192.0.2.7", "bad;name")
ROOT = pki.authority("Root CA")
MIDDLE = pki.authority("Middle CA", ROOT)
LEAF = pki.leaf(MIDDLE, list(NAMES[:3]))
KEY: Key = LEAF.key  # type: ignore[assignment]
MATERIAL = Material(
    "Shop (*.example.com)",
    datetime(2026, 11, 21, 22, tzinfo=UTC),
    KEY.public_key(),
    Chain(LEAF.certificate, (MIDDLE.certificate,), ROOT.certificate),
    KEY,
)
PASSWORD = "a-pass-word"


def snippet(name: str, *, names: Sequence[str] = NAMES) -> Snippet:
    facts = Facts(MATERIAL.stem, tuple(names), "ec-p256", AcmeFacts("https://acme.example/directory"))
    return next(each for each in snippets_for(facts) if each.id == name)


def placed(given: Snippet, home: Path, port: int) -> str:
    """Its files below `home`, named as they are downloaded; its lines with those paths and this port."""
    text = given.text.replace("[::]:443", f"[::1]:{port}").replace(":443", f":{port}").replace(" 443 ", f" {port} ")
    if not _has_ipv6():
        text = text.replace(f"    listen [::1]:{port} ssl;\n", "")
    for file in given.files:
        wanted = format_find(file.format)
        values = {"password": PASSWORD} if "password" in wanted.options.__dataclass_fields__ else {}
        assert file.path.startswith(("/app/", "conf/")) or file.name == wanted.file_name(MATERIAL)
        (home / file.name).write_bytes(wanted.make(MATERIAL, options_read(wanted.options, values)))
        text = text.replace(file.path, str(home / file.name))
    return text.replace("PASSWORD", PASSWORD)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("names", [NAMES, NAMES[1:2], ()], ids=["names", "wildcard", "nameless"])
def test_nginx_serves_it(need: Callable[..., Any], tmp_path: Path, names: tuple[str, ...]) -> None:
    (program,) = need("nginx")
    tmp_path.chmod(0o755)
    port = free_port()
    server = Nginx(placed(snippet("nginx", names=names), tmp_path, port), (port,))
    with server:
        checked = [program, "-t", "-p", server.home, "-c", server.configuration, "-e", "stderr"]
        assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
        assert served_fingerprint(port, "shop.example.com") == LEAF.fingerprint


@pytest.mark.parametrize("names", [NAMES, NAMES[1:2], ()], ids=["names", "wildcard", "nameless"])
def test_apache_serves_it(need: Callable[..., Any], tmp_path: Path, names: tuple[str, ...]) -> None:
    need("apache2")
    port = free_port()
    with Apache(placed(snippet("apache", names=names), tmp_path, port), (port,), modules=("ssl",)):
        assert served_fingerprint(port, "shop.example.com") == LEAF.fingerprint


def test_haproxy_serves_it(need: Callable[..., Any], tmp_path: Path) -> None:
    need("haproxy")
    port = free_port()
    server = Haproxy(placed(snippet("haproxy"), tmp_path, port), port=port)
    assert server.check() == ""
    with server:
        assert served_fingerprint(port, "shop.example.com") == LEAF.fingerprint


class Tomcat(Daemon):
    """Debian's, with nothing but the connector of the snippet."""

    program = "tomcat"

    def __init__(self, given: Snippet) -> None:
        super().__init__()
        self._snippet, self.port = given, free_port()

    def command(self, program: Path) -> Sequence[str | Path]:
        for name in ("conf", "logs", "temp", "work", "webapps"):
            (self.home / name).mkdir()
        for name in ("web.xml", "catalina.properties"):
            shutil.copy(f"/etc/tomcat10/{name}", self.home / "conf")
        connector = placed(self._snippet, self.home / "conf", self.port).replace('"8443"', f'"{self.port}"')
        connector = connector.replace("<Connector ", f'<Connector address="{LOOPBACK}" ')
        (self.home / "conf" / "server.xml").write_text(
            f'<Server port="-1"><Service name="Catalina">{connector}<Engine name="Catalina" defaultHost="localhost">'
            '<Host name="localhost" appBase="webapps" /></Engine></Service></Server>'
        )
        return [program, "run"]

    def environment(self) -> dict[str, str]:
        quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m"
        return {"CATALINA_HOME": "/usr/share/tomcat10", "CATALINA_BASE": str(self.home), "JAVA_OPTS": quick}

    def answers(self) -> bool:
        return is_listening(self.port)


@pytest.mark.proof
def test_tomcat_serves_it(need: Callable[..., Any]) -> None:
    need("tomcat")
    with Tomcat(snippet("tomcat")) as server:
        assert served_fingerprint(server.port, "shop.example.com") == LEAF.fingerprint


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_nginx_lets_in_who_has_a_certificate_of_the_ca(need: Callable[..., Any], tmp_path: Path) -> None:
    need("nginx", "openssl")
    tmp_path.chmod(0o755)
    clients = {
        "own": pki.leaf(MIDDLE, ["client.example"]),
        "strange": pki.leaf(pki.authority("Other"), ["client.example"]),
    }
    asking = next(
        each for each in snippets_for(Facts("root_ca", (), "ec-p256", is_ca=True)) if each.id == "nginx-clients"
    )
    (tmp_path / "root_ca.ca.pem").write_text(ROOT.pem)
    port = free_port()
    lines = asking.text.replace("/etc/ssl/bindery", str(tmp_path)) + "return 200 hello;\n"
    site = placed(snippet("nginx"), tmp_path, port).replace("    ssl_protocols", f"{lines}    ssl_protocols")
    statuses = {}
    with Nginx(site, (port,)):
        for name, pair in clients.items():
            (tmp_path / name).write_text(pair.pem + MIDDLE.pem + pair.key_pem)
            got = requests.get(f"https://{LOOPBACK}:{port}/", cert=str(tmp_path / name), verify=False, timeout=10)
            statuses[name] = got.status_code
    assert statuses == {"own": 200, "strange": 400}


def test_of_a_ca_it_is_how_others_trust_it() -> None:
    found = snippets_for(Facts("root_ca", (), "ec-p256", AcmeFacts("https://acme.example"), is_ca=True))
    assert [each.id for each in found] == ["system-trust", "java-client", "nginx-clients"]
    assert {file.format for each in found for file in each.files} == {"trust-pem", "truststore-jks"}


def test_what_an_imported_certificate_says_cannot_write_configuration() -> None:
    names = (
        "a.example;}",
        'b.example"',
        "c.example d",
        "e.example\ninclude /etc/passwd;",
        "-x.example",
        "x" * 300,
        "f.example",
    )
    for name in ("nginx", "apache", "kubernetes", "cert-manager"):
        text = snippet(name, names=names).text
        assert "f.example" in text or name == "cert-manager"
        assert not any(bad in text for bad in ("a.example", "b.example", "c.example", "include", "-x.example", "xxxx"))


def test_ten_thousand_names_make_a_short_text() -> None:
    names = [f"n{number}.example.com" for number in range(10_000)]
    for name in ("nginx", "apache", "kubernetes"):
        text = snippet(name, names=names).text
        assert len(text) < 4000
        assert "9950 more names of the certificate are not listed." in text


def test_yaml_is_read_as_meant(need: Callable[..., Any]) -> None:
    micronaut = yaml.safe_load(snippet("micronaut").text)["micronaut"]["server"]["ssl"]
    assert micronaut["keyStore"] == {"path": "file:/app/ssl/server.p12", "password": "PASSWORD", "type": "PKCS12"}
    assert micronaut["trustStore"]["path"] == "file:/app/ssl/truststore.jks"
    assert micronaut["clientAuthentication"] == "want"
    ingress = yaml.safe_load(snippet("kubernetes").text)
    secret = yaml.safe_load(
        format_find("kubernetes-tls").make(MATERIAL, options_read(format_find("kubernetes-tls").options, {}))
    )
    assert ingress["spec"]["tls"] == [
        {
            "secretName": secret["metadata"]["name"],
            "hosts": ["shop.example.com", "*.example.com", "xn--bcher-kva.example"],
        }
    ]
    for each in (ingress, yaml.safe_load(snippet("kubernetes", names=("*.example.com",)).text)):
        kubernetes_validate.validate(each, "1.32", strict=True)
    assert yaml.safe_load(snippet("kubernetes", names=()).text)["spec"]["tls"]


def test_an_issuer_for_clusters_is_that_of_the_account() -> None:
    hostile = AcmeFacts('https://acme.example/d"\n  x: y', "ops@example.com", "kid: #1", ROOT.pem)
    facts = Facts("shop", NAMES, "ec-p256", hostile)
    issuer = next(each for each in snippets_for(facts) if each.id == "cert-manager")
    acme = yaml.safe_load(issuer.text)["spec"]["acme"]
    assert acme["server"] == hostile.directory_url
    assert acme["email"] == hostile.email
    assert acme["externalAccountBinding"]["keyID"] == hostile.eab_kid
    assert set(acme) == {"server", "email", "caBundle", "privateKeySecretRef", "externalAccountBinding", "solvers"}
    assert "dns01" in issuer.place
    assert not [each for each in snippets_for(Facts("shop", NAMES, "ec-p256")) if each.id == "cert-manager"]


def test_each_snippet_names_formats_that_there_are() -> None:
    for each in snippets_for(Facts("shop", NAMES, "rsa-2048", AcmeFacts("https://acme.example"))):
        assert each.place
        assert each.source.startswith("https://")
        assert all(format_find(file.format) for file in each.files)
    assert counterparts.COUNTERPARTS["tomcat"]
