"""What our own CAs publish, through a running portal: openssl, GnuTLS, curl and nginx ask as they ask any CA."""

import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.need import need
from tests.harness.nginx import Nginx
from tests.harness.portal import Portal
from tests.harness.ports import free_port, wait_until

pytestmark = pytest.mark.e2e

_MAKE = """
from certs.domain.wishes import Wish
from certs.services.authorities import authority_create
from certs.services.issued import authority_issue
from certs.services.pki import pki_base_url_confirm, pki_base_url_check
from certs.services.keys import key_open
from certs.domain.keys import key_to_pem
from certs.models import User
User.objects.create_superuser("alice@example.com", "a long pass phrase")
pki_base_url_confirm("BASE", actor="test")
root = authority_create(Wish(profile="root", subject="CN=Proof Root", days=3650), actor="test")
below = authority_create(Wish(profile="intermediate", subject="CN=Proof Issuing", days=1825), parent=root, actor="test")
result = {"root": str(root.pk), "below": str(below.pk), "check": pki_base_url_check("BASE").ok}
for name, wish in (
    ("good", Wish(hosts=("www.example.com", "127.0.0.1"), days=90)),
    ("bad", Wish(hosts=("bad.example",), days=90)),
    ("gone", Wish(hosts=("gone.example",), days=90)),
    ("client", Wish(profile="client", subject="CN=A Client", days=90)),
):
    made = authority_issue(below, wish, actor="test", auto_renew=False)
    result[name] = made.current.fullchain_pem
    result[name + ".key"] = key_to_pem(key_open(made.current.key)).decode()
    result[name + ".id"] = str(made.pk)
result["root.pem"] = root.certificate.current.leaf_pem
result["below.pem"] = below.certificate.current.leaf_pem
"""


@dataclass
class Pki:
    portal: Portal
    home: Path
    made: dict[str, Any]

    def run(self, *words: str | Path) -> str:
        """What it says, whether it is content or not."""
        run = subprocess.run(
            [str(word) for word in words], cwd=self.home, capture_output=True, text=True, timeout=60, check=False
        )
        return f"{run.stdout}{run.stderr}exit {run.returncode}\n"

    def revoke(self, name: str, reason: str = "keyCompromise") -> None:
        self.portal.run(
            "from certs.models import Certificate\n"
            "from certs.services.revocations import version_revoke\n"
            f"row = Certificate.objects.get(pk={self.made[name + '.id']!r})\n"
            f"version_revoke(row.current, {reason!r}, actor='test')\n"
            "result = None"
        )

    @property
    def ocsp(self) -> str:
        return f"{self.portal.http_url}/pki/ocsp/{self.made['below']}"

    def asked(self, name: str, *options: str) -> str:
        chain = ("-issuer", "below.pem", *options, "-cert", f"{name}.pem")
        return self.run(
            "openssl", "ocsp", *chain, "-url", self.ocsp, "-CAfile", "root.pem", "-verify_other", "below.pem"
        )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pki]:
    need("openssl", "certtool", "nginx")
    home = tmp_path_factory.mktemp("pki")
    with Portal() as portal:
        made = portal.run(_MAKE.replace("BASE", portal.http_url))
        for name in ("good", "bad", "gone", "client"):
            (home / f"{name}.pem").write_text(made[name])
            (home / f"{name}.key").write_text(made[f"{name}.key"])
        for name in ("root.pem", "below.pem"):
            (home / name).write_text(made[name])
        yield Pki(portal, home, made)


