"""On demand: what a visitor's name brings about, and what it never does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings

from certs.domain.errors import ConflictError, InputError
from certs.models import AcmeAccount, AuditEvent, Binding, Certificate, Order
from certs.services.bindings import binding_set
from certs.services.certificates import certificate_import, certificate_self_sign
from certs.services.challenges import challenge_kind_first
from certs.services.deletion import certificate_delete
from certs.services.keys import key_create
from certs.services.ledger import ledger_failure
from certs.services.on_demand import (
    on_demand_ask,
    on_demand_change,
    on_demand_forget,
    on_demand_given,
    on_demand_hosts,
    on_demand_problem,
)
from certs.services.portal_state import generation_wanted, state_get, state_update
from certs.services.revocations import key_compromised
from certs.services.serving import placeholder_ensure
from portal import clock
from tests.harness import pki

pytestmark = pytest.mark.django_db

NAME = "shop.example.com"
HOSTS = [NAME, "*.shops.example.com"]
CA = pki.authority("A CA")


def make_account(**fields: Any) -> AcmeAccount:
    given = {"directory_url": "https://ca.example.com/dir", "terms_agreed_at": clock.now(), **fields}
    return AcmeAccount.objects.create(key=key_create("ec-p256"), **given)


@pytest.fixture
def account() -> AcmeAccount:
    made = make_account()
    on_demand_change(on=True, hosts=HOSTS, account=made, actor="test")
    return made


def upload(*names: str) -> Certificate:
    pair = pki.leaf(CA, list(names))
    return certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")


def test_the_first_visit_orders_and_the_next_do_not(account: AcmeAccount) -> None:
    assert on_demand_ask("Shop.Example.com").code == "ordered"
    for _ in range(3):
        assert on_demand_ask(NAME).code == "busy"
    order = Order.objects.get()
    assert (order.names, order.reason, order.bind, order.account) == ([NAME], "on-demand", True, account)
    certificate = Certificate.objects.get()
    assert (certificate.on_demand, certificate.auto_renew, certificate.names) == (True, True, [NAME])
    assert order.challenge_kind == "tlsalpn01"


@pytest.mark.parametrize(
    "name",
    [
        "other.example.com",
        "a.b.shops.example.com",
        "shops.example.com",
        "*.shops.example.com",
        "192.0.2.7",
        "2001:db8::1",
        "localhost",
        "",
        "_x.shops.example.com",
        "-.shops.example.com",
        f"{'x' * 64}.shops.example.com",
        "a b.shops.example.com",
        "\x00.shops.example.com",
        "https://shop.example.com",
    ],
)
def test_other_names_never_start_anything(account: AcmeAccount, name: str) -> None:
    assert on_demand_ask(name).code == "refused"
    assert not Certificate.objects.exists()


def test_switched_off_or_without_terms_nothing_is_started(account: AcmeAccount) -> None:
    state_update(on_demand=False)
    assert on_demand_ask(NAME).code == "refused"
    state_update(on_demand=True)
    AcmeAccount.objects.update(terms_agreed_at=None)
    assert on_demand_ask(NAME).code == "refused"
    assert not on_demand_hosts()
    assert "No registered account" in on_demand_problem(state_get())
    AcmeAccount.objects.update(terms_agreed_at=clock.now(), deactivated_at=clock.now())
    assert on_demand_ask(NAME).code == "refused"
    assert not Order.objects.exists()


def test_a_failure_is_left_to_the_schedule(account: AcmeAccount) -> None:
    """A visitor must not hasten what backs off."""
    on_demand_ask(NAME)
    Order.objects.update(state="failed", finished_at=clock.now())
    Certificate.objects.update(failures=1, next_attempt_at=clock.now() + timedelta(hours=1))
    assert on_demand_ask(NAME).code == "busy"
    assert Order.objects.count() == 1


def test_a_certificate_that_a_person_asked_for_is_left_to_the_schedule_too(account: AcmeAccount) -> None:
    Certificate.objects.create(name="own", names=[NAME], source="acme", account=account, failures=2)
    assert on_demand_ask(NAME).code == "busy"
    assert not Order.objects.exists()


def test_limits_of_the_ca_hold_for_visitors() -> None:
    account = make_account(directory_url="https://acme-v02.api.letsencrypt.org/directory")
    on_demand_change(on=True, hosts=HOSTS, account=account, actor="test")
    old = Certificate.objects.create(name="old", names=[NAME], source="acme", account=account, deleted_at=clock.now())
    for _ in range(5):
        ledger_failure(
            Order.objects.create(certificate=old, account=account, names=["x"], finished_at=clock.now()), NAME
        )
    asked = on_demand_ask(NAME)
    assert asked.code == "held", asked
    assert Certificate.objects.filter(deleted_at=None).count() == 0


def test_what_is_served_already_is_left_alone(account: AcmeAccount) -> None:
    binding_set("", upload(NAME), actor="test")
    assert on_demand_ask(NAME).code == "served"
    binding_set("*.shops.example.com", upload("*.shops.example.com"), actor="test")
    assert on_demand_ask("a.shops.example.com").code == "served"
    assert not Order.objects.exists()


def test_a_certificate_that_is_there_is_bound_instead(account: AcmeAccount) -> None:
    certificate = upload(NAME, "www.example.com")
    assert on_demand_ask(NAME).code == "bound"
    assert Binding.objects.get(server_name=NAME).certificate == certificate
    assert not Order.objects.exists()


def test_the_placeholder_is_never_taken_for_a_certificate(
    account: AcmeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the name of the machine."""
    monkeypatch.setattr("certs.services.serving._host_name", lambda: NAME)
    assert NAME in placeholder_ensure().names
    assert on_demand_ask(NAME).code == "ordered"
    assert not Binding.objects.exists()


