import logging
import re
from unittest.mock import patch

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse

from certs.domain.errors import (
    AcmeRefused,
    AcmeRetry,
    BinderyError,
    ConflictError,
    NameRefused,
    NotAllowed,
    SecretError,
    ServingError,
    Unavailable,
)
from certs.views import errors, help


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (NameRefused, 400),
        (NotAllowed, 403),
        (ConflictError, 409),
        (AcmeRefused, 502),
        (AcmeRetry, 502),
        (ServingError, 503),
        (Unavailable, 503),
        (SecretError, 500),
        (BinderyError, 500),
    ],
)
def test_what_a_service_refuses_becomes_a_page_with_cause_and_next_step(
    client: Client, kind: type[BinderyError], status: int
) -> None:
    error = kind("The cause <here>.", advice="Do this next.")
    with patch.object(help, "listener_get", side_effect=error):
        response = client.get(reverse("help"))
    page = response.content.decode()
    assert response.status_code == status
    assert "The cause &lt;here&gt;." in page
    assert "Do this next." in page


def test_the_cas_own_words_are_one_click_away(client: Client) -> None:
    error = AcmeRefused("Refused.", problem={"type": "urn:ietf:params:acme:error:rateLimited"})
    with patch.object(help, "listener_get", side_effect=error):
        assert "acme:error:rateLimited" in client.get(reverse("help")).content.decode()


def test_a_fault_of_ours_is_a_calm_page_whose_id_the_log_knows(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.raise_request_exception = False
    fault = patch.object(help, "listener_get", side_effect=RuntimeError("the inner secret"))
    with fault, caplog.at_level(logging.ERROR):
        response = client.get(reverse("help"))
    page = response.content.decode()
    assert response.status_code == 500
    assert "the inner secret" not in page
    quote = re.search(r"<code>([0-9a-f]{8})</code>", page)
    assert quote
    assert any(record.__dict__.get("error_id") == quote[1] for record in caplog.records)


def test_the_500_page_needs_no_database() -> None:
    assert errors.server_error(RequestFactory().get("/")).status_code == 500


def test_an_address_that_is_not_there(client: Client, stranger: Client) -> None:
    for browser in (client, stranger):
        response = browser.get("/nowhere/")
        assert response.status_code == 404
        assert "There is nothing here" in response.content.decode()


@pytest.mark.parametrize(
    ("came_from", "offered"),
    [("http://localhost/activity/", True), ("https://elsewhere.example/activity/", False), ("", False)],
)
def test_what_was_refused_leads_back_to_the_page_it_was_asked_on(client: Client, came_from: str, offered: bool) -> None:
    with patch.object(help, "listener_get", side_effect=ConflictError("Not now.")):
        page = client.get(reverse("help"), headers={"host": "localhost", "referer": came_from}).content.decode()
    assert "Not now." in page
    assert (f'<a href="{came_from}">Back</a>' in page) == offered