def test_openssl_and_gnutls_ask_by_ocsp(pki: Pki) -> None:
    assert pki.made["check"] is True
    for options in ((), ("-sha256",), ("-no_nonce",)):
        answer = pki.asked("good", *options)
        assert "Response verify OK" in answer
        assert "good.pem: good" in answer
        assert "WARNING" not in answer  # the nonce came back
    pki.revoke("bad")
    answer = pki.asked("bad", "-sha256")
    assert "bad.pem: revoked" in answer
    assert "Reason: keyCompromise" in answer
    never = pki.run("openssl", "ocsp", "-issuer", "below.pem", "-serial", "0x1234", "-url", pki.ocsp, "-noverify")
    assert "0x1234: unknown" in never
    wrong = pki.run("openssl", "ocsp", "-issuer", "root.pem", "-serial", "0x1234", "-url", pki.ocsp, "-noverify")
    assert "unauthorized" in wrong
    second = pki.run(
        "ocsptool",
        f"--ask={pki.ocsp}",
        "--load-issuer",
        "below.pem",
        "--load-cert",
        "bad.pem",
        "--load-trust",
        "root.pem",
    )
    assert "revoked" in second
    assert "Success" in second


def test_a_get_through_curl_with_slashes_and_percent_signs(pki: Pki) -> None:
    pki.run("openssl", "ocsp", "-issuer", "below.pem", "-cert", "good.pem", "-no_nonce", "-reqout", "request.der")
    text = b64encode((pki.home / "request.der").read_bytes()).decode()
    for path in (text, quote(text, safe="")):
        said = pki.run("curl", "-sS", "-D", "head.txt", "-o", "answer.der", f"{pki.ocsp}/{path}")
        assert "exit 0" in said
        head = (pki.home / "head.txt").read_text().lower()
        assert "200 ok" in head
        assert "application/ocsp-response" in head
        assert "max-age=" in head
        assert "set-cookie" not in head
        assert "Cert Status: good" in pki.run("openssl", "ocsp", "-respin", "answer.der", "-resp_text", "-noverify")


def test_openssl_fetches_the_list_itself(pki: Pki) -> None:
    """From the distribution point in the certificate, that of the intermediate at the root's list as well."""
    root = f"{pki.portal.http_url}/pki/crl/{pki.made['root']}.crl"  # its own certificate names no list
    pki.run("curl", "-sS", "-o", "root.der", root)
    pki.run("openssl", "crl", "-inform", "DER", "-in", "root.der", "-out", "root.crl")
    verify = ("openssl", "verify", "-x509_strict", "-crl_download", "-crl_check_all")
    verify = (*verify, "-CAfile", "root.pem", "-CRLfile", "root.crl")
    chain = ("-untrusted", "below.pem")
    assert "good.pem: OK" in pki.run(*verify, *chain, "good.pem")
    pki.revoke("gone", "superseded")
    assert "certificate revoked" in pki.run(*verify, *chain, "gone.pem")
    pki.run("curl", "-sS", "-o", "list.der", f"{pki.portal.http_url}/pki/crl/{pki.made['below']}.crl")
    shown = pki.run("openssl", "crl", "-inform", "DER", "-in", "list.der", "-CAfile", "below.pem", "-noout", "-text")
    assert "verify OK" in shown
    assert "Superseded" in shown
    pki.run("curl", "-sS", "-o", "issuer.der", f"{pki.portal.http_url}/pki/aia/{pki.made['below']}.cer")
    same = pki.run("openssl", "x509", "-inform", "DER", "-in", "issuer.der")
    assert pki.made["below.pem"].strip() in same


