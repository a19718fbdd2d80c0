"""Configuration ➜ Challenges: forms made from the Options, secrets that never come back, and a real test."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.models import ChallengeMethod
from certs.services.challenges import solver_kinds
from certs.services.method_tests import method_test_run
from certs.services.methods import method_create, method_solver
from certs.solvers.dns01_provider import providers
from tests import stock
from tests.harness.ports import free_port

PAGE = "/configuration/challenges/"
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
TSIG = {"name": "Own DNS", "option_server": "192.0.2.1", "option_port": "53", "option_key": "k", "option_ttl": "60"}
TSIG |= {"option_algorithm": "hmac-sha256", "option_transport": "tcp", "option_timeout": "10"}
TSIG |= {"option_challenge": "dns-01"}


@pytest.fixture
def method(db: None) -> ChallengeMethod:
    given = {"server": "192.0.2.1", "key": "k", "secret": SECRET}
    return method_create(kind="dns01_rfc2136", name="Own DNS", given=given, actor="test")


def text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def at(method: ChallengeMethod) -> str:
    return reverse("method", args=[method.pk])


def new(kind: str, **query: str) -> str:
    return f"{PAGE}new/?kind={kind}" + "".join(f"&{name}={value}" for name, value in query.items())


def test_the_list_and_the_card_say_how_it_stands(client: Client, onlooker: Client) -> None:
    assert "None yet" in text(client.get(PAGE))
    assert "by the portal itself" in text(client.get("/configuration/"))
    row = method_create(kind="http01_webroot", name="Web root", given={"webroot": "/var/www"}, actor="test")
    page = text(onlooker.get(PAGE))
    for words in ("Web root", "HTTP (webroot)", "not tested"):
        assert words in page
    assert "New method" not in page
    assert "1 method" in text(client.get("/configuration/"))
    ChallengeMethod.objects.filter(pk=row.pk).update(test_ok=False, tested_at=row.created_at)
    assert "the test failed: Web root" in text(client.get("/configuration/"))


def test_every_kind_is_offered_with_a_form_of_its_own(client: Client) -> None:
    page = text(client.get(f"{PAGE}new/"))
    for kind, solver in solver_kinds().items():
        assert f"?kind={kind}" in page
        assert solver.label in page
        assert 'name="name"' in text(client.get(new(kind))) or solver.chooser


@pytest.mark.parametrize("kind", ["none", "", "base", "../x"])
def test_a_kind_that_is_none_is_refused_calmly(client: Client, kind: str) -> None:
    response = client.get(f"{PAGE}new/", {"kind": kind})
    assert response.status_code in {400, 409, 422}
    assert "no challenge of the kind" in response.content.decode()


def test_one_is_set_up_and_its_secret_never_comes_back(client: Client) -> None:
    response = client.post(new("dns01_rfc2136"), {**TSIG, "option_secret": SECRET}, follow=True)
    page = text(response)
    assert "Own DNS is set up" in page
    method = ChallengeMethod.objects.get()
    assert method_solver(method).options.secret == SECRET
    assert SECRET not in page
    assert "Leave it empty to keep what is stored" in page


def test_what_was_typed_stays_in_the_form_but_a_secret_does_not(client: Client) -> None:
    page = text(client.post(new("dns01_rfc2136"), {**TSIG, "option_key": "", "option_secret": SECRET}))
    assert "needs the name of its key" in page
    assert 'value="192.0.2.1"' in page
    assert SECRET not in page
    assert not ChallengeMethod.objects.exists()


def test_what_is_missing_is_said_at_its_field(client: Client) -> None:
    page = text(client.post(new("http01_webroot"), {"name": "x", "option_webroot": ""}))
    assert "id_option_webroot_error" in page
    page = text(client.post(new("http01_webroot"), {"name": "x", "option_webroot": "relative"}))
    assert "id_option_webroot_error" in page
    page = text(client.post(new("http01_webroot"), {"name": "", "option_webroot": "/x"}))
    assert "id_name_error" in page


def test_a_change_keeps_the_secret_and_names_the_certificates(client: Client, method: ChallengeMethod) -> None:
    from certs.services.certificates import certificate_new
    from certs.services.issue_options import IssueOptions

    certificate_new(
        name="",
        names=["a.example"],
        account=stock.account(),
        actor="test",
        options=IssueOptions(challenge_method=method),
    )
    assert "affects the next renewal of 1 certificate:" in text(client.get(at(method)))
    page = text(client.post(at(method), {**TSIG, "option_server": "192.0.2.7", "option_secret": ""}, follow=True))
    assert "Own DNS is changed. This affects the next renewal of a.example." in page
    method.refresh_from_db()
    options = method_solver(method).options
    assert (options.server, options.secret) == ("192.0.2.7", SECRET)


def test_an_untouched_form_changes_nothing(client: Client, method: ChallengeMethod) -> None:
    """What the page shows, sent back as it is."""
    page = client.get(at(method))
    form = page.context["form"]
    data = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    before = ChallengeMethod.objects.values("options", "name").get()
    client.post(at(method), data)
    assert ChallengeMethod.objects.values("options", "name").get() == before
    method.refresh_from_db()
    assert method_solver(method).options.secret == SECRET


def test_a_stored_secret_is_forgotten_by_a_tick(client: Client, method: ChallengeMethod) -> None:
    client.post(at(method), {**TSIG, "option_key": "", "forget_secret": "on"})
    method.refresh_from_db()
    assert method.sealed == ""


def test_the_fields_of_a_provider_are_its_own(client: Client) -> None:
    page = text(client.get(new("dns01_provider")))
    for provider in ("cloudflare", "route53", "powerdns"):
        assert f'<option value="{provider}">' in page
    assert page.count("<option") == len(providers()) + 1
    page = text(client.get(new("dns01_provider", provider="cloudflare")))
    assert 'name="option_auth_token"' in page
    assert 'type="password" name="option_auth_token"' in page
    assert 'type="text" name="option_zone_id"' in page
    data = {"name": "Cloud", "option_auth_token": "t0ken-t0ken", "option_ttl": "600", "option_challenge": "dns-01"}
    page = text(client.post(new("dns01_provider", provider="cloudflare"), data, follow=True))
    assert "Cloud is set up" in page
    method = ChallengeMethod.objects.get()
    options = method_solver(method).options
    assert (options.provider, options.auth_token) == ("cloudflare", "t0ken-t0ken")
    assert "t0ken-t0ken" not in page
    assert "DNS (provider): cloudflare" in text(client.get(PAGE))


def test_another_provider_starts_with_no_secret_of_the_first(client: Client) -> None:
    given = {"provider": "cloudflare", "auth_token": "t0ken-t0ken"}
    method = method_create(kind="dns01_provider", name="Cloud", given=given, actor="test")
    assert "?choose=1" in text(client.get(at(method)))
    assert "is not handed on to another" in text(client.get(f"{at(method)}?choose=1"))
    page = text(client.get(f"{at(method)}?provider=digitalocean"))
    assert "Leave it empty to keep" not in page
    data = {"name": "Cloud", "option_auth_token": "", "option_ttl": "600", "option_challenge": "dns-01"}
    client.post(f"{at(method)}?provider=digitalocean", data)
    method.refresh_from_db()
    options = method_solver(method).options
    assert (options.provider, options.auth_token) == ("digitalocean", "")


def test_a_provider_that_is_none_is_asked_for_again(client: Client) -> None:
    assert "Choose …" in text(client.get(new("dns01_provider", provider="auto")))


def test_a_script_is_announced_with_its_directory(client: Client, settings: Settings) -> None:
    page = text(client.get(new("dns01_hook")))
    assert "runs as the portal" in page
    assert str(settings.HOOKS_DIR) in page


def test_a_test_runs_in_the_queue_and_its_lines_are_followed(
    client: Client, tmp_path: Path, settings: Settings
) -> None:
    settings.PROBE_PORT, settings.ALLOW_PRIVATE_CA = free_port(), True
    settings.ALLOW_PRIVATE_CA = True
    method = method_create(kind="http01_webroot", name="Web", given={"webroot": str(tmp_path)}, actor="test")
    page = text(client.post(reverse("method-test", args=[method.pk]), {"dns_name": "localhost"}, follow=True))
    assert "A test is under way" in page
    assert "no worker is running" in page
    assert 'hx-trigger="every 1s"' in page
    method_test_run(method.pk)
    fragment = text(client.get(reverse("method-tested", args=[method.pk])))
    assert "refused" in fragment
    assert "Taken away again" in fragment
    assert "hx-trigger" not in fragment
    assert reverse("method-test", args=[method.pk]) in fragment  # to test again without a reload


def test_a_name_that_cannot_be_tested_is_said(client: Client, method: ChallengeMethod) -> None:
    page = text(client.post(reverse("method-test", args=[method.pk]), {"dns_name": "a b"}, follow=True))
    assert "contains a space" in page


def test_deleting_wants_the_name_and_refuses_while_it_is_used(client: Client, method: ChallengeMethod) -> None:
    address = reverse("method-delete", args=[method.pk])
    assert "Nothing was deleted" in text(client.post(address, {"typed": "x"}, follow=True))
    certificate = stock.issued("*.a.example")
    assert certificate.challenge_method is not None
    used = reverse("method-delete", args=[certificate.challenge_method.pk])
    page = text(client.post(used, {"typed": certificate.challenge_method.name}, follow=True))
    assert "is used by" in page
    assert "was deleted" in text(client.post(address, {"typed": "Own DNS"}, follow=True))
    assert not ChallengeMethod.objects.filter(pk=method.pk).exists()


def test_onlookers_see_no_form_and_no_secret(onlooker: Client, method: ChallengeMethod) -> None:
    page = text(onlooker.get(at(method)))
    assert "192.0.2.1" in page
    assert "stored" in page
    assert SECRET not in page
    assert "<form method" not in page.partition("<main")[2].partition("</main>")[0]


@pytest.mark.parametrize("name", ["method", "method-test", "method-delete"])
def test_only_administrators_change(onlooker: Client, stranger: Client, method: ChallengeMethod, name: str) -> None:
    address = reverse(name, args=[method.pk])
    assert onlooker.post(address, {"typed": "Own DNS", "dns_name": "a.example", **TSIG}).status_code == 403
    assert stranger.post(address, {}).status_code == 302
    method.refresh_from_db()
    assert method.trial == {}
    assert onlooker.get(f"{PAGE}new/").status_code == 403
    assert stranger.get(PAGE).status_code == 302
