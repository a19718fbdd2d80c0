"""Every page asks for a right, on something; whoever lacks it there is refused. A new page goes into the table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from certs.domain.alarms import Level, Trouble
from certs.domain.roles import Place, Right, Role
from certs.models import Binding, ChallengeMethod, Order, Organization, RoleGrant, User
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.accounts import account_get_or_create
from certs.services.alarms import alarm_raise
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_new
from certs.services.deletion import certificate_delete
from certs.services.orders import order_create
from certs.services.tokens import token_create
from tests import stock
from tests.harness import own_ca
from tests.views.conftest import Browser

PUBLIC = """account_login account_logout account_inactive account_reset_password certificate-log-in setup session
    healthz readyz statusz pki-issuer pki-crl pki-ocsp jwks acme-challenge"""
# Of the person alone; they show nothing but what that person may see.
OWN = "account_change_password account_set_password home go help"
PAGES = {
    "read": """configuration certificates certificates-many certificate certificate-served certificates-deleted
        trust-store tokens token-revoke authorities authority profiles ca-accounts ca-account methods method
        method-tested activity alarms changes jobs-many job job-steps job-records""",
    "read of the portal": """lets-encrypt lets-encrypt-watch bindings bindings-watch https renewal
        on-demand export public-keys front front-look notifications trust pki-address""",
    "read of a certificate": "certificate-export certificate-snippets certificate-compare",
    "read of an authority": "authority-publication",
    "certificate.add": """certificate-upload certificate-add certificate-add-preview certificate-key-pair
        certificate-csr-new certificate-self-signed certificate-request certificate-request-check authority-issue
        where""",
    "certificate.change of a certificate": """certificate-csr certificate-csr-file certificate-csr-renew
        certificate-csr-withdraw certificate-expose certificate-options certificate-rehearse certificate-edit
        certificate-renew certificate-leave certificate-use-version certificate-revoke certificate-release
        certificate-delete certificate-reissue certificate-move renewal-override""",
    "certificate.change of a deleted certificate": "certificate-restore",
    "certificate.change of an order": "job-records-told job-cancel job-retry",
    "certificate.change of the portal": "renewal-check",
    "bind of the portal": "binding-set binding-remove",
    "bind of a certificate": "certificate-bind",
    "alarm.see": "alarms-seen",
    "alarm.see of an alarm": "alarm-seen",
    "authority": "authority-new authority-import profile-new profile profile-remove",
    "authority of an authority": """authority-renew authority-retire authority-signs authority-publish
        authority-crl-life authority-revoke-serial""",
    "account": "ca-account-new method-new",
    "account of the portal": "migration migration-preview",
    "account of an account": """ca-account-register ca-account-contacts ca-account-terms ca-account-eab
        ca-account-rollover ca-account-staging ca-account-limits ca-account-deactivate""",
    "account of a method": "method-test method-delete",
    "setting": """ring-saved public-url host-add host-remove lets-encrypt-configure lets-encrypt-terms
        lets-encrypt-check lets-encrypt-renew lets-encrypt-stop bindings-listener bindings-go bindings-confirm
        https-force https-force-confirm https-hsts https-hsts-faster diagnosis diagnosis-again diagnosis-bundle
        diagnosis-nodes diagnosis-topic front-go front-confirm front-trust front-dismiss channel-new channel
        channel-test channel-on channel-off channel-delete store trust-change trust-clients trust-confirm
        pki-check take-over""",
    "person": """people person-new person grant-remove person-export person-active organization-new organization
        department-new department""",
}
FREE = {*PUBLIC.split(), *OWN.split()}
ASKED = {name: asked for asked, names in PAGES.items() for name in names.split()}
SELECTORS = {
    "certificates_visible_to": "a certificate",
    "certificates_deleted_visible_to": "a deleted certificate",
    "orders_visible_to": "an order",
    "accounts_visible_to": "an account",
    "methods_visible_to": "a method",
    "alarms_visible_to": "an alarm",
    "authorities_visible_to": "an authority",
    "_seen": "an authority",
}


def _patterns(found: Any = None) -> Iterator[URLPattern]:
    for each in found or get_resolver().url_patterns:
        if isinstance(each, URLPattern):
            yield each
        elif isinstance(each, URLResolver) and not str(each.pattern).startswith(("admin/", "api/")):
            yield from _patterns(each.url_patterns)


VIEWS = {str(each.name): each.callback for each in _patterns() if each.name}


def _asks(view: Any) -> str:
    right, of = getattr(view, "right", None), getattr(view, "of", None)
    if right is None:
        return ""
    if of is None:
        return str(right)
    return f"{right} of {'the portal' if isinstance(of, Place) else SELECTORS[of.__name__]}"


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_every_page_is_in_the_table(name: str) -> None:
    if name in FREE:
        assert not _asks(VIEWS[name])
    else:
        assert _asks(VIEWS[name]) == ASKED[name]


def test_the_table_names_pages_that_are_there() -> None:
    assert {*FREE, *ASKED} == set(VIEWS)


@dataclass(frozen=True)
class World:
    """One of everything, in the default organization, and people who see it or not."""

    ids: dict[str, Any]
    people: dict[str, Client]
    default: UUID = DEFAULT_ORGANIZATION

    def path(self, name: str) -> str:
        kind = ASKED.get(name, "").partition(" of ")[2]
        pk = self.ids.get(kind) or self.ids["a certificate"]
        given = {"pk": pk, "version": uuid4(), "peer": "192.0.2.1", "kind": "mail", "name": "nodes", "state": "wished"}
        given |= {"grant": 1, "token": "x", "asked": "x"}
        wanted = next(each for each in _patterns() if each.name == name).pattern.converters
        return reverse(name, kwargs={each: given[each] for each in wanted})


@pytest.fixture
def world(alice: User) -> World:
    certificate, gone = stock.wanted("a.example"), stock.wanted("b.example")
    certificate_delete(gone, actor="test")
    alarm = alarm_raise(Trouble(f"expiry:{certificate.pk}", Level.NOTICE, "a.example: x", "It is so."))
    assert alarm is not None
    ids = {
        "a certificate": certificate.pk,
        "a deleted certificate": gone.pk,
        "an order": order_create(certificate, reason="test", actor="test").pk,
        "an account": stock.account().pk,
        "a method": stock.method().pk,
        "an alarm": alarm.pk,
        "an authority": own_ca.root().pk,
    }
    elsewhere = Organization.objects.create(name="Elsewhere")
    people: dict[str, Client] = {"stranger": Browser()}
    for name, role, where in (
        ("administrator", None, None),
        ("operator", Role.OPERATOR, None),
        ("viewer", Role.VIEWER, None),
        ("outsider", Role.ADMIN, elsewhere),
        ("nobody", None, None),
    ):
        user = alice if name == "administrator" else _person(name, role, where)
        people[name] = Browser()
        people[name].force_login(user)
    return World(ids, people)


def _person(name: str, role: Role | None, where: Organization | None) -> User:
    user = User.objects.create_user(f"{name}@example.com", "x", role=role)
    if where is not None:
        RoleGrant.objects.filter(user=user).update(organization=where)
    return user


def _expected(who: str, asked: str) -> int:
    """405 is a page that would have begun its work: `OPTIONS` is no method of any."""
    word, _, of = asked.partition(" of ")
    right = Right(word)
    if who == "stranger":
        return 302
    if who == "nobody" or (who == "outsider" and of not in ("", "the portal")):
        return 404 if of not in ("", "the portal") else 403
    if who == "outsider":
        return 403 if of == "the portal" or right in (Right.SETTING, Right.PERSON) else 405
    role = {"administrator": Role.ADMIN, "operator": Role.OPERATOR, "viewer": Role.VIEWER}[who]
    return 405 if role.may(right) else 403


SOME = {name: asked for asked, names in PAGES.items() for name in names.split()[:2]}  # all ask by the same decorator
WHO = ["stranger", "administrator", "operator", "viewer", "outsider", "nobody"]


@pytest.mark.parametrize("who", WHO)
def test_who_is_let_in_where(world: World, who: str) -> None:
    assert not _wrong(world, who, SOME)


@pytest.mark.proof
@pytest.mark.parametrize("who", WHO)
def test_who_is_let_in_everywhere(world: World, who: str) -> None:
    assert not _wrong(world, who, ASKED)


def _wrong(world: World, who: str, pages: dict[str, str]) -> list[str]:
    wrong = []
    for name, asked in pages.items():
        answer = world.people[who].options(world.path(name))
        if answer.status_code != _expected(who, asked):
            wrong.append(f"{name}: {answer.status_code} instead of {_expected(who, asked)} ({asked})")
    return wrong


# What is looked up by the page itself, and not by what it asks for.
BY_ID = {
    "certificate": "a certificate",
    "certificate-served": "a certificate",
    "ca-account": "an account",
    "method": "a method",
    "method-tested": "a method",
    "authority": "an authority",
    "job": "an order",
    "job-steps": "an order",
    "job-records": "an order",
}


@pytest.mark.parametrize("name", BY_ID)
def test_an_outsider_finds_nothing_by_guessing_an_id(world: World, name: str) -> None:
    path = reverse(name, args=[world.ids[BY_ID[name]]])
    assert world.people["viewer"].get(path).status_code == 200
    hidden, nothing = (world.people["outsider"].get(each) for each in (path, reverse(name, args=[uuid4()])))
    assert (hidden.status_code, nothing.status_code) == (404, 404)
    assert _plain(hidden) == _plain(nothing)  # not even that there is something


def _plain(answer: Any) -> str:
    """Without what is made anew for each answer."""
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", answer.content.decode())


LISTS = ["home", "certificates", "activity", "changes", "alarms", "ca-accounts", "methods", "authorities", "tokens"]


@pytest.mark.parametrize("name", LISTS)
def test_an_outsider_reads_of_nothing_in_the_lists(world: World, name: str) -> None:
    token_create("of the default organization", "viewer", actor="test")
    page = world.people["outsider"].get(reverse(name))
    assert page.status_code == 200
    for word in ("a.example", "b.example", "acme.example", "dns01_rfc2136", "Example Root", "alice@", "of the default"):
        assert word not in page.content.decode()


def test_an_outsider_gets_into_none_of_ours_by_the_ids_of_ours_in_their_forms(world: World) -> None:
    outsider, orders = world.people["outsider"], Order.objects.count()
    given = {"names": "d.example", "account": str(world.ids["an account"])}
    assert outsider.post(reverse("certificate-request"), given).status_code == 200  # with its errors
    given = {"server_name": "a.example", "certificate": str(world.ids["a certificate"])}
    assert outsider.post(reverse("binding-set"), given).status_code == 403
    assert Order.objects.count() == orders
    assert not Binding.objects.exists()


def test_an_operator_of_another_organization_works_there(world: World) -> None:
    elsewhere = Organization.objects.get(name="Elsewhere")
    account = account_get_or_create(
        directory_url=stock.DIRECTORY, email="", terms_url="https://x/", organization=elsewhere, actor="test"
    )
    ChallengeMethod.objects.create(kind="http01_webroot", name="theirs", organization=elsewhere)
    certificate = certificate_new(name="", names=["theirs.example"], account=account, actor="test")
    assert certificate.organization == elsewhere
    outsider = world.people["outsider"]
    page = outsider.get(reverse("certificate", args=[certificate.pk])).content.decode()
    assert "Renew now" in page
    listed = outsider.get(reverse("certificates")).content.decode()
    assert "theirs.example" in listed
    assert world.people["viewer"].get(reverse("certificate", args=[certificate.pk])).status_code == 404
    offered = outsider.get(reverse("certificate-request")).content.decode()
    assert str(account.pk) in offered
    assert str(world.ids["an account"]) not in offered


def test_a_viewer_is_offered_no_button_of_an_operator(world: World) -> None:
    path = reverse("certificate", args=[world.ids["a certificate"]])
    operator = world.people["operator"].get(path).content.decode()
    viewer = world.people["viewer"].get(path).content.decode()
    for word in ("Delete this certificate", 'action="/certificates'):
        assert word in operator
        assert word not in viewer


def test_a_role_in_a_department_shows_its_certificates_only(world: World) -> None:
    place = Organization.objects.get(name="Elsewhere")
    web = place.departments.create(name="Web")
    account = account_get_or_create(directory_url=stock.DIRECTORY, email="", organization=place, actor="test")
    for name, department in (("web.example", web), ("mail.example", None)):
        properties = Properties(organization=place, department=department)
        certificate_new(name="", names=[name], account=account, properties=properties, actor="test")
    person = User.objects.create_user("web@example.com", "x", role=None)
    RoleGrant.objects.create(user=person, role=Role.VIEWER, department=web)
    browser = Browser()
    browser.force_login(person)
    page = browser.get(reverse("certificates")).content.decode()
    assert "web.example" in page
    assert "mail.example" not in page


def test_an_administrator_of_an_organization_sets_up_its_challenges(world: World) -> None:
    outsider, place = world.people["outsider"], Organization.objects.get(name="Elsewhere")
    path = f"{reverse('method-new')}?kind=http01_webroot"
    assert "Organization" not in outsider.get(path).content.decode()  # there is one only
    assert outsider.post(path, {"name": "theirs", "option_webroot": "/srv/www"}).status_code == 302
    assert ChallengeMethod.objects.get(name="theirs").organization == place
    administrator = world.people["administrator"]
    assert "Elsewhere" in administrator.get(path).content.decode()
    given = {"name": "ours", "option_webroot": "/srv/www", "organization": str(world.default)}
    assert administrator.post(path, given).status_code == 302
    assert ChallengeMethod.objects.get(name="ours").organization_id == world.default
    assert "Elsewhere" in administrator.get(reverse("ca-account-new")).content.decode()
