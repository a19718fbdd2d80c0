"""A worker in another place of the network: what it sees stands on the page of the web node, under its name."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from certs.domain.envelope import KeyRing
from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import free_port
from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


def test_what_only_the_worker_sees_is_shown_by_the_web_node(tmp_path: Path) -> None:
    need("postgresql", "chromium")
    with Postgres() as server:
        given = {
            "DATABASE_URL": server.url,
            "BINDERY_SECRET_KEY": "a-secret-key-of-this-test-" + "y" * 40,
            "BINDERY_KEY_RING": KeyRing.generate().to_json(),
        }
        dead = f"http://someone:planted-pw@127.0.0.1:{free_port()}"
        behind = {**given, "BINDERY_NODE": "behind-a-proxy", "HTTPS_PROXY": dead}
        with (
            Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web"}, arguments=["--role", "web"]) as web,
            Portal(own_secrets=True, environment=behind, arguments=["--role", "worker"]),
            chromium() as browser,
            visitor(browser) as alice,
        ):
            people.first_administrator(alice, web)
            page = alice.page
            alice.go(f"{web.http_url}/configuration/diagnosis/")
            nodes = page.locator("#nodes")
            expect(nodes).to_contain_text("behind-a-proxy")
            expect(nodes).to_contain_text("It has not looked yet.")
            page.get_by_role("button", name="Run again").click()
            wrong = page.locator("#nodes .finding[data-code=proxy]", has=page.locator(".state-danger"))
            expect(wrong).to_contain_text("cannot be reached", timeout=60_000)
            own = page.locator("section[data-topic=network]").first
            expect(own).not_to_contain_text("cannot be reached")
            assert "planted-pw" not in page.content()
            alice.shot("nodes")

            found = json.loads(web.manage("doctor", "--json", check=False).stdout)
            assert {line["code"]: line["state"] for line in found["lines"]}["database"] == "ok"
            assert "planted-pw" not in json.dumps(found)

            away = f"postgresql://bindery:planted-pw@127.0.0.1:{free_port()}/postgres"
            ran = web.manage("doctor", check=False, environment={"DATABASE_URL": away})
            assert ran.returncode == 3
            assert "cannot be used" in ran.stdout
            assert "other settings than this: DATABASE_URL." in " ".join(ran.stdout.split())
            assert "Traceback" not in ran.stdout + ran.stderr
            assert "planted-pw" not in ran.stdout + ran.stderr
