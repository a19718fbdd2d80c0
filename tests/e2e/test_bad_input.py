"""Bad input to every form, address and command of a running portal: a clear message, nothing stored, no 500."""

import os
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from typing import Any

import pytest
import requests

from tests.harness.artifacts import ROOT
from tests.harness.crawler import Crawler, Form
from tests.harness.person import EMAIL, PASSWORD
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e

SCRIPT = "<script>alert(1)</script>"
GARBAGE: dict[str, str] = {
    "nothing": "",
    "blanks": " \t ",
    "too long": "x" * 100_000,
    "null byte": "a\x00b",
    "emoji": "💥" * 40,
    "script": SCRIPT,
    "quotes": "' OR 1=1 --",
    "template": "{{ 7|add:7 }}{% now %}",
    "path": "../../../etc/passwd",
    "header": "a\r\nSet-Cookie: evil=1",
    "negative": "-1",
    "huge number": "9" * 40,
    "not a number": "NaN",
    "infinite": "1e999",
    "odd url": "https://user:pw@[::1]:99999/x?y#z",
    "half url": "http://[",
    "bad label": "-a..b_.test",
    "wildcards": "*.*.test",
    "bad punycode": "xn--" + "a" * 70 + ".test",
    "full width": "ｅｘａｍｐｌｅ。ｔｅｓｔ",
    "right to left": "\u202eabc\u200f",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "json": '{"a": [1, null]}',
}
ALONE = ("too long", "null byte", "script", "huge number", "half url")
# What the portal itself writes while nobody does anything.
RESTLESS = {
    "certs_nodeprocess",
    "certs_workerbeat",
    "certs_queueticket",
    "certs_auditevent",
    "certs_onetimelink",
    "certs_nodeexport",
}
RESTLESS_COLUMNS = {
    "last_login",
    "next_check_at",
    "last_check_at",
    "last_decision",
    "last_decision_text",
    "updated_at",
    "export_name",  # garbage may have switched the export on
    "pki_addresses",  # the tick notes which is in use
}


@pytest.fixture(scope="module")
def place() -> Iterator[Portal]:
    with Portal() as portal:
        link = portal.setup_link()
        crawler = Crawler(portal.http_url)
        form = _only_form(crawler, link)
        made = crawler.send(
            form,
            {**form.values, "email": EMAIL, "password": PASSWORD, "again": PASSWORD, "public_url": portal.http_url},
        )
        assert made.status_code == 302, made.text
        yield portal


@pytest.fixture(scope="module")
def administrator(place: Portal) -> Crawler:
    crawler = Crawler(place.http_url)
    form = next(form for form in crawler.forms("/accounts/login/") if "login" in form.values)
    done = crawler.send(form, {**form.values, "login": EMAIL, "password": PASSWORD})
    assert done.status_code == 302
    made = next(form for form in crawler.forms("/certificates/self-signed/") if "names" in form.values)
    answer = crawler.send(made, {**made.values, "names": "own.test", "key_type": "ec-p256"})
    assert answer.status_code == 302, answer.text
    return crawler


@pytest.fixture(scope="module")
def pages(administrator: Crawler) -> list[requests.Response]:
    """Every page that an administrator finds, before anything bad is sent."""
    return list(administrator.walk("/", "/configuration/lets-encrypt/configure/", "/help/", "/admin/"))


@pytest.fixture(scope="module")
def forms(administrator: Crawler, pages: list[requests.Response]) -> list[Form]:
    return administrator.forms_of(pages)


def _only_form(crawler: Crawler, url: str) -> Form:
    return crawler.read(crawler.get(url)).forms[0]


class Store:
    """Every row that people cause, without what the portal writes by itself; read anew once somebody has written."""

    def __init__(self, portal: Portal) -> None:
        file = portal.home / "bindery.sqlite3"
        self._connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=20)
        self._seen: object = None
        tables = self._all("SELECT name FROM sqlite_master WHERE name LIKE 'certs_%' AND type = 'table'")
        self._queries = {
            name: f"SELECT {self._restful(name)} FROM {name}" for (name,) in tables if name not in RESTLESS
        }
        self._rows: dict[str, list[tuple[object, ...]]] = {}

    def read(self) -> dict[str, list[tuple[object, ...]]]:
        version = self._all("PRAGMA data_version")
        if version != self._seen:
            self._rows = {table: self._all(query) for table, query in self._queries.items()}
            self._seen = version
        return self._rows

    def _restful(self, table: str) -> str:
        names = [name for (_, name, *_) in self._all(f"PRAGMA table_info({table})")]
        kept = [name for name in names if name not in RESTLESS_COLUMNS and not name.startswith(("sweep_", "import_"))]
        return ", ".join(f'"{name}"' for name in kept)

    def _all(self, query: str) -> list[Any]:
        return self._connection.execute(query).fetchall()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def store(place: Portal) -> Iterator[Store]:
    with closing(Store(place)) as store:
        yield store


