import logging

import pytest
from django.test import Client

from certs.models import Challenge, Order
from certs.services.reachability import probe_answer, probe_token
from tests import stock

pytestmark = pytest.mark.django_db
PATH = "/.well-known/acme-challenge/"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


@pytest.fixture
def anybody() -> Client:
    return Client(headers={"host": "any.host.example"})


@pytest.fixture
def _waiting() -> None:
    certificate = stock.issued("www.example.com")
    order = Order.objects.create(certificate=certificate, account=certificate.account, names=certificate.names)
    Challenge.objects.create(
        token=TOKEN,
        order=order,
        name="www.example.com",
        authorization_url="https://ca.example/a",
        challenge_url="https://ca.example/c",
        key_authorization=f"{TOKEN}.thumbprint",
    )


@pytest.mark.usefixtures("_waiting")
def test_the_answer_is_plain_text_for_any_host_without_cookies_or_redirect(anybody: Client) -> None:
    response = anybody.get(PATH + TOKEN)
    assert response.status_code == 200
    assert response.content.decode() == f"{TOKEN}.thumbprint"
    assert response["Content-Type"] == "text/plain"
    assert not response.cookies
    assert anybody.head(PATH + TOKEN).status_code == 200


def test_our_own_probe_is_answered(anybody: Client) -> None:
    token = probe_token()
    response = anybody.get(PATH + token)
    assert response.status_code == 200
    assert response.content.decode() == probe_answer(token)


@pytest.mark.parametrize(
    "tail", ["unknown", "", "..%2f..%2fetc%2fpasswd", "a/b", "%00", "x" * 600, "<script>", "a%0d%0aSet-Cookie:x"]
)
def test_anything_else_is_404_that_repeats_nothing(anybody: Client, tail: str) -> None:
    response = anybody.get(PATH + tail)
    assert response.status_code == 404
    assert "script" not in response.content.decode()
    assert response["Content-Type"] == "text/plain"


def test_it_cannot_be_posted_to(anybody: Client) -> None:
    assert anybody.post(PATH + TOKEN).status_code == 405


def test_every_request_is_logged_with_source_host_path_and_status(
    anybody: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="bindery.challenge"):
        anybody.get(PATH + "unknown", REMOTE_ADDR="192.0.2.7")
    (record,) = [record for record in caplog.records if record.name == "bindery.challenge"]
    assert record.__dict__["source"] == "192.0.2.7"
    assert record.__dict__["host"] == "any.host.example"
    assert record.__dict__["path"] == f"{PATH}unknown"
    assert record.__dict__["status"] == 404