def test_a_default_that_signed_itself_serves_nobody(account: AcmeAccount) -> None:
    own = certificate_self_sign(name="own", names=[NAME], actor="test", days=90, key_type="ec-p256")
    binding_set("", own, actor="test")
    assert on_demand_ask(NAME).code == "ordered"


def test_a_certificate_whose_key_is_known_to_others_is_not_bound(account: AcmeAccount) -> None:
    version = upload(NAME).current
    assert version is not None
    assert version.key is not None
    key_compromised(version.key, actor="test")
    assert on_demand_ask(NAME).code == "ordered"
    assert not Binding.objects.exists()


def test_an_order_of_somebody_else_is_enough(account: AcmeAccount) -> None:
    other = Certificate.objects.create(name="o", names=["a.example.com", NAME], source="acme", account=account)
    Order.objects.create(certificate=other, account=account, names=other.names)
    assert on_demand_ask(NAME).code == "busy"


def test_made_up_children_come_to_an_end(account: AcmeAccount, settings: LazySettings) -> None:
    settings.ON_DEMAND_HOURLY = 3
    codes = [on_demand_ask(f"n{number}.shops.example.com").code for number in range(5)]
    assert codes == ["ordered"] * 3 + ["limited"] * 2
    # Deleting them opens no door, and what is listed by itself is not held up by them.
    Order.objects.update(finished_at=clock.now(), state="failed")
    for certificate in Certificate.objects.all():
        certificate_delete(certificate, actor="test")
    assert on_demand_ask("n9.shops.example.com").code == "limited"
    assert on_demand_ask(NAME).code == "ordered"


def test_made_up_children_are_forgotten_after_a_day(account: AcmeAccount, move_clock: Callable[[float], None]) -> None:
    for name in (NAME, "a.shops.example.com", "b.shops.example.com"):
        on_demand_ask(name)
    Order.objects.exclude(names=["b.shops.example.com"]).update(finished_at=clock.now(), state="failed")
    assert on_demand_forget() == 0
    move_clock(86400 + 60)
    assert on_demand_forget() == 1
    left = Certificate.objects.filter(deleted_at=None)
    assert sorted(name for names in left.values_list("names", flat=True) for name in names) == [
        "b.shops.example.com",
        NAME,
    ]


