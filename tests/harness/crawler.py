"""A visitor without a browser: follows every link, finds every form, and sends whatever the test wants."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import requests

FORM_FIELDS = {"input", "select", "textarea", "button"}


@dataclass
class Field:
    name: str
    kind: str  # the input's type, or select, textarea, submit
    value: str = ""


@dataclass
class Form:
    page: str  # URL it was found on
    action: str
    method: str  # get or post
    fields: list[Field] = field(default_factory=list)
    multipart: bool = False

    @property
    def values(self) -> dict[str, str]:
        """As a browser sends it untouched; unchecked boxes and files are left out."""
        silent = {"file", "submit", "button", "checkbox", "radio"}
        return {each.name: each.value for each in self.fields if each.name and each.kind not in silent}

    @property
    def open_fields(self) -> list[Field]:
        """Those a person fills in."""
        return [each for each in self.fields if each.name and each.kind not in {"hidden", "submit", "button", "file"}]

    @property
    def files(self) -> list[str]:
        return [each.name for each in self.fields if each.kind == "file"]

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.action).path} on {urlsplit(self.page).path}"


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._select: Field | None = None
        self._textarea: Field | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in given:
            self.links.append(urljoin(self.page, given["href"]))
        elif tag == "form":
            action = urljoin(self.page, given.get("action") or self.page)
            multipart = given.get("enctype") == "multipart/form-data"
            self._form = Form(self.page, action, given.get("method", "get").lower(), multipart=multipart)
            self.forms.append(self._form)
        elif self._form is not None and tag in FORM_FIELDS:
            self._field(self._form, tag, given)
        elif tag == "option" and self._select is not None and ("selected" in given or not self._select.value):
            self._select.value = given.get("value", "")

    def _field(self, form: Form, tag: str, given: dict[str, str]) -> None:
        kind = given.get("type", "text") if tag == "input" else {"button": "submit"}.get(tag, tag)
        made = Field(given.get("name", ""), kind, given.get("value", ""))
        form.fields.append(made)
        self._select = made if tag == "select" else None
        self._textarea = made if tag == "textarea" else None

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._textarea.value += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None


class Crawler:
    """Stays on one origin. `forget` are path prefixes it never follows (log-out)."""

    def __init__(self, base: str, *, forget: tuple[str, ...] = ("/accounts/logout",)) -> None:
        self.base = base
        self.forget = forget
        self.session = requests.Session()
        self.session.verify = False
        self.session.trust_env = False
        # A kept connection may end between two requests, as the server is free to do; then who ended it is not known.
        self.session.headers["Connection"] = "close"

    def get(self, path: str, **options: object) -> requests.Response:
        return self.session.get(urljoin(self.base, path), timeout=30, allow_redirects=False, **options)  # type: ignore[arg-type]

    def read(self, response: requests.Response) -> _Reader:
        reader = _Reader(response.url)
        reader.feed(response.text)
        return reader

    def walk(self, *starts: str, limit: int = 300) -> Iterator[requests.Response]:
        """Every page reached by links and redirects; those of the Django admin in three ways of sorting."""
        waiting = [urljoin(self.base, start) for start in starts]
        seen: set[str] = set()
        queries: Counter[str] = Counter()
        while waiting and len(seen) < limit:
            url = urldefrag(waiting.pop(0)).url
            path = urlsplit(url).path
            if url in seen or (path.startswith("/admin/") and queries[path] == 3) or not self._ours(url):
                continue
            seen.add(url)
            queries[path] += 1
            response = self.get(url)
            yield response
            if response.is_redirect:
                waiting.append(urljoin(url, response.headers["Location"]))
            elif "html" in response.headers.get("Content-Type", ""):
                waiting += self.read(response).links

    def forms(self, *starts: str) -> list[Form]:
        """Every different form, by method, action and names of its fields."""
        return self.forms_of(self.walk(*starts))

    def forms_of(self, pages: Iterable[requests.Response]) -> list[Form]:
        found: dict[tuple[object, ...], Form] = {}
        for response in pages:
            if "html" not in response.headers.get("Content-Type", ""):
                continue
            for form in self.read(response).forms:
                if not any(urlsplit(form.action).path.startswith(prefix) for prefix in self.forget):
                    found.setdefault((form.method, form.action, *(each.name for each in form.fields)), form)
        return list(found.values())

    def send(
        self,
        form: Form,
        data: object,
        *,
        files: dict[str, tuple[str, bytes]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """`data` as requests takes it. The token of the form and the page as Referer go along."""
        return self.session.request(
            form.method,
            form.action,
            data=data if form.method == "post" else None,  # type: ignore[arg-type]
            params=data if form.method == "get" else None,  # type: ignore[arg-type]
            files=files,
            headers={"Referer": form.page, **(headers or {})},
            timeout=60,
            allow_redirects=False,
        )

    def _ours(self, url: str) -> bool:
        parts = urlsplit(url)
        same = f"{parts.scheme}://{parts.netloc}" == self.base
        return same and not any(parts.path.startswith(prefix) for prefix in self.forget)
