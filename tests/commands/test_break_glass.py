"""`manage.py break_glass` says what it did, and no more."""

from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django import Settings

pytestmark = pytest.mark.django_db


def said() -> str:
    out = StringIO()
    call_command("break_glass", stdout=out)
    return out.getvalue()


def test_all_of_it_is_off() -> None:
    assert said().startswith(
        "Force SSL, HSTS, client certificates and TLS in front are off. Plain HTTP answers at http://"
    )


def test_what_the_environment_keeps_on_is_not_called_off(settings: Settings) -> None:
    settings.TLS_IN_FRONT = settings.TLS_IN_FRONT_LOCKED = True
    told = said()
    assert told.startswith("Force SSL, HSTS and client certificates are off.")
    assert "BINDERY_TLS_IN_FRONT says that TLS ends in front: unset it and restart the portal." in told
