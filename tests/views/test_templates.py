"""What the strict Content-Security-Policy rests on: no script or style of a page's own, anywhere."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template
from django.test import Client
from django.urls import reverse

TEMPLATES = sorted((Path(settings.BASE_DIR) / "templates").rglob("*.html"))
FORBIDDEN = {
    "an inline handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "a style element": re.compile(r"<style", re.IGNORECASE),
    "a script of its own": re.compile(r"<script(?![^>]*\ssrc=)", re.IGNORECASE),
    "hx-on": re.compile(r"\shx-on[:\s=]", re.IGNORECASE),
    "an evaluated htmx filter": re.compile(r"""hx-trigger="[^"]*\[|hx-vals=["']js:"""),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
    "another origin": re.compile(r"""(?:src|<link[^>]*href)=["']https?://""", re.IGNORECASE),
    "unescaped output": re.compile(r"\|\s*safe\b|autoescape\s+off"),
}


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.relative_to(settings.BASE_DIR)))
def test_a_template_keeps_to_the_policy(file: Path) -> None:
    text = file.read_text()
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    assert not found
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL | re.IGNORECASE):
        assert "csrf_token" in form
    get_template(str(file.relative_to(settings.BASE_DIR / "templates")))


@pytest.mark.parametrize("path", ["/", "/help/", "/nowhere/", "/admin/"])
def test_every_page_carries_the_policy(client: Client, path: str) -> None:
    policy = client.get(path)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "form-action 'self'" in policy


def test_a_page_is_usable_by_keyboard_and_ear(client: Client) -> None:
    page = client.get(reverse("certificates")).content.decode()
    assert 'href="#content"' in page
    assert 'id="content"' in page
    assert 'aria-current="page">Certificates' in page
    assert page.count("<h1>") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
