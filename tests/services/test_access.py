"""Who may what, on what; and the ways in which somebody would try to get more."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs import selectors
from certs.domain.alarms import Level, Trouble
from certs.domain.errors import InputError, NotAllowed
from certs.domain.roles import Right, Role
from certs.models import ApiToken, AuditEvent, Certificate, Organization, RoleGrant, User
from certs.services.access import Actor, OnBehalf, TokenActor, home_for, may, may_export, require, rights_of
from certs.services.accounts import account_get_or_create
from certs.services.alarms import alarm_raise, alarms_see
from certs.services.bindings import binding_remove, binding_set
from certs.services.certificate_changes import certificate_update
from certs.services.certificate_properties import Properties, certificate_tags
from certs.services.certificates import certificate_import, certificate_new
from certs.services.deletion import certificate_delete
from certs.services.issue_options import IssueOptions
from certs.services.issuing import certificate_order
from certs.services.methods import method_create
from certs.services.organizations import certificate_move, organization_create
from certs.services.tokens import token_create
from certs.services.users import grant_set, user_create
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db


@pytest.fixture
def elsewhere() -> Organization:
    return organization_create("Elsewhere", actor="test")


def person(role: Role | None, organization: Organization | None = None, email: str = "bob@example.com") -> User:
    """With the role in the organization, else in the default one."""
    user = User.objects.create_user(email, "x", role=role)
    if organization is not None:
        RoleGrant.objects.filter(user=user).update(organization=organization)
    return user


def token(role: str = "operator", *, actor: Actor = "test", **fields: Any) -> TokenActor:
    made, _ = token_create(f"{role} {ApiToken.objects.count()}", role, actor=actor, **fields)
    return TokenActor(made)


def uploaded(*tags: str, organization: Organization | None = None, name: str = "own.example") -> Certificate:
    pair = pki.leaf(stock.CA, [name])
    row = certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")
    certificate_update(row, tags=list(tags), actor="test")
    if organization is not None:
        certificate_move(row, organization, actor="test")
    return row


# Seeing.


@pytest.mark.parametrize("actor", ["schedule", "command line"])
def test_who_sees_everything_adds_no_condition(actor: str) -> None:
    administrator, viewer = stock.administrator(), person(Role.VIEWER)
    RoleGrant.objects.filter(user=viewer).update(organization=None)
    everything: list[Actor] = [actor, administrator, viewer, token("viewer")]
    plain = str(selectors.certificates_all().query)
    for each in everything:
        assert not selectors.visible(each)
        assert str(selectors.certificates_visible_to(each).query) == plain


def test_an_outsider_sees_nothing_of_anything(elsewhere: Organization) -> None:
    row = stock.wanted("a.example")
    alarm_raise(Trouble(f"expiry:{row.pk}", Level.NOTICE, "a.example: x", "y"))
    alarm_raise(Trouble("sweep", Level.NOTICE, "The portal: x", "y"))
    stock.method()
    for actor in (person(Role.ADMIN, elsewhere), token("admin", organization=elsewhere), None):
        seen = (
            selectors.certificates_visible_to(actor),
            selectors.orders_visible_to(actor),
            selectors.accounts_visible_to(actor),
            selectors.methods_visible_to(actor),
            selectors.alarms_visible_to(actor),
            selectors.authorities_visible_to(actor),
            selectors.channels_visible_to(actor),
        )
        assert [list(rows) for rows in seen] == [[]] * len(seen)
        assert not selectors.audit_visible_to(actor).exclude(organization=elsewhere).exists()


def test_what_is_read_of_follows_the_certificate(elsewhere: Organization) -> None:
    ours, theirs = uploaded("web"), uploaded(organization=elsewhere, name="theirs.example")
    viewer, outsider, tagged = person(Role.VIEWER), person(Role.VIEWER, elsewhere, "o@example.com"), token(tags=["web"])
    for actor, seen in ((viewer, ours), (outsider, theirs), (tagged, ours)):
        assert [row.pk for row in selectors.certificates_visible_to(actor)] == [seen.pk]
        told = selectors.audit_visible_to(actor).exclude(certificate=None)
        assert {event.certificate_id for event in told} == {seen.pk}
    # The portal's own matters are read with the default organization, not by a token of some tags.
    portal = AuditEvent.objects.filter(certificate=None, organization=None)
    assert portal.exists()
    assert selectors.audit_visible_to(viewer).filter(pk__in=portal).exists()
    for actor in (outsider, tagged):
        assert not selectors.audit_visible_to(actor).filter(pk__in=portal).exists()


def test_a_page_of_the_narrowed_list_asks_one_query(elsewhere: Organization) -> None:
    uploaded("web")
    actor = token("viewer", organization=elsewhere, tags=["web", "mail"])
    with CaptureQueriesContext(
        connection,
    ) as caught:
        list(selectors.certificates_visible_to(actor))
    assert len(caught) == 1


def test_alarms_are_seen_by_those_who_may(elsewhere: Organization) -> None:
    row = stock.wanted("a.example")
    alarm = alarm_raise(Trouble(f"expiry:{row.pk}", Level.NOTICE, "a.example: x", "y"))
    assert alarm is not None
    assert alarms_see([alarm], actor=person(Role.OPERATOR, elsewhere)) == 0
    with pytest.raises(NotAllowed):
        alarms_see([alarm], actor=person(Role.VIEWER, email="v@example.com"))
    assert alarms_see([alarm], actor=person(Role.OPERATOR, email="ours@example.com")) == 1


# A refusal says what it needs, and names nothing that is hidden.


def test_a_refusal_names_the_role_and_only_what_is_seen(elsewhere: Organization) -> None:
    row = uploaded()
    with pytest.raises(NotAllowed, match=r"needs the role Operator for own\.example\.") as caught:
        certificate_delete(row, actor=person(Role.VIEWER))
    assert caught.value.code == "not-allowed"
    with pytest.raises(NotAllowed) as caught:
        certificate_delete(row, actor=person(Role.ADMIN, elsewhere, "o@example.com"))
    assert "own.example" not in str(caught.value)
    with pytest.raises(NotAllowed, match="Administrator for the portal as a whole"):
        require(person(Role.ADMIN, email="a@example.com"), Right.SETTING)


# Roles of people.


def test_a_role_that_is_taken_away_is_gone_at_once() -> None:
    user, row = person(Role.OPERATOR), uploaded()
    assert may(user, Right.CERTIFICATE_CHANGE, row)
    grant_set(user, Role.VIEWER, organization=row.organization, actor="test")
    assert rights_of(user, row) == {Right.READ}
    user.is_active = False
    assert rights_of(user, row) == frozenset()


def test_who_is_added_sees_nothing_until_a_role_is_given() -> None:
    uploaded()
    user = user_create("new@example.com", name="New", password="a long pass phrase", actor="test")
    assert not selectors.certificates_visible_to(user).exists()
    assert not any(may(user, right) for right in Right)


def test_an_administrator_of_an_organization_administers_neither_people_nor_the_portal(elsewhere: Organization) -> None:
    user = person(Role.ADMIN, elsewhere)
    for right in (Right.PERSON, Right.SETTING):
        assert not may(user, right)
    with pytest.raises(NotAllowed):
        grant_set(user, Role.ADMIN, actor=user)
    with pytest.raises(NotAllowed):
        organization_create("Mine", actor=user)


def test_whoever_looked_at_everything_before_goes_on_to() -> None:
    """The step of the upgrade, on people as an earlier version left them."""
    before, operator = person(None), person(Role.OPERATOR, email="o@example.com")
    step = import_module("certs.migrations.0006_store_data").grant_views
    for _ in range(2):
        step(apps, None)
    assert not selectors.visible(before)
    assert rights_of(before) == {Right.READ}
    assert [grant.role for grant in operator.grants.all()] == [Role.OPERATOR]
    assert not RoleGrant.objects.filter(user=stock.administrator()).exists()


# Tokens and their tags.


def test_a_tag_cannot_be_taken_off_to_hide_it_nor_put_on_to_reach_it() -> None:
    actor, own, other = token(tags=["web"]), uploaded("web", "old"), uploaded("mail", name="mail.example")
    assert certificate_update(own, tags=["web", "new"], actor=actor)
    with pytest.raises(NotAllowed):
        certificate_update(own, tags=["new"], actor=actor)
    with pytest.raises(NotAllowed):
        certificate_update(own, tags=[], actor=actor)
    with pytest.raises(NotAllowed):
        certificate_update(other, tags=["mail", "web"], actor=actor)
    assert certificate_tags(Certificate.objects.get(pk=own.pk)) == ["new", "web"]
    assert certificate_tags(Certificate.objects.get(pk=other.pk)) == ["mail"]


def test_what_a_token_of_one_tag_adds_carries_it() -> None:
    pair = pki.leaf(stock.CA, ["new.example"])
    given = {"chain": pair.pem.encode(), "key": pair.key_pem.encode()}
    made = certificate_import(**given, actor=token(tags=["web"]))
    assert certificate_tags(made) == ["web"]
    with pytest.raises(NotAllowed, match="one of its tags: mail, web"):
        home_for(token(tags=["web", "mail"]))
    assert home_for(token(tags=["web", "db"]), tags=["db"]).tags == ("db",)


def test_a_certificate_that_others_hold_is_not_handed_over_by_importing_it_again(elsewhere: Organization) -> None:
    pair = pki.leaf(stock.CA, ["same.example"])
    given = {"chain": pair.pem.encode(), "key": pair.key_pem.encode()}
    ours = certificate_import(**given, actor="test")
    theirs = certificate_import(**given, actor=person(Role.OPERATOR, elsewhere))
    assert theirs.pk != ours.pk
    assert theirs.organization == elsewhere


def test_a_token_is_no_more_than_its_owner_is_now() -> None:
    user, row = person(Role.OPERATOR), uploaded()
    actor = token("operator", actor=user)
    assert may(actor, Right.CERTIFICATE_CHANGE, row)
    grant_set(user, Role.VIEWER, organization=row.organization, actor="test")
    assert rights_of(actor, row) == {Right.READ}
    with pytest.raises(NotAllowed):
        certificate_delete(row, actor=actor)
    grant_set(user, None, organization=row.organization, actor="test")
    assert not selectors.certificates_visible_to(actor).exists()


def test_the_audit_trail_names_the_token_and_keeps_its_owner() -> None:
    user, row = person(Role.OPERATOR), uploaded()
    certificate_delete(row, actor=token("operator", actor=user))
    event = AuditEvent.objects.get(action="certificate.delete")
    assert event.actor == user
    assert event.actor_text.startswith("token operator")


# Between organizations.


def test_a_certificate_moves_only_with_rights_on_both_sides(elsewhere: Organization) -> None:
    row, user = uploaded(), person(Role.OPERATOR)
    for one in (user, person(Role.OPERATOR, elsewhere, "theirs@example.com"), token(tags=["x"])):
        with pytest.raises(NotAllowed):
            certificate_move(row, elsewhere, actor=one)
    grant_set(user, Role.VIEWER, organization=elsewhere, actor="test")
    with pytest.raises(NotAllowed):
        certificate_move(row, elsewhere, actor=user)
    grant_set(user, Role.OPERATOR, organization=elsewhere, actor="test")
    certificate_move(row, elsewhere, actor=user)
    assert Certificate.objects.get(pk=row.pk).organization == elsewhere


def test_proven_names_and_credentials_stay_in_their_organization(elsewhere: Organization) -> None:
    theirs = account_get_or_create(directory_url=stock.DIRECTORY, email="", organization=elsewhere, actor="test")
    ours, row = stock.account(), stock.wanted("a.example")
    operator = person(Role.OPERATOR)
    with pytest.raises(NotAllowed):
        certificate_order(["b.example"], theirs, actor=operator)
    given = {"webroot": "/srv"}
    foreign = method_create(kind="http01_webroot", name="x", given=given, organization=elsewhere, actor="test")
    asked: list[dict[str, Any]] = [
        {"options": IssueOptions(challenge_method=foreign)},
        {"options": IssueOptions(fallbacks=(theirs,))},
        {"properties": Properties(organization=elsewhere)},
    ]
    for fields in asked:
        with pytest.raises(InputError, match="another organization"):
            certificate_new(name="", names=["c.example"], account=ours, actor="test", **fields)
    with pytest.raises(InputError, match="another organization"):
        certificate_update(row, account=theirs, actor="test")
    with pytest.raises(InputError, match="account of its own organization"):
        certificate_move(row, elsewhere, actor="test")
    certificate_move(row, elsewhere, account=theirs, actor="test")
    assert Certificate.objects.get(pk=row.pk).account == theirs


def test_a_binding_of_another_organization_is_not_taken_over(elsewhere: Organization) -> None:
    ours, theirs = uploaded(name="www.example"), uploaded(name="www.example", organization=elsewhere)
    outsider = person(Role.OPERATOR, elsewhere)
    binding_set("www.example", ours, actor="test")
    for attempt in (
        lambda: binding_set("www.example", theirs, actor=outsider),
        lambda: binding_set("", theirs, actor=outsider),
        lambda: binding_set("www.example", ours, actor=outsider),
        lambda: binding_remove("www.example", actor=outsider),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert ours.bindings.count() == 1
    binding_remove("www.example", actor="test")
    binding_set("www.example", theirs, actor=outsider)
    assert theirs.bindings.count() == 1


# Export.


def test_the_export_of_keys_is_a_right_of_its_own(elsewhere: Organization) -> None:
    row, permission = uploaded(), Permission.objects.get(codename="export_keys")
    user, outsider = person(Role.OPERATOR), person(Role.ADMIN, elsewhere, "o@example.com")
    for one in (user, outsider):
        assert not may_export(one, row)
        one.user_permissions.add(permission)
    user, outsider = (User.objects.get(pk=one.pk) for one in (user, outsider))
    assert may_export(user, row)
    assert not may_export(outsider, row)
    assert not may_export(user)  # of everything
    assert may_export(stock.administrator(), row)
    assert may_export("command line", row)
    assert not may_export(None, row)


def test_a_token_exports_only_where_it_was_given_that_and_its_owner_has_it() -> None:
    row, user = uploaded("web"), person(Role.OPERATOR)
    assert not may_export(token("admin"), row)
    assert may_export(token("viewer", can_export=True), row)
    assert not may_export(token("viewer", can_export=True, tags=["mail"]), row)
    with pytest.raises(NotAllowed):
        token("viewer", can_export=True, actor=user)
    user.user_permissions.add(Permission.objects.get(codename="export_keys"))
    user = User.objects.get(pk=user.pk)
    actor = token("viewer", can_export=True, actor=user)
    assert may_export(actor, row)
    user.user_permissions.clear()
    actor.token.owner = User.objects.get(pk=user.pk)
    assert not may_export(actor, row)


# What was allowed when it was asked for is carried out.


def test_the_portal_carries_out_what_somebody_was_allowed_to_ask_for() -> None:
    user, row = person(None), uploaded()
    binding_set("", row, actor=OnBehalf(user))
    event = AuditEvent.objects.get(action="binding.set")
    assert (event.actor, event.actor_text, event.certificate) == (user, user.email, row)
