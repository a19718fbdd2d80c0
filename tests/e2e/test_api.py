"""The page that tries the API, and the examples of docs/api.md, run as they stand by a shell with curl."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness import pki
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

pytestmark = pytest.mark.e2e
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREPARE = """
from certs.services.tokens import token_create
from certs.models import User
User.objects.create_superuser("admin@example.com", "a long pass phrase")
result = token_create("docs", "admin", actor="test")[1]
"""


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal() as running:
        yield running


def test_a_person_tries_the_api_on_its_page(portal: Portal) -> None:
    """Under the portal's Content-Security-Policy: log-in, a change, a refusal."""
    need("chromium")
    with chromium() as browser, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        page = alice.page
        alice.go(f"{portal.http_url}/api/docs/")
        expect(page.locator(".opblock").first).to_be_visible()
        alice.shot("api")
        page.set_viewport_size({"width": 360, "height": 740})
        alice.shot("api-narrow")
        page.set_viewport_size({"width": 1200, "height": 900})
        block = page.locator("#operations-certificates-certificate_keypair")
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
        block.locator("textarea").fill('{"name": "tried"}')
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status").first).to_have_text(re.compile("201"))
        alice.shot("api-tried")
        block.locator("textarea").fill('{"nmae": "tried"}')
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status").first).to_have_text(re.compile("400"))
        expect(block.locator(".live-responses-table")).to_contain_text("“name” is")
        assert len(portal.rows("SELECT id FROM certs_certificate WHERE name = 'tried'")) == 1


def test_every_example_of_the_manual_works(portal: Portal, tmp_path: Path) -> None:
    root = pki.authority("Docs Root")
    pair, other = pki.leaf(root, ["api.example.com"]), pki.leaf(root, ["other.example.com"])
    (tmp_path / "fullchain.pem").write_text(pair.pem + root.pem)
    (tmp_path / "key.pem").write_text(pair.key_pem)
    store = pkcs12.serialize_key_and_certificates(
        b"other",
        other.key,  # type: ignore[arg-type]  # an EC key
        other.certificate,
        None,
        BestAvailableEncryption(b"changeit"),
    )
    (tmp_path / "bundle.p12").write_bytes(store)
    examples = BLOCK.findall(DOCUMENT.read_text())
    assert len(examples) >= 8
    secret = portal.run(PREPARE)
    environment = {**os.environ, "BINDERY": portal.http_url, "TOKEN": secret, "NO_PROXY": "*"}
    for example in examples[1:]:  # the first one sets the two variables
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", example],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{example}\n{done.stdout[-2000:]}\n{done.stderr}"
    told = json.loads(
        subprocess.run(
            [
                "curl",
                "-fsS",
                "-H",
                f"Authorization: Bearer {secret}",
                f"{portal.http_url}/api/certificates?q=example.com",
            ],
            env=environment,
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout
    )
    (row,) = told["items"]  # the key store was only looked at
    assert (row["id"], row["description"], row["exposed"]) == ("cert_api_example_com", "The public API", True)
    assert row["metadata"] == {}
    assert (tmp_path / "server.pem").read_text().startswith("-----BEGIN CERTIFICATE")
    wait_until(lambda: portal.rows("SELECT state FROM certs_bulkjob")[0]["state"] == "done", timeout=30, what="the job")
    tags = portal.rows("SELECT tag FROM certs_certificatetag ORDER BY tag")
    assert [each["tag"] for each in tags] == ["external", "production", "web"]
