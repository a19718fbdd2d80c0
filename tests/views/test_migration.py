"""The page that takes over from certbot: what it may read, what it shows, and that it does what it showed."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import AcmeAccount, Certificate, Intake, Order
from tests.harness import pki
from tests.harness.certbot_tree import CertbotTree

PAGE = reverse("migration")


@pytest.fixture
def tree(tmp_path: Path, settings: Any) -> CertbotTree:
    made = CertbotTree(tmp_path / "letsencrypt")
    made.account()
    made.lineage("www", ["www.example.com"], versions=2)
    settings.IMPORT_DIRS = [tmp_path]
    return made


def look(browser: Client, **given: Any) -> Any:
    return browser.post(PAGE, {"client": "certbot", "place": "", **given}, follow=True)


def archive(tree: CertbotTree) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tree.home, arcname="letsencrypt")
    packed.seek(0)
    packed.name = "letsencrypt.tar.gz"
    return packed


@pytest.mark.parametrize("by", ["place", "archive"])
def test_what_is_shown_is_taken(client: Client, tree: CertbotTree, by: str) -> None:
    shown = look(client, **({"place": str(tree.home)} if by == "place" else {"archive": archive(tree)}))
    assert "What would be taken from certbot" in shown.content.decode()
    assert not AcmeAccount.objects.exists()
    done = client.post(shown.redirect_chain[-1][0], {"digest": shown.context["plan"].digest})
    page = done.content.decode()
    assert "Taken over from certbot" in page
    (row,) = Certificate.objects.filter(source="acme")
    assert (row.name, row.versions.count()) == ("www", 2)
    assert not Intake.objects.exists()
    assert not Order.objects.exists()
    assert "PRIVATE KEY" not in page


def test_the_roots_of_a_private_ca_go_to_its_account(client: Client, tree: CertbotTree) -> None:
    root = pki.authority("Inner Root").pem
    page = look(client, place=str(tree.home), ca_bundle="-----BEGIN nothing", allow_private_ca="on").content.decode()
    assert "The CA bundle is not readable." in page
    assert "-----BEGIN nothing" in page
    assert not Intake.objects.exists()
    shown = look(client, place=str(tree.home), ca_bundle=root, allow_private_ca="on")
    client.post(shown.redirect_chain[-1][0], {"digest": shown.context["plan"].digest})
    account = AcmeAccount.objects.get()
    assert account.allow_private
    assert account.ca_bundle.strip() == root.strip()


def test_what_has_changed_since_is_shown_again(client: Client, tree: CertbotTree) -> None:
    shown = look(client, place=str(tree.home))
    digest = shown.context["plan"].digest
    tree.lineage("later", ["later.example.com"])
    again = client.post(shown.redirect_chain[-1][0], {"digest": digest}, follow=True)
    assert "There is something else now than what you saw." in again.content.decode()
    assert "later" in again.content.decode()
    assert not AcmeAccount.objects.exists()


@pytest.mark.parametrize("place", ["/etc", "/", "/etc/letsencrypt/../shadow", "relative", "{outside}"])
def test_it_reads_nothing_else(client: Client, tree: CertbotTree, place: str, tmp_path_factory: Any) -> None:
    """Not by a link from within what is allowed either."""
    outside = tmp_path_factory.mktemp("outside")
    link = tree.home.parent / "link"
    link.symlink_to(outside)
    page = look(client, place=place.format(outside=link)).content.decode()
    assert "The page reads only below these directories" in page
    assert not Intake.objects.exists()


def test_what_cannot_be_read_comes_with_what_to_do(client: Client, tree: CertbotTree) -> None:
    page = look(client, place=str(tree.home / "missing")).content.decode()
    assert "cannot be read: No such file or directory." in page
    assert "manage.py certs import" in page
    assert f"-v {tree.home / 'missing'}" in page


def test_credentials_elsewhere_are_not_read(client: Client, tree: CertbotTree, tmp_path_factory: Any) -> None:
    secret = tmp_path_factory.mktemp("secrets") / "cf.ini"
    secret.write_text("dns_cloudflare_api_token = topsecrettoken\n")
    params = f"authenticator = dns-cloudflare\ndns_cloudflare_credentials = {secret}\n"
    tree.lineage("wild", ["*.example.com"], params=params)
    page = look(client, place=str(tree.home)).content.decode()
    assert "outside of the directories that the page may read" in page
    assert "topsecrettoken" not in page


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "Give a directory, or an archive."),
        ({"place": "/etc/letsencrypt", "archive": io.BytesIO(b"x")}, "Give a directory, or an archive."),
        ({"client": "lego"}, "Select a valid choice."),
    ],
)
def test_what_cannot_be_used_is_said(client: Client, given: dict[str, Any], says: str) -> None:
    assert says in look(client, **given).content.decode()
    assert not Intake.objects.exists()


def test_a_broken_archive_and_one_too_large_are_refused(client: Client) -> None:
    for data, says in ((b"\x1f\x8bnothing", "no .tar or .tar.gz"), (b"x" * (1024 * 1024 + 1), "larger than 1 MiB")):
        packed = io.BytesIO(data)
        packed.name = "x.tar.gz"
        assert says in look(client, archive=packed).content.decode()
    assert not Intake.objects.exists()


def test_it_is_for_administrators_and_ones_own(client: Client, onlooker: Client, tree: CertbotTree) -> None:
    assert onlooker.get(PAGE).status_code == 403
    shown = look(client, place=str(tree.home))
    place = shown.redirect_chain[-1][0]
    assert onlooker.get(place).status_code == 403
    assert onlooker.post(place, {"digest": "x"}).status_code == 403


def test_what_is_not_kept_any_more_leads_back(client: Client) -> None:
    gone = reverse("migration-preview", args=["00000000-0000-4000-8000-000000000009"])
    assert "not kept any more" in client.post(gone, {"digest": ""}, follow=True).content.decode()
