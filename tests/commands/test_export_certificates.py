"""manage.py export_certificates."""

import json
from pathlib import Path

import pytest
from pytest_django import Settings

from certs.models import AuditEvent
from certs.services.portal_state import state_get, state_update
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def place(settings: Settings, tmp_path: Path) -> Path:
    settings.EXPORT_DIR = tmp_path / "acme"
    return tmp_path / "acme"


def test_on_write_off_remove(place: Path) -> None:
    stock.issued("www.example.com")
    assert run("export_certificates").code == 4
    done = run("export_certificates", "--on", "--mode", "0640")
    assert (done.code, "Written: www.example.com. Certificates in place: 1." in done.out) == (0, True)
    assert state_get().export_mode == "0640"
    assert (place / "www.example.com" / "current" / "privkey.pem").stat().st_mode & 0o777 == 0o640
    assert "Written: nothing" in run("export_certificates").out
    assert run("export_certificates", "--remove").code == 4
    assert "the files stay" in run("export_certificates", "--off").out
    assert state_get().export_mode == "0640", "what was not said stays"
    assert "Removed: www.example.com" in run("export_certificates", "--remove").out
    assert not (place / "www.example.com").exists()
    assert AuditEvent.objects.filter(action="export.change", actor_text="command line").count() == 2


def test_what_goes_wrong_is_the_exit_code(place: Path) -> None:
    refused = run("export_certificates", "--on", "--owner", "nobody-knows")
    assert refused.code == 4
    assert "There is no user “nobody-knows”" in refused.err
    version = stock.issued("www.example.com").versions.get()
    version.key.sealed = "broken"
    version.key.save()
    state_update(export=True)
    failed = run("export_certificates")
    assert failed.code == 4
    assert "www.example.com" in failed.err
    assert json.dumps("broken") not in failed.err
