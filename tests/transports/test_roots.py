"""Roots: judged alike under every Python."""

import ssl
from pathlib import Path

import pytest

from certs.transports.roots import browser_context
from tests.harness import pki


def test_a_browser_minds_no_flaw_that_a_new_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ssl.create_default_context

    def as_from_3_13(*, cafile: str) -> ssl.SSLContext:
        context = real(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_from_3_13)
    roots = tmp_path / "roots.pem"
    roots.write_text(pki.authority().pem)
    context = browser_context(roots)
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
