"""People of the page tests: Alice administers, Bob only looks, a stranger is nobody; cookies have a name per scheme."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from certs.models import User
from portal.middleware import SecureCookies
from tests import stock
from tests.harness import pki


class Browser(Client):
    """Sends what it is logged in with under the name of either scheme, and its own address as the host."""

    def force_login(self, user: Any, backend: str | None = None) -> None:
        super().force_login(user, backend)
        for name in list(self.cookies):
            self.cookies[SecureCookies.PREFIX + name] = self.cookies[name].value


@pytest.fixture(autouse=True)
def _browsers_trust(settings: Settings, tmp_path: Path) -> None:
    """Browsers know one root here, and nothing of ours comes from it."""
    settings.PUBLIC_ROOTS = str(tmp_path / "roots.pem")
    Path(settings.PUBLIC_ROOTS).write_text(pki.authority("A Public Root").pem)


@pytest.fixture
def alice(db: None) -> User:
    return stock.administrator("alice@example.com")


@pytest.fixture
def bob(alice: User) -> User:
    return User.objects.create_user("bob@example.com", "a long pass phrase")


@pytest.fixture
def client(alice: User) -> Browser:
    """Logged in as Alice."""
    browser = Browser()
    browser.force_login(alice)
    return browser


@pytest.fixture
def onlooker(bob: User) -> Browser:
    """Logged in as Bob."""
    browser = Browser()
    browser.force_login(bob)
    return browser


@pytest.fixture
def stranger(alice: User) -> Browser:
    """Not logged in."""
    return Browser()
