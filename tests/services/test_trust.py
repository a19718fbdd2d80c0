"""Whose roots count as publicly trusted."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_django import Settings

from certs.services import trust
from certs.transports import roots
from tests.standing import HOST, ca_make, certificate_make

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("bundle", roots.BUNDLES)
def test_the_system_s_store_counts_where_openssl_knows_only_its_directory(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: str
) -> None:
    settings.PUBLIC_ROOTS = ""
    ca = ca_make()
    version = certificate_make(ca, [HOST]).versions.get()
    shipped = ca_make("Another Root").write_to(tmp_path / "shipped.pem")
    monkeypatch.setattr(roots.certifi, "where", lambda: str(shipped))
    paths = SimpleNamespace(cafile=None, capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert not trust.version_is_public(version, HOST)
    ca.write_to(tmp_path / bundle)
    assert trust.version_is_public(version, HOST)
