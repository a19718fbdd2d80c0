"""The address that certificates hold: what it may be, who confirms it, and what answers there."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import AuditEvent, User
from certs.services.pki import (
    pki_base_url,
    pki_base_url_check,
    pki_base_url_confirm,
    pki_base_url_guess,
    pki_base_url_parse,
    pki_base_url_required,
    pki_base_url_warning,
    pki_urls,
)
from certs.services.portal_state import state_update
from certs.services.reachability import probe_answer
from tests import own_ca

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("http://pki.example.com", "http://pki.example.com"),
        ("http://PKI.Example.com:80/", "http://pki.example.com"),
        (" http://pki.example.com:8000 ", "http://pki.example.com:8000"),
        ("http://[2001:db8::1]:8000", "http://[2001:db8::1]:8000"),
        ("http://bücher.example", "http://xn--bcher-kva.example"),
    ],
)
def test_what_it_may_be(typed: str, kept: str) -> None:
    assert pki_base_url_parse(typed) == kept


@pytest.mark.parametrize(
    "typed",
    ["", "pki.example.com", "https://pki.example.com", "http://", "http://a/b", "http://u@a", "http://a:b", "ftp://a"],
)
def test_what_it_may_not_be(typed: str) -> None:
    with pytest.raises(InputError):
        pki_base_url_confirm(typed, actor="test")
    assert pki_base_url() == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:8000", "Only this machine"),
        ("http://127.0.0.1", "Only this machine"),
        ("http://10.1.2.3", "private address"),
        ("http://pki", "without a domain"),
        ("http://pki.example.com", ""),
    ],
)
def test_what_is_to_be_considered(url: str, words: str) -> None:
    warning = pki_base_url_warning(url)
    assert words in warning
    assert bool(words) == bool(warning)


def test_nothing_is_signed_before_it_is_confirmed() -> None:
    state_update(pki_base_url="http://guessed.example.com")  # not confirmed
    with pytest.raises(NotAllowed) as refused:
        pki_base_url_required()
    assert refused.value.code == "pki-base-url"
    assert pki_base_url_guess().startswith("http://")
    pki_base_url_confirm("http://pki.example.com", actor="test")
    assert pki_base_url_required() == "http://pki.example.com"
    event = AuditEvent.objects.get(action="pki-base-url.confirm")
    assert event.after == {"pki_base_url": "http://pki.example.com"}


def test_only_who_sets_the_portal_up_confirms_it() -> None:
    with pytest.raises(NotAllowed):
        pki_base_url_confirm("http://x.example.com", actor=User.objects.create_user("b@example.com", "a long phrase"))


def test_the_environment_wins_and_locks(settings: Any) -> None:
    pki_base_url_confirm("http://pki.example.com", actor="test")
    settings.PKI_BASE_URL = "http://env.example.com:80/"
    assert pki_base_url_required() == "http://env.example.com"
    with pytest.raises(ConflictError) as refused:
        pki_base_url_confirm("http://new.example.com", actor="test")
    assert refused.value.code == "locked"
    settings.PKI_BASE_URL = "https://env.example.com"
    with pytest.raises(InputError, match="BINDERY_PKI_BASE_URL"):
        pki_base_url_required()


def test_it_stands_in_what_is_signed_and_is_changed_knowingly() -> None:
    ca = own_ca.root()
    urls = pki_urls(ca)
    assert urls.crl == f"http://pki.example.com/pki/crl/{ca.pk}.crl"
    text = own_ca.parsed(own_ca.leaf(ca)).extensions
    assert all(url in str(list(text)) for url in (urls.crl, urls.ocsp, urls.issuer))
    with pytest.raises(ConflictError) as refused:
        pki_base_url_confirm("http://new.example.com", actor="test")
    assert refused.value.code == "living"
    assert pki_base_url_confirm("http://pki.example.com", actor="test") == "http://pki.example.com"  # no change
    pki_base_url_confirm("http://new.example.com", although_living=True, actor="test")
    assert pki_urls(ca).crl.startswith("http://new.example.com/")


class Answering(BaseHTTPRequestHandler):
    """Fake: one server that answers in the way its path says."""

    kind = ""

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query).get("probe", [""])[0]
        ours, body = probe_answer(token) or "", b""
        if self.kind == "redirect":
            self.send_response(301)
            self.send_header("Location", "https://127.0.0.1/")
        else:
            said = {"ours": ours, "echo": token, "other": "x"}[self.kind]
            body = f'{{"probe": "{said}"}}'.encode() if self.kind != "other" else b"<html>" + b"x" * 10_000
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("kind", "ok", "words"),
    [
        ("ours", True, "This portal answers"),
        ("echo", False, "Something else answers"),
        ("other", False, "Something else answers"),
        ("redirect", False, "redirects"),
    ],
)
def test_what_answers_there(server: str, kind: str, ok: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "kind", kind)
    seen = pki_base_url_check(server)
    assert (seen.ok, words in seen.text) == (ok, True)


def test_what_cannot_be_asked_is_neither_right_nor_wrong() -> None:
    for url in ("http://127.0.0.1:9", "http://nowhere.invalid"):
        seen = pki_base_url_check(url)
        assert seen.ok is None
        assert seen.text.startswith("Could not check from this machine.")