def test_nginx_staples_and_asks_about_clients(pki: Pki) -> None:
    port = free_port()
    (pki.home / "bundle.pem").write_text(pki.made["below.pem"] + pki.made["root.pem"])
    home = pki.home
    sites = f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/good.pem;
        ssl_certificate_key {home}/good.key;
        ssl_trusted_certificate {home}/bundle.pem;
        ssl_stapling on;
        ssl_stapling_verify on;
        ssl_client_certificate {home}/bundle.pem;
        ssl_verify_client optional;
        ssl_verify_depth 3;
        ssl_ocsp leaf;
        location / {{ return 200 "client: $ssl_client_verify\\n"; }}
    }}
    """
    client = ("--cert", "client.pem", "--key", "client.key", "--cacert", "root.pem")
    with Nginx(sites, [port]):
        stapled = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-CAfile", "root.pem")
        wait_until(lambda: "Cert Status: good" in pki.run(*stapled), timeout=15, what="the staple")
        checked = pki.run("curl", "-sS", "--cert-status", "--cacert", "root.pem", f"https://127.0.0.1:{port}/")
        assert "client: NONE" in checked
        assert "client: SUCCESS" in pki.run("curl", "-sS", *client, f"https://127.0.0.1:{port}/")
        pki.revoke("client")
    with Nginx(sites, [port]):  # its cache of answers is empty again
        refused = pki.run("curl", "-sS", *client, f"https://127.0.0.1:{port}/")
        assert "FAILED:certificate revoked" in refused or "400 Bad Request" in refused


def test_force_ssl_any_host_and_the_tls_port(pki: Pki) -> None:
    pki.portal.run(
        "from certs.services.portal_state import state_update\n"
        "state_update(force_ssl=True, public_url='https://portal.example.com')\n"
        "result = None"
    )
    try:
        for path in (f"crl/{pki.made['below']}.crl", f"aia/{pki.made['root']}.cer"):
            for scheme in ("http", "https"):
                answer = pki.portal.get(f"/pki/{path}", scheme=scheme, headers={"Host": "pki.nobody.example"})
                assert (answer.status_code, answer.cookies.get_dict()) == (200, {})
                assert "Strict-Transport-Security" not in answer.headers
        assert pki.portal.get("/help/", headers={"Host": "localhost"}).status_code == 307
        assert "good.pem: good" in pki.asked("good")
    finally:
        pki.portal.run(
            "from certs.services.portal_state import state_update\nstate_update(force_ssl=False)\nresult=None"
        )


def test_the_doctor_asks_the_published_address(pki: Pki) -> None:
    said = pki.portal.manage("doctor", "--topic", "certificates", check=False).stdout
    assert "The list of Proof Issuing is current until" in said
    assert "This portal answers at" in said


@pytest.mark.proof
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_requests_over_http_are_never_the_servers_fault(pki: Pki, data: st.DataObject) -> None:
    pki.run("openssl", "ocsp", "-issuer", "below.pem", "-cert", "good.pem", "-reqout", "request.der")
    der = bytearray((pki.home / "request.der").read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(der) - 1))
        der[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path = data.draw(st.one_of(st.just(quote(b64encode(bytes(der)).decode())), st.text(max_size=80).map(quote)))
    for answer in (
        requests.post(pki.ocsp, data=bytes(der), timeout=10),
        requests.get(f"{pki.ocsp}/{path}", timeout=10, allow_redirects=False),
    ):
        assert answer.status_code in (200, 400, 404)
        if answer.headers["Content-Type"] == "application/ocsp-response":
            assert ocsp.load_der_ocsp_response(answer.content).response_status.value in (0, 1, 6)


@pytest.mark.proof
def test_a_flood_of_questions_leaves_the_pages_to_people(pki: Pki) -> None:
    pki.run("openssl", "ocsp", "-issuer", "below.pem", "-cert", "good.pem", "-reqout", "request.der")
    der, until = (pki.home / "request.der").read_bytes(), time.monotonic() + 6

    def ask(_: int) -> list[int]:
        found = []
        with requests.Session() as session:
            while time.monotonic() < until:
                answer = session.post(pki.ocsp, data=der, timeout=30)
                assert answer.status_code == 200
                found.append(ocsp.load_der_ocsp_response(answer.content).response_status.value)
        return found

    with ThreadPoolExecutor(40) as pool:
        asking = [pool.submit(ask, number) for number in range(40)]
        waits = []
        while time.monotonic() < until:
            begun = time.monotonic()
            assert requests.get(f"{pki.portal.http_url}/accounts/login/", timeout=30).status_code == 200
            waits.append(time.monotonic() - begun)
        answers = [status for one in asking for status in one.result()]
    middle = sorted(waits)[len(waits) // 2]
    print(f"{len(answers) / 6:.0f} answers/s, {answers.count(3)} put off; pages p50 {middle:.3f} s")
    assert set(answers) <= {0, 3}
    assert answers.count(0) > 100
    assert max(waits) < 10
