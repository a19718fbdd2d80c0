"""manage.py tls_in_front, and what break_glass makes of it."""

import pytest
from pytest_django import Settings

from certs.services.front import front_change, front_on_trial, front_read
from certs.services.front_notices import notice_add
from certs.services.portal_state import state_get
from tests.commands.running import run

pytestmark = pytest.mark.django_db


def test_it_shows_and_changes_what_the_page_does_without_a_trial() -> None:
    notice_add("10.0.0.7", ["X-Forwarded-Proto"])
    shown = run("tls_in_front").out
    assert "TLS in front is off.\nProxies: none\n" in shown
    assert "Noticed, not believed: 10.0.0.7 (X-Forwarded-Proto)" in shown
    assert "No proxy is listed" in run("tls_in_front", "--on").err
    done = run("tls_in_front", "--on", "--trust", "10.0.0.7", "--trust", "fd00::/8")
    assert (done.code, done.out) == (0, "TLS in front is on.\nProxies: 10.0.0.7, fd00::/8\n")
    assert not front_on_trial(state_get())
    assert "Proxies: fd00::/8" in run("tls_in_front", "--drop", "10.0.0.7").out
    assert "10.0.0.7/32 is not on the list" in run("tls_in_front", "--drop", "10.0.0.7").err
    assert "TLS in front is off.\nProxies: fd00::/8" in run("tls_in_front", "--off").out


@pytest.mark.parametrize("bad", ["0.0.0.0/0", "proxy.example.com", ""])
def test_what_is_no_proxy_is_refused(bad: str) -> None:
    assert run("tls_in_front", "--on", "--trust", bad).code != 0
    assert not front_read().on


def test_it_ends_a_trial_by_keeping_what_is_tried() -> None:
    front_change(on=True, proxies=["10.0.0.7"], actor="test")
    assert "on (on trial)" in run("tls_in_front").out
    assert "on (on trial)" not in run("tls_in_front", "--on").out


def test_a_look_at_the_public_url_says_where_there_is_none() -> None:
    assert "Public URL: could not check" in run("tls_in_front", "--look").out


def test_break_glass_switches_it_off_and_says_where_the_environment_does_not_let_it(settings: Settings) -> None:
    front_change(on=True, proxies=["10.0.0.7"], actor="test", trial=False)
    assert "TLS in front are off" in run("break_glass").out
    assert not front_read().on
    settings.TLS_IN_FRONT_LOCKED = settings.TLS_IN_FRONT = True
    assert "unset it and restart" in run("break_glass").out