def _is_decent(response: requests.Response, what: str) -> None:
    if response.url.endswith("/statusz"):  # 503 is its way to say that a person should look
        return
    assert response.status_code < 500, f"{what}: {response.status_code}\n{response.text[:2000]}"
    assert "Traceback" not in response.text, what
    is_page = response.headers.get("Content-Type", "").startswith("text/html")  # in a file it is what was asked for
    assert not is_page or SCRIPT not in response.text, f"{what}: given back as it came"
    assert "evil" not in response.cookies, what
    if "html" in response.headers.get("Content-Type", "") and not response.is_redirect:
        fragment = "<html" not in response.text
        assert fragment or "<h1" in response.text, f"{what}: a page without a heading\n{response.text[:500]}"


def _attempts(form: Form) -> Iterator[tuple[str, object]]:
    """(what, data): each kind of garbage in all fields, some in one field alone, and wrong shapes."""
    names = [each.name for each in form.open_fields]
    for kind, value in GARBAGE.items():
        yield kind, {**form.values, **dict.fromkeys(names, value)}
    for name in names:
        for kind in ALONE:
            yield f"{kind} in {name}", {**form.values, name: GARBAGE[kind]}
    yield "nothing at all", {name: value for name, value in form.values.items() if name == "csrfmiddlewaretoken"}
    yield "everything twice", [(name, value) for name, value in form.values.items() for _ in range(2)]
    hidden = [each.name for each in form.fields if each.kind == "hidden" and each.name != "csrfmiddlewaretoken"]
    for name in hidden:
        yield f"script in hidden {name}", {**form.values, name: SCRIPT}
        yield f"null byte in hidden {name}", {**form.values, name: "a\x00b"}
    token = form.values.get("csrfmiddlewaretoken", "")
    raw = "&".join([f"csrfmiddlewaretoken={token}", *(f"{name}=%ff%fe%00" for name in names)])
    if form.method == "post":
        yield "bytes that are no text", raw.encode()


def _chosen(form: Form, most: int | None) -> list[tuple[str, object]]:
    """All attempts, or so many of them: each form has others, and the same in every run."""
    attempts = list(_attempts(form))
    return attempts if most is None else random.Random(f"bindery {form}").sample(attempts, min(most, len(attempts)))


def _harass(crawler: Crawler, store: Store, form: Form, most: int | None) -> None:
    before = store.read()
    for what, data in _chosen(form, most):
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if isinstance(data, bytes) else None
        response = crawler.send(form, data, headers=headers)
        _is_decent(response, f"{form}, {what}")
        after = store.read()
        taken = response.is_redirect and "/accounts/login/" not in response.headers["Location"]
        if taken or response.status_code == HTTPStatus.CREATED:
            before = after  # this garbage was good for that form
        assert after == before, f"{form}, {what}: refused, but something was stored"
    for what, content in {"empty": b"", "binary": os.urandom(2000), "large": b"-----BEGIN " * 300_000}.items():
        for name in form.files:
            files = {name: ("../evil\x00.pem", content)}
            _is_decent(crawler.send(form, form.values, files=files), f"{form}, {what} file")
            assert store.read() == before, f"{form}, {what} file: something was stored"


def _harass_all(crawler: Crawler, portal: Portal, store: Store, forms: list[Form], most: int | None) -> None:
    """All troubles at once: one form's says nothing of the next."""
    troubles = []
    for form in forms:
        try:
            _harass(crawler, store, form, most)
        except AssertionError as error:
            troubles.append(str(error)[:1000])
    assert not troubles, "\n\n".join(
        [*troubles, *re.findall(r"^Traceback.*?^\w\S*: [^\n]*", portal.log, re.DOTALL | re.MULTILINE)[-5:]]
    )


def test_every_page_answers_without_a_server_error(place: Portal, pages: list[requests.Response]) -> None:
    stranger = Crawler(place.http_url).walk("/", "/accounts/login/", "/help/", "/admin/")
    for response in (*stranger, *pages):
        _is_decent(response, response.url)
        assert response.status_code in {200, 301, 302} or response.url.endswith("/statusz"), (
            f"{response.url}: {response.status_code}"
        )
    assert len(pages) > 25


@pytest.mark.parametrize("most", [4, pytest.param(None, marks=pytest.mark.proof)])
def test_bad_input_to_every_form_of_the_administrator(
    place: Portal, store: Store, administrator: Crawler, forms: list[Form], most: int | None
) -> None:
    own = [form for form in forms if "/admin/" not in form.action]
    assert len(own) > 10, [str(form) for form in own]
    _harass_all(administrator, place, store, own, most)


def test_bad_input_to_every_form_that_strangers_reach(place: Portal, store: Store) -> None:
    stranger = Crawler(place.http_url)
    forms = stranger.forms("/accounts/login/", "/accounts/password/reset/", "/help/")
    assert forms
    _harass_all(stranger, place, store, forms, None)


def test_a_form_without_its_token_is_refused_by_a_page_that_says_why(
    store: Store, administrator: Crawler, forms: list[Form]
) -> None:
    before = store.read()
    for form in forms:
        if form.method == "post":
            values = {name: value for name, value in form.values.items() if name != "csrfmiddlewaretoken"}
            response = administrator.send(form, values)
            assert response.status_code == 403, str(form)
            _is_decent(response, str(form))
    assert store.read() == before


