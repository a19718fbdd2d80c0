"""The Django admin shows everything but secrets, and changes only through services."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from certs.domain.alarms import Level, Trouble
from certs.domain.budget import Event, Limit, Scope
from certs.models import (
    ApiToken,
    AuditEvent,
    Binding,
    Certificate,
    CertificateVersion,
    ChallengeMethod,
    JobEvent,
    Listener,
    NodeProcess,
    Order,
    PortalState,
    PrivateKey,
    User,
)
from certs.services.alarms import alarm_raise
from certs.services.bindings import binding_set
from certs.services.channels import channel_create
from certs.services.ledger import ledger_order, limits_set
from certs.services.methods import method_create
from certs.services.orders import order_create
from certs.services.tokens import token_create
from tests import stock

pytestmark = pytest.mark.django_db
PASSWORD = "a long pass phrase"
SHOWN = ["certificate", "certificateversion", "order", "acmeaccount", "binding", "auditevent", "jobevent"]
SHOWN += [
    "portalstate",
    "listener",
    "nodeprocess",
    "user",
    "channel",
    "alarm",
    "acmedirectory",
    "ledgerentry",
    "challengemethod",
    "apitoken",
]
INLINE_CODE = re.compile(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|<style", re.IGNORECASE)


@pytest.fixture
def alice() -> User:
    return stock.administrator("alice@example.com")


@pytest.fixture
def browser(alice: User) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


@pytest.fixture
def stocked() -> Certificate:
    """One of everything that can be shown."""
    certificate = stock.issued("a.example", "xn--bcher-kva.example", age=78)
    binding_set("", certificate, actor="test")
    ledger_order(order_create(certificate, reason="asked", actor="test"))
    limits_set(stock.DIRECTORY, [Limit(Event.CERTIFICATE, Scope.SET, 5, timedelta(days=7))], actor="test")
    Listener.objects.get_or_create(node="here", protocol="https", defaults={"port": 443, "addresses": ["::"]})
    NodeProcess.objects.create(node="here", pid=1)
    channel_create("webhook", name="Chat", values={"url": "https://hooks.example/T0P-of-this-webhook"}, actor="test")
    tsig = {"server": "192.0.2.1", "key": "k", "secret": "VDBQVDBQ"}
    method_create(kind="dns01_rfc2136", name="Own DNS", given=tsig, actor="test")
    alarm_raise(Trouble("sweep", Level.NOTICE, "Check: overdue", "The CA is away."))
    stock.issued("gone.example", age=91)
    token_create("Of a program at example.com", "viewer", actor="test")
    return certificate


def act(browser: Client, action: str, *rows: Certificate, **fields: str) -> list[str]:
    """Carry out an action on the list of certificates; returns the messages."""
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows], **fields}
    answer = browser.post(reverse("admin:certs_certificate_changelist"), data)
    assert answer.status_code == 302
    told = [str(message) for message in get_messages(answer.wsgi_request)]
    browser.get(answer.headers["location"])  # shows them, so that they are not told again
    return told


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize("model", SHOWN)
def test_every_list_and_page_opens_and_holds_no_secret(model: str, browser: Client, alice: User) -> None:
    secrets = [
        *PrivateKey.objects.values_list("sealed", flat=True),
        alice.password,
        "PRIVATE KEY",
        "T0P-of-this-webhook",
        "VDBQVDBQ",
    ]
    secrets += ApiToken.objects.values_list("digest", flat=True)
    secrets += ChallengeMethod.objects.values_list("sealed", flat=True)
    pages = [reverse(f"admin:certs_{model}_changelist")]
    pages += [f"{pages[0]}?q=example"]
    rows = admin.site._registry[_model(model)].model._default_manager.all()
    assert rows, "nothing to look at"
    pages += [reverse(f"admin:certs_{model}_change", args=[row.pk]) for row in rows[:3]]
    for page in pages:
        answer = browser.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        assert not [secret for secret in secrets if secret in text], page
        assert not re.search(r"pbkdf2|md5\$", text)
        assert not INLINE_CODE.search(text), page


def _model(name: str) -> Any:
    return next(model for model in admin.site._registry if model._meta.model_name == name)


def test_nothing_else_is_in_the_admin(browser: Client) -> None:
    assert sorted(model._meta.model_name or "" for model in admin.site._registry) == sorted(SHOWN)
    for path in ("django_q/schedule/", "django_q/ormq/", "auth/group/", "account/emailaddress/", "certs/privatekey/"):
        assert browser.get(f"/admin/{path}").status_code == 404


@pytest.mark.parametrize("model", [name for name in SHOWN if name != "user"])
def test_nothing_can_be_added_changed_or_deleted(model: str, browser: Client, stocked: Certificate) -> None:
    row = _model(model)._default_manager.first()
    before = list(_model(model)._default_manager.values())
    pages = [reverse(f"admin:certs_{model}_add")]
    pages += [reverse(f"admin:certs_{model}_{verb}", args=[row.pk]) for verb in ("change", "delete")]
    for page in pages:
        assert browser.post(page, {"name": "x", "post": "yes"}).status_code == 403, page
    changelist = reverse(f"admin:certs_{model}_changelist")
    browser.post(changelist, {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"})
    assert list(_model(model)._default_manager.values()) == before


@pytest.mark.usefixtures("stocked", "alice")
@pytest.mark.parametrize("staff", [True, False])
def test_it_is_for_superusers_only(staff: bool) -> None:
    bob = User.objects.create_user("bob@example.com", PASSWORD, is_staff=staff)
    client = Client(headers={"host": "localhost"})
    client.force_login(bob, backend="allauth.account.auth_backends.AuthenticationBackend")
    for model in SHOWN:
        assert client.get(reverse(f"admin:certs_{model}_changelist")).status_code in {302, 403}
    answer = client.get("/admin/", follow=True)
    assert "a.example" not in answer.content.decode()


@pytest.mark.usefixtures("alice")
def test_the_anonymous_go_to_the_portal_s_own_log_in_page() -> None:
    answer = Client(headers={"host": "localhost"}).get("/admin/certs/certificate/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")
    posted = Client(headers={"host": "localhost"}).post("/admin/login/", {"username": "a", "password": "b"})
    assert posted.status_code == 302
    assert posted.headers["location"].startswith("/accounts/login/")


def test_dates_are_readable_and_filters_work(browser: Client, stocked: Certificate) -> None:
    page = reverse("admin:certs_certificate_changelist")
    text = browser.get(page).content.decode()
    assert re.search(r"expires in 1[12] days", text)
    assert re.search(r"expired \d+ (day|hour)s? ago", text)
    assert "bücher.example" in text
    for query, found in (
        ({"expiry": "expired"}, {"gone.example"}),
        ({"expiry": "soon"}, {"a.example"}),
        ({"expiry": "later"}, set()),
        ({"expiry": "nonsense"}, {"a.example", "gone.example"}),
        ({"q": "bcher"}, {"a.example"}),
        ({"q": stocked.current.fingerprint_sha256 if stocked.current else ""}, {"a.example"}),
    ):
        rows = browser.get(page, query).context["cl"].result_list
        assert {row.name for row in rows} == found, query
    versions = browser.get(reverse("admin:certs_certificateversion_changelist"), {"expiry": "expired"})
    assert [row.certificate.name for row in versions.context["cl"].result_list] == ["gone.example"]


def test_renew_now_orders_and_tells_why_not(browser: Client) -> None:
    certificate, own = stock.issued("a.example"), stock.uploaded("own.example")
    told = act(browser, "renew_now", certificate, own)
    assert "a.example: Asked for. An order was made." in told
    assert any(line.startswith("own.example: Asked for. Import its successor") for line in told)
    assert "No worker is running: the orders wait until one is." in told
    order = Order.objects.get()
    assert (order.certificate, order.requested_by) == (certificate, User.objects.get())
    assert any("under way" in line for line in act(browser, "renew_now", certificate))
    assert Order.objects.count() == 1


def test_check_now_looks_and_orders_only_what_is_due(browser: Client) -> None:
    fresh, due = stock.issued("fresh.example"), stock.issued("due.example", age=80)
    told = act(browser, "check_now", fresh, due)
    assert any(line.startswith("fresh.example: Not due: renewal begins on") for line in told)
    assert any(line.startswith("due.example: It expires on") and "An order was made." in line for line in told)
    assert Order.objects.get().certificate == due
    event = AuditEvent.objects.filter(action="certificate.decision").first()
    assert event is not None
    assert event.actor == User.objects.get()


def test_bind_goes_through_the_service(browser: Client) -> None:
    certificate, other = stock.issued("a.example"), stock.issued("b.example")
    assert act(browser, "bind", certificate) == ["a.example answers for every name without a binding of its own."]
    assert act(browser, "bind", certificate, server_name="a.example") == ["a.example answers for a.example."]
    assert "does not hold c.example" in act(browser, "bind", certificate, server_name="c.example")[0]
    assert "without https://" in act(browser, "bind", certificate, server_name="https://a.example")[0]
    assert "choose just one" in act(browser, "bind", certificate, other)[0]
    CertificateVersion.objects.filter(certificate=other).update(key=None)
    assert "not held here" in act(browser, "bind", other)[0]
    assert {binding.server_name: binding.certificate for binding in Binding.objects.all()} == {
        "": certificate,
        "a.example": certificate,
    }


def test_many_results_are_told_in_short(browser: Client) -> None:
    rows = [stock.issued(f"h{number}.example") for number in range(23)]
    told = act(browser, "check_now", *rows)
    assert len(told) == 21
    assert told[-1].startswith("And 3 more")


def test_a_user_is_renamed_and_locked_out_with_a_trace(browser: Client, alice: User) -> None:
    bob = User.objects.create_user("bob@example.com", PASSWORD)
    page = reverse("admin:certs_user_change", args=[bob.pk])
    assert browser.post(page, {"name": "Bob", "is_superuser": "on", "email": "x@example.com"}).status_code == 302
    bob.refresh_from_db()
    assert (bob.name, bob.is_active, bob.is_superuser, bob.email) == ("Bob", False, False, "bob@example.com")
    event = AuditEvent.objects.get(action="user.change")
    assert (event.actor, event.before["active"], event.after["active"]) == (alice, True, False)
    assert browser.post(reverse("admin:certs_user_add"), {"email": "c@example.com"}).status_code == 403
    assert browser.post(reverse("admin:certs_user_delete", args=[bob.pk]), {"post": "yes"}).status_code == 403


def test_the_last_administrator_stays(browser: Client, alice: User) -> None:
    answer = browser.post(reverse("admin:certs_user_change", args=[alice.pk]), {"name": "Alice"})
    assert answer.status_code == 200
    assert "is the last administrator" in answer.content.decode()
    alice.refresh_from_db()
    assert alice.is_active
    stock.administrator("second@example.com")
    assert browser.post(reverse("admin:certs_user_change", args=[alice.pk]), {"name": "Alice"}).status_code == 302


def test_a_password_is_set_by_django_s_form_and_never_taken_away(browser: Client, alice: User) -> None:
    bob = User.objects.create_user("bob@example.com", PASSWORD)
    page = f"/admin/certs/user/{bob.pk}/password/"
    assert browser.get(page).status_code == 200
    for data in (
        {"password1": "12345", "password2": "12345"},
        {"password1": "one long phrase", "password2": "another phrase"},
        {"usable_password": "false", "unset-password": "1"},
    ):
        assert browser.post(page, data).status_code == 200
        bob.refresh_from_db()
        assert bob.check_password(PASSWORD)
    fresh = "quite another phrase"
    assert browser.post(page, {"password1": fresh, "password2": fresh}).status_code == 302
    bob.refresh_from_db()
    assert bob.check_password(fresh)
    event = AuditEvent.objects.get(action="user.set-password")
    assert event.actor == alice
    assert fresh not in str(event.before) + str(event.after) + event.target


def test_the_rows_others_write_are_there(stocked: Certificate) -> None:
    """What the pages above are tried with."""
    assert JobEvent.objects.exists()
    assert PortalState.objects.exists()


@pytest.mark.usefixtures("stocked")
def test_moments_say_their_zone_and_expiry_stands_beside_the_name(browser: Client) -> None:
    certificate = Certificate.objects.get(name="a.example")
    detail = browser.get(reverse("admin:certs_certificate_change", args=[certificate.pk])).content.decode()
    assert re.search(r"\d \w{3} \d{4}, \d\d:\d\d UTC", detail)
    assert "a.m." not in detail
    assert "p.m." not in detail
    listed = browser.get(reverse("admin:certs_certificate_changelist")).content.decode()
    assert listed.index("column-expiry") < listed.index("column-names_shown")
