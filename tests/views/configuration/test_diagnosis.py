"""Configuration ➜ Diagnosis: for administrators only, topic by topic, and what other nodes saw."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.domain.diagnosis import TOPICS, Line, State, line_document
from certs.models import NodeDiagnosis
from certs.services.nodes import node_name
from certs.views.configuration import diagnosis
from portal import clock

pytestmark = pytest.mark.django_db
LINES = [
    Line("disk", State.BAD, "The disk is full <b>.", "Make room.", "0 bytes", "files"),
    Line("worker", State.OK, "The worker runs.", topic="queue"),
]


@pytest.fixture(autouse=True)
def _looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks themselves have tests of their own."""
    monkeypatch.setattr(
        diagnosis,
        "diagnosis_run",
        lambda topics=(): [line for line in LINES if not topics or line.topic in topics],
    )
    monkeypatch.setattr(diagnosis, "support_bundle", lambda: b"")


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("get", ("diagnosis",)),
        ("get", ("diagnosis-topic", "files")),
        ("get", ("diagnosis-nodes",)),
        ("post", ("diagnosis-again",)),
        ("post", ("diagnosis-bundle",)),
    ],
)
def test_it_is_for_administrators(
    client: Client, onlooker: Client, stranger: Client, method: str, place: tuple[str, ...]
) -> None:
    name, *words = place
    address = reverse(name, args=words)
    assert getattr(stranger, method)(address).status_code == 302
    assert getattr(onlooker, method)(address).status_code == 403
    assert getattr(client, method)(address).status_code in (200, 302)
    other = "get" if method == "post" else "post"
    assert getattr(client, other)(address).status_code == 405


def test_only_administrators_are_led_there(client: Client, onlooker: Client) -> None:
    link = f'href="{reverse("diagnosis")}"'
    assert link in client.get(reverse("configuration")).content.decode()
    assert link not in onlooker.get(reverse("configuration")).content.decode()


def test_each_topic_is_loaded_by_itself_and_all_at_once_without_scripts(client: Client) -> None:
    page = client.get(reverse("diagnosis")).content.decode()
    for topic in TOPICS:
        assert f'hx-get="{reverse("diagnosis-topic", args=[topic])}"' in page
    assert "The disk is full" not in page
    whole = client.get(reverse("diagnosis"), {"whole": ""}).content.decode()
    assert "The disk is full &lt;b&gt;." in whole
    assert "hx-get" not in whole.split('id="nodes"', 1)[0].split("<main", 1)[1]
    fragment = client.get(reverse("diagnosis-topic", args=["files"])).content.decode()
    assert "Make room." in fragment
    assert "The worker runs." not in fragment
    assert client.get(reverse("diagnosis-topic", args=["weather"])).status_code == 404


def test_the_browser_may_ask_the_public_url_from_this_page_only(client: Client, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://portal.example:8443"
    policy = client.get(reverse("diagnosis"))["Content-Security-Policy"]
    assert "connect-src 'self' https://portal.example:8443" in policy
    assert "portal.example" not in client.get(reverse("configuration"))["Content-Security-Policy"]


def test_how_the_browser_came_is_held_against_the_public_url(client: Client, settings: Settings) -> None:
    settings.PUBLIC_URL = "http://testserver"
    assert "came by the public URL" in client.get(reverse("diagnosis")).content.decode()
    settings.PUBLIC_URL = "https://portal.example"
    assert "not by the public URL" in client.get(reverse("diagnosis")).content.decode()


def test_other_nodes_are_asked_and_shown(client: Client) -> None:
    other = NodeDiagnosis.objects.create(node="worker-1", role="worker", seen_at=clock.real())
    gone = NodeDiagnosis.objects.create(node="long-gone", seen_at=clock.real() - timedelta(hours=1))
    own = NodeDiagnosis.objects.create(node=node_name(), role="web", seen_at=clock.real())
    page = client.get(reverse("diagnosis")).content.decode()
    assert "worker-1" in page
    assert "has not looked yet" in page
    assert "long-gone" not in page
    assert 'hx-trigger="every 2s"' not in page
    client.post(reverse("diagnosis-again"))
    assert 'hx-trigger="every 2s"' in client.get(reverse("diagnosis-nodes")).content.decode()
    for row, wished in ((other, 1), (gone, 0), (own, 0)):
        row.refresh_from_db()
        assert row.wished == wished
    lines = [line_document(line) for line in LINES]
    NodeDiagnosis.objects.filter(pk=other.pk).update(lines=lines, done=1, finished_at=clock.now())
    shown = client.get(reverse("diagnosis-nodes")).content.decode()
    assert "The disk is full &lt;b&gt;." in shown
    assert "in order</span> Worker and schedule" in shown
    assert "The worker runs." not in shown
    assert 'hx-trigger="every 2s"' not in shown