NOBODY = "9f8b8f6e-3c55-4d3c-9d8e-000000000000"
ADDRESSES = (
    "/certificates/not-a-uuid/",
    f"/certificates/{NOBODY}/",
    f"/certificates/{NOBODY}/served/",
    f"/activity/{NOBODY}/",
    f"/activity/{NOBODY}/steps/",
    f"/configuration/lets-encrypt/watch/{NOBODY}/",
    f"/configuration/bindings/watch/{NOBODY}/awaiting/",
    "/setup/x/",
    "/setup/%00/",
    "/session/..%2f..%2fadmin/",
    "/session/" + "a" * 3000 + "/",
    "/%ff%fe/",
    "/certificates/?page=-1&q=%00&state=%ff",
    "/certificates/?page=99999999999999999999",
    "/activity/?page=x&kind=%F0%9F%92%A5",
    "/activity/changes/?page=0",
    "/accounts/login/?next=https://evil.test/",
    "/accounts/login/?next=%00",
    "/configuration/lets-encrypt/configure/?ca=%00",
    "/.well-known/acme-challenge/%00",
    "/.well-known/acme-challenge/../../etc/passwd",
    "/.well-known/acme-challenge/" + "a" * 5000,
    "/static/../portal/settings.py",
    "/static/%2e%2e/portal/settings.py",
    "/static/%00",
    "/nowhere",
)


@pytest.mark.parametrize("path", ADDRESSES)
def test_odd_addresses(place: Portal, administrator: Crawler, path: str) -> None:
    for crawler in (Crawler(place.http_url), administrator):
        for method in ("GET", "POST", "PUT", "DELETE"):
            request = requests.Request(method, place.http_url + "/", headers={"Referer": place.http_url})
            prepared = crawler.session.prepare_request(request)
            prepared.url = place.http_url + path  # as it stands here, not made neat
            response = crawler.session.send(prepared, timeout=20, allow_redirects=False)
            _is_decent(response, f"{method} {path}")
            assert "evil.test" not in response.headers.get("Location", "")
            assert "BASE_DIR" not in response.text


def test_odd_hosts_never_reach_a_link(place: Portal) -> None:
    for host in ("evil.test", "evil.test:80", "a b", "[::", "", "x" * 300, "127.0.0.1:abc", "evil.test@127.0.0.1"):
        for path in ("/", "/accounts/login/", "/accounts/password/reset/", "/healthz"):
            response = place.get(path, headers={"Host": host})
            _is_decent(response, f"{host} {path}")
            assert not re.search(r"https?://evil\.test", response.text), f"{host} {path}"
            assert "evil.test" not in response.headers.get("Location", "")


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("issue", "http://portal.test/"),
    ("issue", "-a..b"),
    ("issue", "*.portal.test"),
    ("issue", "192.0.2.1"),
    ("issue", "portal.test", "--directory", "nonsense"),
    ("issue", "portal.test", "--directory", "http://ca.test/dir", "--accept-terms"),
    ("issue", "portal.test", "--directory", "https://localhost:1/dir", "--allow-private-ca", "--accept-terms"),
    ("issue", "portal.test", "--ca-bundle", "/nowhere.pem"),
    ("issue", "portal.test", "--file", "/nowhere.txt"),
    ("issue", "portal.test", "--key-type", "rsa-17"),
    ("issue", "portal.test", "--email", "not-an-address", "--accept-terms"),
    ("issue",),
    ("renew", "unknown.test"),
    ("renew",),
    ("renew", "--all", "--due"),
    ("check_certificates", "--nonsense"),
    ("allow_host", "http://x/"),
    ("setup_link",),
    ("up", "--role", "nonsense"),
    ("up", "--hostnames", "http://x", "--accept-le-sa"),
    ("up", "--accept-le-sa"),
    ("up",),
)


def test_bad_input_to_every_command(place: Portal, store: Store) -> None:
    before = store.read()

    def run(words: tuple[str, ...]) -> tuple[tuple[str, ...], subprocess.CompletedProcess[str]]:
        return words, place.manage(*words, check=False)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, COMMANDS))
    for words, done in results:
        said = done.stdout + done.stderr
        assert done.returncode != 0, words
        assert "Traceback" not in said, f"{words}:\n{said}"
        assert len(said.strip().splitlines()) >= 1, words
    assert store.read() == before
    assert place.process.is_alive()


def test_bad_environment_stops_the_start_with_one_sentence() -> None:
    for name, value in {
        "BINDERY_HTTP_PORT": "99999",
        "BINDERY_HTTPS_PORT": "https",
        "DATABASE_URL": "mysql://x",
        "BINDERY_LOG_FORMAT": "xml",
        "BINDERY_SECRET_KEY_FILE": "/nowhere",
        "BINDERY_WEB_WORKERS": "0",
    }.items():
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "BINDERY_HOME": "/nowhere/at/all", name: value},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 4, name
        assert name.removesuffix("_FILE") in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