def test_leaving_the_list_ends_renewal_and_coming_back_resumes_it(account: AcmeAccount) -> None:
    on_demand_ask(NAME)
    on_demand_change(on=True, hosts=["other.example.com"], account=account, actor="test")
    assert not Certificate.objects.get().auto_renew
    on_demand_change(on=True, hosts=HOSTS, account=account, actor="test")
    assert Certificate.objects.get().auto_renew
    on_demand_change(on=False, hosts=HOSTS, account=account, actor="test")
    assert Certificate.objects.get().auto_renew


def test_an_operators_own_choice_not_to_renew_stays(account: AcmeAccount) -> None:
    on_demand_ask(NAME)
    Certificate.objects.update(auto_renew=False)
    on_demand_change(on=True, hosts=[*HOSTS, "other.example.com"], account=account, actor="test")
    assert not Certificate.objects.get().auto_renew


def test_a_change_is_audited_and_followed_by_every_process(account: AcmeAccount) -> None:
    before = generation_wanted()
    on_demand_change(on=True, hosts=HOSTS, account=account, actor="test")
    assert generation_wanted() == before, "nothing changed"
    on_demand_change(on=True, hosts=[NAME], account=account, actor="test")
    assert generation_wanted() == before + 1
    event = AuditEvent.objects.filter(action="on-demand.change").first()
    assert event is not None
    assert event.after == {"on": True, "hosts": [NAME], "account": str(account)}


def test_switching_on_needs_hosts_and_accepted_terms() -> None:
    account = make_account()
    with pytest.raises(InputError, match="No host"):
        on_demand_change(on=True, hosts=[], account=account, actor="test")
    for chosen in (None, make_account(email="x@example.com", terms_agreed_at=None)):
        with pytest.raises(InputError, match="terms of service"):
            on_demand_change(on=True, hosts=HOSTS, account=chosen, actor="test")
    on_demand_change(on=False, hosts=[], account=None, actor="test")


def test_the_environment_wins_and_locks(account: AcmeAccount, settings: LazySettings) -> None:
    settings.ON_DEMAND, settings.ON_DEMAND_LOCKED = False, True
    settings.ON_DEMAND_HOSTS, settings.ON_DEMAND_HOSTS_LOCKED = ["env.example.com"], True
    on_demand_given()
    state = state_get()
    assert (state.on_demand, state.on_demand_hosts) == (False, ["env.example.com"])
    with pytest.raises(ConflictError, match="BINDERY_ON_DEMAND "):
        on_demand_change(on=True, hosts=["env.example.com"], account=account, actor="test")
    with pytest.raises(ConflictError, match="BINDERY_ON_DEMAND_HOSTS"):
        on_demand_change(on=False, hosts=HOSTS, account=account, actor="test")
    on_demand_change(on=False, hosts=["env.example.com"], account=None, actor="test")


def test_the_environment_is_told_what_goes_with_the_container(
    settings: LazySettings, in_container: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    settings.ON_DEMAND, settings.ON_DEMAND_LOCKED = True, True
    on_demand_given()
    assert not caplog.messages
    in_container()
    on_demand_given()
    assert "is part of this container, and goes with it" in caplog.text


def test_what_works_for_one_name_is_tried_first_for_the_next(account: AcmeAccount) -> None:
    first = Certificate.objects.create(name="a", names=["a.example.com"], source="acme", on_demand=True)
    second = Certificate.objects.create(name="b", names=["b.example.com"], source="acme", on_demand=True)
    assert challenge_kind_first(first, account) == "tlsalpn01"
    version = upload("a.example.com").versions.get()
    Order.objects.create(
        certificate=first, account=account, challenge_kind="http01", version=version, finished_at=clock.now()
    )
    assert challenge_kind_first(second, account) == "http01"
