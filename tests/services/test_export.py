"""The export: what stands on the disk is what the database holds, and what went wrong is said."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from pytest_django import Settings

from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.keys import key_from_pem
from certs.domain.pem import certificates_read, pair_check
from certs.domain.wishes import Wish
from certs.models import AuditEvent, Certificate, CertificateVersion, NodeExport, RoleGrant, User
from certs.services import export
from certs.services.certificates import certificate_import
from certs.services.deletion import certificate_delete
from certs.services.export import (
    export_change,
    export_given,
    export_remove,
    export_run,
    export_signature,
    export_troubles,
    export_warnings,
)
from certs.services.health import portal_findings
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update
from certs.services.serving import placeholder_ensure
from certs.transports.generations import Files
from tests.harness import own_ca, pki

pytestmark = pytest.mark.django_db
FILES = {"cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"}


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Path:
    settings.EXPORT_DIR = tmp_path / "acme"
    return tmp_path / "acme"


def switch_on(owner: str = "", group: str = "", mode: str = "0600") -> None:
    export_change(on=True, owner=owner, group=group, mode=mode, actor="test")


def upload(*names: str, into: Certificate | None = None) -> Certificate:
    root = pki.authority()
    issuing = pki.authority("Issuing", root)
    pair = pki.leaf(issuing, list(names))
    chain = (pair.pem + issuing.pem).encode()
    return certificate_import(chain=chain, key=pair.key_pem.encode(), actor="test", into=into)


def test_the_key_of_a_ca_stays_in_the_database(place: Path) -> None:
    """Nor that of its OCSP responder; and what an earlier version has written goes from the disk."""
    online, offline = own_ca.root(), own_ca.root(Wish(subject="CN=Offline", days=3650), passphrase=own_ca.PASSPHRASE)
    mine = pki.authority("Uploaded CA")
    certificate_import(chain=mine.pem.encode(), key=mine.key_pem.encode(), actor="test")
    upload("www.example.com")
    switch_on()
    for name, row in (("old", online), ("older", offline)):
        (place / name / "20260101000000-56f1fb6acb92").mkdir(parents=True)
        (place / name / "20260101000000-56f1fb6acb92" / "privkey.pem").write_text("a key")
        Certificate.objects.filter(pk=row.certificate_id).update(export_name=name)
    result = export_run()
    assert result is not None
    assert (result.written, result.troubles) == (["www.example.com"], [])
    assert sorted(result.removed) == ["old", "older"]
    assert {path.name for path in place.iterdir() if path.is_dir()} == {"www.example.com"}


def test_every_certificate_with_its_key_is_written(place: Path) -> None:
    placeholder_ensure()
    certificate, wild = upload("www.example.com"), upload("*.example.com")
    assert export_run() is None, "off is off"
    assert not place.exists()
    switch_on()
    result = export_run()
    assert result is not None
    assert (result.count, result.troubles) == (2, [])
    assert sorted(result.written) == ["_wildcard.example.com", "www.example.com"]
    for row, name in ((certificate, "www.example.com"), (wild, "_wildcard.example.com")):
        row.refresh_from_db()
        current = place / name / "current"
        assert set(os.listdir(current)) == FILES
        assert row.current is not None
        assert (current / "cert.pem").read_text() == row.current.leaf_pem
        assert (current / "fullchain.pem").read_text() == row.current.leaf_pem + row.current.chain_pem
        leaf = certificates_read((current / "cert.pem").read_bytes())[0]
        pair_check(leaf, key_from_pem((current / "privkey.pem").read_bytes()))
        assert stat.S_IMODE((current / "privkey.pem").stat().st_mode) == 0o600
    again = export_run()
    assert again is not None
    assert (again.count, again.written) == (2, [])


def test_a_renewal_is_a_new_generation(place: Path) -> None:
    certificate = upload("www.example.com")
    switch_on()
    export_run()
    before = os.readlink(place / "www.example.com" / "current")
    signature = export_signature()
    upload("www.example.com", into=certificate)
    assert export_signature() != signature
    export_run()
    after = os.readlink(place / "www.example.com" / "current")
    assert after != before
    certificate.refresh_from_db()
    assert certificate.current is not None
    assert after.endswith(certificate.current.fingerprint_sha256[:12])


def test_two_of_a_name_have_directories_of_their_own_for_life(place: Path) -> None:
    first, second = upload("a.example.com"), upload("a.example.com")
    assert first.pk != second.pk
    switch_on()
    export_run()
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.export_name == "a.example.com"
    assert second.export_name == f"a.example.com-{str(second.pk)[:8]}"
    Certificate.objects.filter(pk=first.pk).update(name="renamed")
    export_run()
    assert (place / "a.example.com" / "current" / "cert.pem").read_text() == first.versions.get().leaf_pem
    assert not (place / "renamed").exists()


def test_what_is_deleted_goes_and_what_is_unknown_stays(place: Path) -> None:
    certificate = upload("a.example.com")
    switch_on()
    export_run()
    (place / "theirs" / "current").mkdir(parents=True)
    certificate_delete(certificate, actor="test")
    result = export_run()
    assert result is not None
    assert result.removed == ["a.example.com"]
    assert not (place / "a.example.com").exists()
    assert (place / "theirs" / "current").is_dir()
    # Its successor has the same path, and is not taken for it.
    successor = upload("a.example.com")
    export_run()
    export_run()
    assert (place / "a.example.com" / "current" / "cert.pem").read_text() == successor.versions.get().leaf_pem


def test_switching_off_leaves_the_files_until_they_are_removed(place: Path) -> None:
    upload("a.example.com")
    switch_on()
    export_run()
    with pytest.raises(ConflictError, match="is on"):
        export_remove(actor="test")
    export_change(on=False, owner="", group="", mode="0600", actor="test")
    assert export_run() is None
    assert export_signature() == ""
    assert (place / "a.example.com" / "current" / "privkey.pem").exists()
    assert export_remove(actor="test").removed == ["a.example.com"]
    assert not (place / "a.example.com").exists()
    assert AuditEvent.objects.filter(action="export.remove").exists()


def test_one_that_cannot_be_written_keeps_no_other(place: Path) -> None:
    good, bad = upload("good.example.com"), upload("bad.example.com")
    version = bad.versions.get()
    assert version.key is not None
    version.key.sealed = "broken"
    version.key.save()
    switch_on()
    result = export_run()
    assert result is not None
    assert result.written == ["good.example.com"]
    assert "bad.example.com" in result.troubles[0]
    assert not (place / "bad.example.com" / "current").exists()
    row = NodeExport.objects.get()
    assert (row.node, row.count, row.place) == (node_name(), 1, str(place))
    assert "bad.example.com" in row.trouble
    assert [node.pk for node in export_troubles()] == [row.pk]
    (finding,) = [finding for finding in portal_findings() if finding.code == "export"]
    assert not finding.ok
    assert good.pk


def test_a_key_that_does_not_fit_never_becomes_current(place: Path) -> None:
    certificate = upload("a.example.com")
    switch_on()
    export_run()
    before = os.readlink(place / "a.example.com" / "current")
    other = upload("b.example.com").versions.get()
    upload("a.example.com", into=certificate)
    certificate.refresh_from_db()
    assert certificate.current is not None
    certificate.current.key = other.key
    certificate.current.save()
    result = export_run()
    assert result is not None
    assert any("does not belong" in trouble for trouble in result.troubles), result.troubles
    assert os.readlink(place / "a.example.com" / "current") == before
    assert not [name for name in os.listdir(place / "a.example.com") if name.startswith(".")]


@pytest.mark.parametrize("change", ["renewed", "deleted", "off"])
def test_who_comes_late_brings_nothing_back(place: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """After each order every node writes, and two processes of one node may do so at once."""
    certificate = upload("www.example.com")
    switch_on()
    files = export._files

    def meanwhile(version: CertificateVersion) -> Files:
        monkeypatch.setattr(export, "_files", files)
        if change == "renewed":
            upload("www.example.com", into=certificate)
            export_run()
        elif change == "deleted":
            certificate_delete(certificate, actor="test")
        else:
            export_change(on=False, owner="", group="", mode="0600", actor="test")
            export_remove(actor="test")
        return files(version)

    monkeypatch.setattr(export, "_files", meanwhile)
    late = export_run()
    assert late is not None
    assert (late.written, late.troubles) == ([], [])
    if change == "renewed":
        certificate.refresh_from_db()
        assert certificate.current is not None
        assert (place / "www.example.com/current/cert.pem").read_text() == certificate.current.leaf_pem
    else:
        assert not list(place.glob("www.example.com/*"))


def test_a_node_that_is_gone_is_no_trouble_for_ever(place: Path, move_clock: Callable[[float], None]) -> None:
    switch_on()
    NodeExport.objects.create(node="gone", place=str(place), trouble="cannot be written")
    assert [row.node for row in export_troubles()] == ["gone"]
    move_clock(3700)
    assert export_troubles() == []
    move_clock(31 * 86400)
    export_run()
    assert [row.node for row in NodeExport.objects.all()] == [node_name()]


# Who may, and how.


def test_it_takes_a_permission_of_its_own_and_is_audited(place: Path) -> None:
    bob = User.objects.create_user("bob@example.com", "a long pass phrase")
    given = {"on": True, "owner": "", "group": "", "mode": "0640"}
    with pytest.raises(NotAllowed):
        export_change(**given, actor=bob)  # type: ignore[arg-type]  # what a form gives
    assert not state_get().export
    bob.user_permissions.add(Permission.objects.get(codename="export_keys"))
    with pytest.raises(NotAllowed):  # it writes the keys of all organizations, and he sees one
        export_change(**given, actor=User.objects.get(pk=bob.pk))  # type: ignore[arg-type]  # as above
    RoleGrant.objects.filter(user=bob).update(organization=None)
    export_change(**given, actor=User.objects.get(pk=bob.pk))  # type: ignore[arg-type]  # as above
    event = AuditEvent.objects.get(action="export.change")
    assert event.actor == bob
    assert (event.before["export"], event.after["export"], event.after["export_mode"]) == (False, True, "0640")


@pytest.mark.parametrize("mode", ["0644", "0604", "0666", "0700", "0200", "640x", "", "4600", "0o600", "99"])
def test_a_mode_that_opens_a_key_to_all_is_refused(place: Path, mode: str) -> None:
    with pytest.raises(InputError, match="mode for a private key") as caught:
        switch_on(mode=mode)
    assert caught.value.code == "mode"
    assert not state_get().export


@pytest.mark.parametrize(("field", "kind"), [("owner", "user"), ("group", "group")])
def test_somebody_unknown_is_named(place: Path, field: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"no {kind} “nobody-knows”") as caught:
        switch_on(**{field: "nobody-knows"})
    assert caught.value.code == field
    assert not state_get().export


def refusing(error: int) -> Callable[..., None]:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(error, os.strerror(error))

    return refuse


def test_what_may_not_be_given_away_is_refused_before_it_is_stored(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.transports.generations.os.fchown", refusing(1))
    with pytest.raises(InputError) as caught:
        switch_on(owner="daemon", mode="0640")
    text = str(caught.value)
    assert caught.value.code == "owner"
    for words in (str(place), "user daemon", "mode 0640", "name a group"):
        assert words in text
    assert not state_get().export
    assert os.listdir(place) == [".lock"]


def test_what_may_not_be_given_away_later_is_told_on_the_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload("a.example.com")
    switch_on(group="daemon", mode="0640")
    monkeypatch.setattr("certs.transports.generations.os.fchown", refusing(1))
    result = export_run()
    assert result is not None
    assert (result.count, result.written) == (0, [])
    assert "cannot be given to group daemon" in NodeExport.objects.get().trouble
    assert os.listdir(place / "a.example.com") == []


def test_a_place_that_cannot_be_written_is_named_with_its_remedy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.transports.generations.os.mkdir", refusing(13))
    upload("a.example.com")
    state_update(export=True)
    result = export_run()
    assert result is not None
    assert f"{place}" in result.troubles[0]
    assert "chown" in result.troubles[0]
    assert "chmod 0700" in result.troubles[0]


def test_a_home_that_lets_nobody_in_is_pointed_out(place: Path) -> None:
    place.parent.chmod(0o700)
    switch_on()
    assert export_warnings(state_get()) == [], "nobody else is to read them"
    switch_on(group="daemon", mode="0640")
    assert any(f"chmod o+x {place.parent}" in warning for warning in export_warnings(state_get()))


def test_the_environment_wins_and_locks(place: Path, settings: Settings) -> None:
    settings.EXPORT, settings.EXPORT_LOCKED = True, True
    settings.EXPORT_ACCESS = {"export_mode": "0400"}
    export_given()
    state = state_get()
    assert (state.export, state.export_mode) == (True, "0400")
    with pytest.raises(ConflictError, match="BINDERY_EXPORT "):
        export_change(on=False, owner="", group="", mode="0400", actor="test")
    with pytest.raises(ConflictError, match="BINDERY_EXPORT_MODE"):
        export_change(on=True, owner="", group="", mode="0600", actor="test")
    settings.EXPORT_ACCESS = {"export_mode": "0777"}
    with pytest.raises(BinderyError, match="mode for a private key"):
        export_given()
