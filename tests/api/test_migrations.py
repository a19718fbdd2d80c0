"""Taking over from certbot by the API: a dry run, then the same with its digest."""

import io
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from certs.models import AcmeAccount, Certificate
from tests.api.conftest import Program, token
from tests.api.test_setup import ok, refused
from tests.harness.certbot_tree import CertbotTree

pytestmark = pytest.mark.django_db


@pytest.fixture
def tree(tmp_path: Path, settings: Any) -> CertbotTree:
    settings.IMPORT_DIRS = [tmp_path]
    made = CertbotTree(tmp_path / "letsencrypt")
    made.account()
    made.lineage("www", ["www.example.com"], params="authenticator = standalone")
    return made


def test_what_was_seen_is_taken_and_nothing_else(program: Program, tree: CertbotTree) -> None:
    body = {"client": "certbot", "place": str(tree.home)}
    seen = ok(program.send("POST", "/api/migrations", body | {"dryRun": True}))
    assert [(line["kind"], line["deed"]) for line in seen["lines"]] == [("account", "take"), ("certificate", "take")]
    assert (seen["done"], Certificate.objects.count(), AcmeAccount.objects.count()) == (False, 0, 0)
    refused(program.send("POST", "/api/migrations", body), 400, "/digest")
    tree.lineage("more", ["more.example.com"], params="authenticator = standalone")
    changed = program.send("POST", "/api/migrations", body | {"digest": seen["digest"]})
    assert (refused(changed, 409)["code"], Certificate.objects.count()) == ("changed", 0)
    digest = ok(program.send("POST", "/api/migrations", body | {"dryRun": True}))["digest"]
    done = ok(program.send("POST", "/api/migrations", body | {"digest": digest}))
    taken = [line["certificate"] for line in done["lines"] if line["kind"] == "certificate"]
    assert {ok(program.get(f"/api/certificates/{id}"))["name"] for id in taken} == {"www", "more"}
    assert not any(line["failed"] for line in done["lines"])


def test_an_archive_is_taken_and_other_directories_are_not_read(program: Program, tree: CertbotTree) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tree.home, "letsencrypt")
    body = {"client": "certbot", "archive": b64encode(packed.getvalue()).decode(), "dryRun": True}
    assert len(ok(program.send("POST", "/api/migrations", body))["lines"]) == 2
    elsewhere = {"client": "certbot", "place": "/root", "dryRun": True}
    assert refused(program.send("POST", "/api/migrations", elsewhere), 403)["code"] == "tree-not-allowed"
    both = body | {"place": str(tree.home)}
    for wrong in (both, {"client": "certbot", "dryRun": True}, body | {"archive": "?"}, body | {"archive": "eA=="}):
        refused(program.send("POST", "/api/migrations", wrong), 400)
    refused(token("operator").send("POST", "/api/migrations", body), 403)
    assert not Certificate.objects.exists()
