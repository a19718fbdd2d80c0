"""Asking a CA for any certificate, and how it is asked for, through the pages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.acme.directories import KNOWN
from certs.models import AcmeDirectory, Certificate, Order
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.issue_options import IssueOptions, issue_options_of
from certs.services.issuing import certificate_order
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client) -> Client:
    return client


def at_letsencrypt() -> Any:
    return account_get_or_create(directory_url=KNOWN["letsencrypt"].url, email="", terms_url="https://x/t", actor="t")


def post(browser: Client, **fields: Any) -> Any:
    given = {"names": "www.example.com, example.com", "account": str(stock.account().pk), **fields}
    return browser.post(reverse("certificate-request"), given)


def test_a_request_makes_a_certificate_and_its_order(browser: Client) -> None:
    answer = post(browser, key_type="rsa-3072", profile="tlsserver", fallback_1=str(at_letsencrypt().pk))
    order = Order.objects.get()
    assert answer["Location"] == reverse("job", args=[order.pk])
    assert (order.profile, order.names) == ("tlsserver", ["example.com", "www.example.com"])
    options = issue_options_of(order.certificate)
    assert options.key_type == "rsa-3072"
    assert options.fallbacks == (at_letsencrypt(),)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"names": ""}, "Type at least one DNS name"),
        ({"names": "http://x.example/"}, "begins with http://"),
        ({"names": "*.example.com"}, "only after a DNS challenge"),
        ({"names": "192.0.2.1"}, "under a profile with IP names"),
        ({"key_type": "rsa-512"}, "not one of the available choices"),
        ({"account": "x"}, "not one of the available choices"),
        ({"challenge": "x"}, "not one of the available choices"),
        ({"fallback_1": "own"}, "named twice"),
        ({"profile": "x" * 200}, "at most 100"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_stored(browser: Client, fields: dict[str, str], says: str) -> None:
    if fields.get("fallback_1") == "own":
        fields = {"fallback_1": str(stock.account().pk)}
    answer = post(browser, **fields)
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert not Certificate.objects.exists()


def test_a_wildcard_is_taken_with_a_dns_challenge(browser: Client) -> None:
    post(browser, names="*.example.com", challenge=str(stock.method().pk))
    assert Order.objects.get().challenge_kind == "dns01_rfc2136"


def test_the_options_are_shown_as_they_are_and_changed_for_later(browser: Client) -> None:
    certificate = certificate_new(
        name="",
        names=["a.example"],
        account=stock.account(),
        actor="test",
        options=IssueOptions(profile="shortlived", reuse_key=True, fallbacks=(at_letsencrypt(),)),
    )
    AcmeDirectory.objects.create(
        directory_url=stock.account().directory_url, profiles={"classic": "90 days", "shortlived": "6 days"}
    )
    page = browser.get(reverse("certificate-options", args=[certificate.pk])).content.decode()
    for part in ('value="shortlived"', "checked", '<option value="classic">90 days</option>', "Let&#x27;s Encrypt"):
        assert part in page
    browser.post(reverse("certificate-options", args=[certificate.pk]), {"key_type": "ec-p384"})
    assert issue_options_of(Certificate.objects.get()) == IssueOptions(key_type="ec-p384")
    assert not Order.objects.exists()


def test_a_known_certificate_keeps_what_is_not_named(browser: Client) -> None:
    certificate = certificate_new(
        name="", names=["a.example"], account=stock.account(), actor="test", options=IssueOptions(profile="shortlived")
    )
    certificate_order(["a.example"], stock.account(), actor="test", wanted={"key_type": "rsa-2048"})
    assert issue_options_of(Certificate.objects.get(pk=certificate.pk)) == IssueOptions(
        key_type="rsa-2048", profile="shortlived"
    )


def test_rehearse_is_offered_where_a_staging_directory_is_known(browser: Client) -> None:
    certificate = stock.issued()
    url = reverse("certificate-rehearse", args=[certificate.pk])
    assert url not in browser.get(reverse("certificate", args=[certificate.pk])).content.decode()
    assert browser.post(url).status_code == 409
    Certificate.objects.update(account=at_letsencrypt())
    assert url in browser.get(reverse("certificate", args=[certificate.pk])).content.decode()
    browser.post(url)
    order = Order.objects.get()
    assert order.rehearsal
    assert order.account.directory_url == KNOWN["letsencrypt-staging"].url


def test_the_page_of_a_rehearsal_promises_nothing_else(browser: Client) -> None:
    certificate = stock.issued()
    Certificate.objects.update(account=at_letsencrypt())
    browser.post(reverse("certificate-rehearse", args=[certificate.pk]))
    Order.objects.update(state="done", finished_at=clock.now())
    page = browser.get(reverse("job", args=[Order.objects.get().pk])).content.decode()
    assert "<h1>Rehearsal for" in page
    assert "it was dropped: nothing here has changed" in page
    assert "rehearsal</span>" in browser.get(reverse("activity")).content.decode()
    Order.objects.update(state="failed")
    browser.post(reverse("job-retry", args=[Order.objects.get().pk]))
    assert Order.objects.filter(rehearsal=True).count() == 2


def test_a_request_in_a_container_without_a_volume_is_asked_about(
    browser: Client, in_container: Callable[..., None]
) -> None:
    in_container()
    page = post(browser).content.decode()
    assert "No volume" in page
    assert "tick the box" in page
    assert not Order.objects.exists()
    assert post(browser, without_volume="on").status_code == 302
    assert Order.objects.count() == 1
