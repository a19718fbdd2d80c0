"""Configuration ➜ Export."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import Settings

from certs.models import AuditEvent, NodeExport, RoleGrant, User
from certs.services.export import export_run
from certs.services.portal_state import state_get, state_update
from portal import clock
from tests import stock

PAGE = "/configuration/export/"
ON = {"on": "on", "owner": "", "group": "", "mode": "0600"}


@pytest.fixture(autouse=True)
def _place(settings: Settings, tmp_path: Path) -> None:
    settings.EXPORT_DIR = tmp_path / "acme"


def test_it_is_switched_on_and_shows_what_was_written(client: Client, tmp_path: Path) -> None:
    stock.issued("www.example.com")
    page = client.post(PAGE, ON, follow=True).content.decode()
    assert f"written to {tmp_path / 'acme'}" in page
    assert state_get().export
    assert "on, not written yet" in page
    assert "Each node begins within seconds" in page
    assert "Nothing has been exported" not in page
    assert 'hx-trigger="every 2s"' in page
    export_run()
    page = client.get(PAGE).content.decode()
    assert "not written yet" not in page
    assert "hx-trigger" not in page.split('id="export-now"')[1]
    assert "www.example.com/current" in page
    assert NodeExport.objects.get().node in page
    assert "Private keys leave the database." in page


def test_it_is_switched_off_and_the_files_stay(client: Client) -> None:
    client.post(PAGE, ON)
    page = client.post(PAGE, {**ON, "on": ""}, follow=True).content.decode()
    assert "The files stay where they are" in page
    assert not state_get().export


def test_files_of_before_do_not_pass_for_those_of_now(client: Client) -> None:
    client.post(PAGE, ON)
    export_run()
    client.post(PAGE, {**ON, "on": ""})
    page = client.get(PAGE).content.decode()
    assert "not written yet" not in page
    page = client.post(PAGE, {**ON, "mode": "0640"}, follow=True).content.decode()
    assert "on, not written yet" in page


def test_a_node_that_never_writes_is_told(client: Client) -> None:
    client.post(PAGE, ON)
    AuditEvent.objects.update(at=clock.now() - timedelta(minutes=3))
    page = client.get(PAGE).content.decode()
    assert "No node has written anything since this was switched on or changed" in page
    assert "Each node begins within seconds" not in page


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "0644"}, "is no mode for a private key"),
        ({"owner": "nobody-knows"}, "There is no user “nobody-knows”"),
        ({"group": "nobody-knows"}, "There is no group “nobody-knows”"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(client: Client, given: dict[str, str], words: str) -> None:
    page = client.post(PAGE, {**ON, **given}).content.decode()
    assert words in page
    assert "field-error" in page
    assert not state_get().export


def test_the_permission_is_enough_and_nothing_else_is(onlooker: Client, bob: User) -> None:
    assert onlooker.post(PAGE, ON).status_code == 403
    assert not state_get().export
    bob.user_permissions.add(Permission.objects.get(codename="export_keys"))
    assert onlooker.post(PAGE, ON).status_code == 403
    RoleGrant.objects.filter(user=bob).update(organization=None)
    assert "<form" in onlooker.get(PAGE).content.decode().split("<h1>")[1]
    assert onlooker.post(PAGE, ON).status_code == 302
    assert state_get().export


def test_troubles_of_a_node_are_shown(client: Client) -> None:
    state_update(export=True)
    NodeExport.objects.create(node="web-2", place="/srv/acme", count=3, trouble="a.test: cannot be written\nmore <b>")
    page = client.get(PAGE).content.decode()
    for words in ("web-2", "not complete", "a.test: cannot be written", "more &lt;b&gt;"):
        assert words in page
    assert "on, but not everything could be written" in client.get("/configuration/").content.decode()


def test_the_environment_locks_the_fields(client: Client, settings: Settings) -> None:
    settings.EXPORT_LOCKED, settings.EXPORT = True, False
    settings.EXPORT_ACCESS = {"export_group": "daemon"}
    state_update(export_group="daemon")
    page = client.get(PAGE).content.decode()
    assert "Set by BINDERY_EXPORT in" in page
    assert "Set by BINDERY_EXPORT_GROUP in" in page
    client.post(PAGE, ON)
    assert not state_get().export
