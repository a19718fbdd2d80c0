"""A certificate that somebody brings, and that one of our own CAs has signed: known as that, and renewed."""

from typing import Any

import pytest

from certs.domain.bundle_items import GivenFile
from certs.domain.errors import InputError, KeyRefused, NotAllowed
from certs.domain.keys import key_to_pem
from certs.domain.roles import Role
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, Organization
from certs.services.access import TokenActor
from certs.services.authorities import authority_change, authority_retire
from certs.services.deletion import certificate_delete
from certs.services.intake import intake_read, intake_save
from certs.services.issued import authority_issue
from certs.services.keys import key_open
from certs.services.posting import certificate_foresee, certificate_post
from certs.services.reissue import is_signed_here
from certs.services.revocations import version_revoke
from certs.services.sweeps import sweep_run
from certs.services.tokens import token_create
from portal import clock
from tests.harness import own_ca

pytestmark = pytest.mark.django_db
LEAF = Wish(hosts=("a.example.com", "10.0.0.1"), profile="both", days=60)


@pytest.fixture
def root() -> Authority:
    return own_ca.root()


def brought(root: Authority, wish: Wish = LEAF, *, revoke: str = "") -> dict[str, Any]:
    """As the reference posts it: issued here, taken away, and lost in the store."""
    made = authority_issue(root, wish, actor="test", auto_renew=False)
    assert made.current is not None
    body = {"chain": made.current.fullchain_pem, "privateKey": key_to_pem(key_open(made.current.key)).decode()}
    if revoke:
        version_revoke(made.current, revoke, actor="test")
    certificate_delete(made, actor="test")
    return body


def posted(body: dict[str, Any], actor: Any = "test") -> Certificate:
    row, is_new = certificate_post(body, actor=actor)
    assert is_new
    return row


def test_it_renews_like_what_was_issued_here(root: Authority) -> None:
    row = posted(brought(root) | {"autoRenew": True})
    assert (row.authority_id, row.source, is_signed_here(row)) == (root.pk, Certificate.Source.INTERNAL, True)
    assert row.current is not None
    (line,) = sweep_run(only=[row], asked=True, actor="test")
    assert not line.failed, line
    new = Certificate.objects.get(pk=row.pk).current
    assert new is not None
    assert new.pk != row.current.pk
    assert (new.names, new.is_client, new.lifetime) == (row.current.names, True, row.current.lifetime)
    assert new.subject == row.current.subject
    assert new.issuer == row.current.issuer


def test_what_no_limit_of_a_profile_allows_is_renewed_without_one(root: Authority) -> None:
    body = brought(root, Wish(hosts=("a.example.com",), profile="custom", days=2000)) | {"autoRenew": True}
    row = posted(body)
    (line,) = sweep_run(only=[row], asked=True, actor="test")
    assert not line.failed, line
    authority_change(root, profiles=["server"], actor="test")
    certificate_delete(row, actor="test")
    with pytest.raises(InputError, match="days"):
        certificate_post(body, actor="test")


def test_files_are_known_by_the_same_service(root: Authority) -> None:
    body = brought(root)
    files = [GivenFile("a.pem", (body["chain"] + body["privateKey"]).encode())]
    (outcome,) = intake_save(intake_read(files, actor="test"), actor="test")
    row = outcome.certificate
    assert row is not None
    assert (row.authority_id, row.auto_renew, is_signed_here(row)) == (root.pk, False, True)


def test_without_its_key_it_is_told_and_not_renewed(root: Authority) -> None:
    body = brought(root) | {"privateKey": ""}
    before = Certificate.objects.count()
    for service in (certificate_foresee, certificate_post):
        with pytest.raises(KeyRefused, match="Without its private key"):
            service(body | {"autoRenew": True}, actor="test")
    assert Certificate.objects.count() == before
    row = posted(body)
    assert (row.authority_id, row.source, is_signed_here(row)) == (root.pk, Certificate.Source.UPLOADED, False)


def test_a_ca_that_signs_no_more_renews_nothing(root: Authority) -> None:
    body = brought(root) | {"autoRenew": True}
    authority_retire(root, actor="test")
    with pytest.raises(NotAllowed, match="retired"):
        certificate_post(body, actor="test")
    posted(body | {"autoRenew": False})


def test_who_may_not_have_it_signed_has_not_become_its_owner(root: Authority) -> None:
    elsewhere = Organization.objects.create(name="Elsewhere")
    token, _ = token_create("eve", Role.OPERATOR, organization=elsewhere, actor="test")
    eve = TokenActor(token)
    body = brought(root)
    with pytest.raises(NotAllowed):
        certificate_post(body | {"autoRenew": True}, actor=eve)
    row = posted(body, eve)
    assert (row.authority, row.source, row.organization) == (None, Certificate.Source.UPLOADED, elsewhere)
    assert row.current is not None
    with pytest.raises(NotAllowed):
        version_revoke(row.current, "superseded", actor=eve)


def test_what_the_register_says_comes_along(root: Authority) -> None:
    row = posted(brought(root, revoke="superseded"))
    assert row.current is not None
    row.current.refresh_from_db()
    assert row.current.revoked_at is not None
    assert row.current.revocation_reason == "superseded"


def test_the_same_again_stays_as_it_is_whatever_is_sent_along(root: Authority) -> None:
    made = authority_issue(root, LEAF, actor="test")
    assert made.current is not None
    row, is_new = certificate_post({"chain": made.current.fullchain_pem, "autoRenew": True}, actor="test")
    assert (row.pk, is_new, is_signed_here(row)) == (made.pk, False, True)


def test_what_is_for_another_purpose_is_not_made_again(root: Authority) -> None:
    responder = root.responder
    assert responder is not None
    version = responder.current
    assert version is not None
    Certificate.objects.filter(pk=responder.pk).update(deleted_at=clock.now())  # as if a backup had been restored
    body = {"chain": version.fullchain_pem, "privateKey": key_to_pem(key_open(version.key)).decode()}
    with pytest.raises(InputError, match="purpose"):
        certificate_post(body | {"autoRenew": True}, actor="test")
    assert not is_signed_here(posted(body))
