import pytest
from django.test import Client

from certs.services.elsewhere import AWAY, Place, Target, Where
from certs.services.reachability import OTHER, Hop, ReachResult
from certs.views import elsewhere

pytestmark = pytest.mark.django_db
URL = "/where/"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bool]]:
    """The names that were asked for, and whether private addresses were permitted."""
    calls: list[tuple[list[str], bool]] = []

    def look(names: list[str], *, allow_private: bool) -> list[Where]:
        calls.append((names, allow_private))
        return [_where(name) for name in names]

    monkeypatch.setattr(elsewhere, "names_look", look)
    return calls


def _where(name: str) -> Where:
    hop = Hop(f"http://{name}/<b>", "203.0.113.7", 301, "<script>alert(1)</script>", "javascript:alert(1)")
    result = ReachResult(name, OTHER, f"http://{name}/", "<i>Told.</i>", seen="<img src=x>", hops=(hop,))
    return Where(name, (Place("203.0.113.7", AWAY, result),), Target("http://portal.example.com"), "a:1", "b:1")


def test_a_page_without_scripts_and_a_fragment_with_them(client: Client, asked: list[tuple[list[str], bool]]) -> None:
    page = client.post(URL, {"name": "www.example.com"}).content.decode()
    assert "<h1>Where names lead</h1>" in page
    assert "Look again" in page
    part = client.post(URL, {"name": "www.example.com"}, headers={"HX-Request": "true"}).content.decode()
    assert "<h1>" not in part
    assert 'data-recipe="redirect-nginx"' in part
    assert "Prove it" in part
    assert asked == [(["www.example.com"], False)] * 2


def test_what_a_stranger_answered_is_shown_as_text(client: Client, asked: list[tuple[list[str], bool]]) -> None:
    part = client.post(URL, {"name": "www.example.com"}, headers={"HX-Request": "true"}).content.decode()
    for words in ("<script>", "<img src", "<i>Told", "<b>", 'href="javascript'):
        assert words not in part


def test_several_names_and_no_name_twice(client: Client, asked: list[tuple[list[str], bool]]) -> None:
    names = ["B.example.com", "a.example.com", "b.example.com"]
    client.post(URL, {"name": names, "allow_private_ca": "on"})
    assert asked == [(["b.example.com", "a.example.com"], True)]
    client.post(URL, {"name": [f"n{number}.example.com" for number in range(100)]})
    assert len(asked[1][0]) == 20


@pytest.mark.parametrize("name", ["", "*.example.com", "a b", "http://x/", "<script>", "x" * 300])
def test_what_is_no_name_is_refused_with_a_sentence(
    client: Client, asked: list[tuple[list[str], bool]], name: str
) -> None:
    answer = client.post(URL, {"name": name})
    assert answer.status_code == 200
    assert "Not looked at" in answer.content.decode()
    assert "<script>alert" not in answer.content.decode()
    assert not asked


def test_only_administrators_may_ask(onlooker: Client, client: Client, asked: list[tuple[list[str], bool]]) -> None:
    assert onlooker.post(URL, {"name": "www.example.com"}).status_code == 403
    assert Client().post(URL, {"name": "www.example.com"}).status_code == 302
    assert client.get(URL).status_code == 405
    assert not asked
