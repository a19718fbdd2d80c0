"""`manage.py tls` from the first word to a certificate that nginx serves, and back again."""

import json
from pathlib import Path

import pytest

from certs.models import Endpoint, Installation
from certs.models.organization import DEFAULT_ORGANIZATION
from tests.commands.running import Ran, run
from tests.harness.tls import served_fingerprint
from tests.services.test_installations_nginx import NAME, Site, machine, site, version

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
__all__ = ["machine", "site"]  # fixtures


def tls(*words: object) -> Ran:
    return run("tls", *words)


def test_a_server_is_added_approved_discovered_installed_and_put_back(site: Site, tmp_path: Path) -> None:
    Endpoint.objects.all().delete()
    key = tmp_path / "key"
    key.write_text(site.machine.client_key())
    told = f"nginx -p {site.nginx.home} -c {site.nginx.configuration} -e stderr -s"
    added = tls(
        *("add", "nginx", "--name", "web1", "--connection_type", "ssh", "--host", site.machine.address),
        *("--port", site.machine.port, "--user", "boss", "--ssh_key_path", key),
        *("--nginx_config_path", site.nginx.configuration, "--reload_command", f"{told} reload"),
    )
    assert added.code == 0, added.err
    assert str(Endpoint.objects.get().pk) in added.out

    first = tls("test", "web1")
    assert first.code == 4
    fingerprint = site.machine.host_key.get_fingerprint()
    assert fingerprint in first.err
    assert tls("approve", "web1", "SHA256:other").code == 4
    assert tls("approve", "web1", fingerprint).code == 0
    assert "as boss, with sudo where it is needed" in tls("test", "web1").out

    assert "belongs to no organization" in tls("discover", "web1").err
    assert tls("edit", "web1", "--organization", DEFAULT_ORGANIZATION).code == 0
    assert NAME in tls("discover", "web1").out
    (node,) = tls("nodes", "web1", "--json").json["nodes"]
    assert (node["ssl"], node["protocol"], node["port"]) == ("External", "https", site.port)

    first_version, second_version = version(), version()
    plan = tls("install", "web1", first_version.certificate_id, "--plan")
    assert f"replace {site.tls}/site.key (key, 600 root:root)" in plan.out
    assert not Installation.objects.exists()
    for each in (first_version, second_version):
        done = tls("install", "web1", each.certificate_id)
        assert done.code == 0, done.out
        assert served_fingerprint(site.port, NAME) == each.fingerprint_sha256
    assert tls("rollback", "web1").code == 0
    assert served_fingerprint(site.port, NAME) == first_version.fingerprint_sha256
    (node,) = tls("nodes", "web1", "--json").json["nodes"]
    assert (node["ssl"], node["installation"]) == (NAME, "installed and served")
    gone = run("certs", "delete", first_version.certificate_id)
    assert "installed on web1" in gone.err

    shown = json.loads(tls("show", "web1", "--json").out)
    assert shown["options"]["user"] == "boss"
    assert shown["fingerprint"] == fingerprint
    assert tls("remove", "web1").code == 0
    assert "There is none" in tls("list").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "nginx", "--name", "x" * 33, "--connection_type", "ssh"), "too long"),
        (("add", "nginx", "--name", "a", "--connection_type", "ssh", "--user", "u"), "Host is needed"),
        (
            ("add", "nginx", "--name", "a", "--connection_type", "ssh", "--host", "h" * 256, "--user", "u"),
            "255 at most",
        ),
        (
            (
                "add",
                "nginx",
                "--name",
                "a",
                "--connection_type",
                "ssh",
                "--host",
                "h",
                "--user",
                "u",
                "--port",
                "70000",
            ),
            "1 to 65535",
        ),
        (("add", "nginx", "--name", "a", "--connection_type", "local", "--host", "h"), "no option “host”"),
        (("show", "nowhere"), "No endpoint"),
        (("install", "nowhere", "x"), "No endpoint"),
    ],
)
@pytest.mark.django_db
def test_a_wrong_word_is_said_and_nothing_is_stored(words: tuple[str, ...], said: str) -> None:
    ran = tls(*words)
    assert ran.code == 4
    assert said in ran.err
    assert not Endpoint.objects.exists()


def test_a_password_as_a_word_is_taken_and_one_from_the_environment_too(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGIN", "s3cret of ssh")
    words = ("add", "nginx", "--connection_type", "ssh", "--host", "127.0.0.1", "--user", "u")
    assert tls(*words, "--name", "a", "--password", "as a word").code == 0
    assert tls(*words, "--name", "b", "--password_file", "env:LOGIN").code == 0
    assert tls(*words, "--name", "c", "--password").code == 4  # nobody can be asked
    shown = tls("show", "b").out
    assert "--password" in shown
    assert "s3cret" not in shown + tls("list").out + json.dumps(Endpoint.objects.get(name="b").connection_options)
