"""Force SSL and HSTS: every test tries to lock somebody out."""

from pathlib import Path

import pytest
from pytest_django import Settings

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import AuditEvent, Binding, Listener, NodeProcess, PortalState
from certs.services import https
from certs.services.arrivals import Arrival
from certs.services.bindings import binding_remove, binding_set
from certs.services.handshakes import ServedResult
from certs.services.https import (
    force_ssl_confirm,
    force_ssl_disable,
    force_ssl_enable,
    force_ssl_is_on,
    hsts_advance,
    hsts_disable,
    hsts_enable,
    hsts_hasten,
    hsts_standing,
    https_reset,
    policy_read,
)
from certs.services.portal_state import generation_wanted, state_get, state_update
from certs.services.reachability import ReachResult
from certs.services.trust import browser_warning, version_is_public
from certs.services.version_history import version_use
from portal import clock
from tests.standing import HOST, URL, Ca, ca_make, certificate_bound, certificate_make, clock_move, stand

pytestmark = pytest.mark.django_db
HERE = Arrival(True, HOST)


@pytest.fixture(autouse=True)
def own_clock(settings: Settings, tmp_path: Path) -> None:
    settings.TEST_CLOCK_FILE = tmp_path / "clock"


@pytest.fixture
def ca(settings: Settings, tmp_path: Path) -> Ca:
    """A CA that browsers know."""
    made = ca_make()
    settings.PUBLIC_ROOTS = made.write_to(tmp_path / "roots.pem")
    return made


@pytest.fixture
def good(ca: Ca) -> None:
    stand()
    certificate_bound(ca, [HOST])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | None]:
    answer: dict[str, bool | None] = {"ok": True}
    monkeypatch.setattr("certs.services.answering.served_now", lambda _: ServedResult(answer["ok"], "", "here", ""))
    return answer


@pytest.mark.parametrize(
    "arrival",
    [
        Arrival(False, HOST),
        Arrival(True, f"{HOST}:8443"),
        Arrival(True, "192.0.2.1"),
        Arrival(True, "other.example.com"),
        Arrival(False, f"{HOST}:443"),
    ],
)
def test_nothing_is_switched_on_from_elsewhere(arrival: Arrival, good: None) -> None:
    with pytest.raises(NotAllowed):
        force_ssl_enable(arrival, actor="test")
    with pytest.raises(NotAllowed):
        hsts_enable(arrival, actor="test")
    assert policy_read() == https.HttpsPolicy()


def test_nothing_is_switched_on_while_the_public_url_is_http(ca: Ca) -> None:
    stand(url=f"http://{HOST}")
    certificate_bound(ca, [HOST])
    with pytest.raises(NotAllowed, match="not HTTPS"):
        force_ssl_enable(Arrival(True, HOST), actor="test")


def test_the_public_url_counts_with_its_port(ca: Ca) -> None:
    stand(url=f"{URL}:8443", https=8443)
    force_ssl_enable(Arrival(True, f"{HOST}:8443"), actor="test")
    assert policy_read().redirect_to == f"{URL}:8443"


def test_force_ssl_returns_by_itself(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    assert policy_read().redirect_to == URL
    clock_move(seconds=121)
    assert policy_read().redirect_to == ""
    with pytest.raises(NotAllowed, match="returned to off"):
        force_ssl_confirm(HERE, actor="test")
    assert not force_ssl_is_on(state_get())
    hsts_advance()
    assert not state_get().force_ssl
    assert AuditEvent.objects.filter(action="https.force-returned", actor_text="schedule").count() == 1


def test_force_ssl_stays_once_confirmed_by_the_public_url(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    with pytest.raises(NotAllowed):
        force_ssl_confirm(Arrival(False, HOST), actor="test")
    with pytest.raises(NotAllowed):
        force_ssl_confirm(Arrival(True, "192.0.2.1"), actor="test")
    force_ssl_confirm(HERE, actor="test")
    force_ssl_confirm(HERE, actor="test")
    clock_move(days=400)
    assert policy_read().redirect_to == URL


def test_enabling_again_does_not_put_what_was_confirmed_on_trial(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    force_ssl_confirm(HERE, actor="test")
    force_ssl_enable(HERE, actor="test")
    assert state_get().force_ssl_confirm_by is None


def test_force_ssl_is_switched_off_from_anywhere(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    force_ssl_disable(actor="test")
    assert policy_read().redirect_to == ""


def test_force_ssl_does_nothing_once_the_public_url_is_http(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    force_ssl_confirm(HERE, actor="test")
    state_update(public_url=f"http://{HOST}:8000")
    assert policy_read().redirect_to == ""


def test_hsts_begins_at_five_minutes(good: None) -> None:
    hsts_enable(HERE, actor="test")
    assert policy_read().hsts_header == "max-age=300"
    assert policy_read().hsts_host == HOST


def test_hsts_is_refused_for_a_self_signed_certificate() -> None:
    stand()
    certificate_bound(None, [HOST])
    with pytest.raises(NotAllowed, match="self-signed"):
        hsts_enable(HERE, typed_host=HOST, actor="test")


def test_hsts_is_refused_with_nothing_but_the_placeholder() -> None:
    stand()
    with pytest.raises(NotAllowed, match="placeholder"):
        hsts_enable(HERE, typed_host=HOST, actor="test")


def test_hsts_is_refused_for_another_name(ca: Ca) -> None:
    stand()
    certificate_bound(ca, ["other.example.com"])
    with pytest.raises(NotAllowed, match=f"not for {HOST}"):
        hsts_enable(HERE, typed_host=HOST, actor="test")


def test_hsts_is_refused_once_expired(ca: Ca) -> None:
    stand()
    certificate_bound(ca, [HOST], days=2)
    clock_move(days=3)
    with pytest.raises(NotAllowed, match="expired"):
        hsts_enable(HERE, typed_host=HOST, actor="test")


def test_hsts_is_refused_on_another_https_port(ca: Ca) -> None:
    stand(url=f"{URL}:8443", https=8443)
    certificate_bound(ca, [HOST])
    with pytest.raises(NotAllowed, match="port 8443"):
        hsts_enable(Arrival(True, f"{HOST}:8443"), actor="test")


@pytest.mark.parametrize("reaches", [True, False])
def test_hsts_needs_plain_http_on_80_listened_or_forwarded(
    ca: Ca, reaches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(http=8000)
    certificate_bound(ca, [HOST])
    outcome = "ok" if reaches else "other"
    monkeypatch.setattr(https, "reach_probe_all", lambda names: [ReachResult(names[0], outcome, "", "")])
    if reaches:
        hsts_enable(HERE, actor="test")
    else:
        with pytest.raises(NotAllowed, match="port 8000"):
            hsts_enable(HERE, actor="test")
    assert state_get().hsts is reaches


def test_a_private_ca_asks_for_the_name_and_lasts_a_day_at_most(ca: Ca, served: dict[str, bool | None]) -> None:
    stand()
    certificate_bound(ca_make("Ours"), [HOST])
    assert not hsts_standing().public
    for typed in ("", "other.example.com"):
        with pytest.raises(InputError) as refused:
            hsts_enable(HERE, typed_host=typed, actor="test")
        assert refused.value.code == "typed-host"
    hsts_enable(HERE, typed_host=f" {HOST.upper()}. ", actor="test")
    hsts_hasten(HERE, typed_host=HOST, actor="test")
    hsts_hasten(HERE, typed_host=HOST, actor="test")
    with pytest.raises(ConflictError, match="1 day is the longest"):
        hsts_hasten(HERE, typed_host=HOST, actor="test")
    assert policy_read().hsts_header == "max-age=86400"


def test_a_day_of_healthy_checks_earns_each_step(good: None, served: dict[str, bool | None]) -> None:
    hsts_enable(HERE, actor="test")
    steps = []
    for half_hour in range(48 * 4):
        clock_move(hours=half_hour / 2)
        hsts_advance()
        steps.append(state_get().hsts_step)
    assert steps[47] == 0
    assert steps[48:50] == [1, 1]
    assert max(steps) == steps[-1] == 3
    assert policy_read().hsts_header == "max-age=31536000"


def test_on_a_node_that_listens_nowhere_the_proofs_of_the_others_count(good: None) -> None:
    Listener.objects.update(node="web-1")
    listener = Listener.objects.get(protocol="https")
    NodeProcess.objects.create(node="web-1", pid=1, generation=generation_wanted(), seen_at=clock.real())
    listener.proofs = {
        binding.server_name: {
            "asked": binding.certificate.current.fingerprint_sha256,
            "place": "0.0.0.0:443",
            "ok": True,
            "seen": binding.certificate.current.fingerprint_sha256,
            "detail": "0.0.0.0:443 serves it.",
            "at": clock.real().isoformat(),
        }
        for binding in Binding.objects.select_related("certificate__current")
        if binding.certificate.current
    }
    listener.save()
    hsts_enable(HERE, actor="test")
    for half_hour in range(50):
        clock_move(hours=half_hour / 2)
        hsts_advance()
    assert state_get().hsts_step == 1
    before = state_get().hsts_checked_at
    Listener.objects.update(proofs={})  # "could not check" is neither healthy nor unhealthy
    clock_move(hours=26)
    hsts_advance()
    assert (state_get().hsts_step, state_get().hsts_checked_at) == (1, before)


def test_an_unhealthy_check_begins_the_day_anew(good: None, served: dict[str, bool | None]) -> None:
    hsts_enable(HERE, actor="test")
    for half_hour in range(92):
        served["ok"] = half_hour != 44
        clock_move(hours=half_hour / 2)
        hsts_advance()
    assert state_get().hsts_step == 0
    for half_hour in range(92, 96):
        clock_move(hours=half_hour / 2)
        hsts_advance()
    assert state_get().hsts_step == 1


def test_hours_without_a_check_count_for_nothing(good: None, served: dict[str, bool | None]) -> None:
    hsts_enable(HERE, actor="test")
    clock_move(hours=30)
    hsts_advance()
    assert state_get().hsts_step == 0


def test_what_could_not_be_checked_is_neither(good: None, served: dict[str, bool | None]) -> None:
    hsts_enable(HERE, actor="test")
    before = state_get()
    served["ok"] = None
    clock_move(minutes=10)
    hsts_advance()
    after = state_get()
    assert (after.hsts_step_since, after.hsts_checked_at) == (before.hsts_step_since, before.hsts_checked_at)


def test_a_person_goes_faster_by_typing_the_name(good: None) -> None:
    hsts_enable(HERE, actor="test")
    with pytest.raises(InputError):
        hsts_hasten(HERE, typed_host="portal", actor="test")
    with pytest.raises(NotAllowed):
        hsts_hasten(Arrival(False, HOST), typed_host=HOST, actor="test")
    hsts_hasten(HERE, typed_host=HOST, actor="test")
    assert policy_read().hsts_header == "max-age=3600"


def test_hastening_what_is_off_is_refused(good: None) -> None:
    with pytest.raises(ConflictError, match="off"):
        hsts_hasten(HERE, typed_host=HOST, actor="test")


def test_the_header_stops_when_the_certificate_expires(good: None, served: dict[str, bool | None]) -> None:
    hsts_enable(HERE, actor="test")
    clock_move(days=91)
    assert policy_read().hsts_header == ""
    hsts_advance()
    assert state_get().hsts_step == 0
    assert state_get().hsts_step_since is None


def test_the_header_stops_for_a_self_signed_certificate(good: None) -> None:
    hsts_enable(HERE, actor="test")
    certificate_bound(None, [HOST])
    assert policy_read().hsts_header == ""


def test_no_door_binds_what_browsers_with_hsts_would_refuse(good: None) -> None:
    hsts_enable(HERE, actor="test")
    before = list(Binding.objects.values_list("server_name", "certificate"))
    for name in ("", HOST):
        with pytest.raises(ConflictError, match="locked out"):
            binding_set(name, certificate_make(None, [HOST]), actor="test")
    with pytest.raises(ConflictError, match="locked out"):
        binding_remove("", actor="test")
    assert list(Binding.objects.values_list("server_name", "certificate")) == before


def test_the_header_follows_the_certificate_of_the_name_not_the_default(good: None) -> None:
    hsts_enable(HERE, actor="test")
    certificate_bound(None, [HOST], server_name=HOST)
    assert policy_read().hsts_header == ""


def test_a_private_ca_in_the_place_of_a_public_one_shortens_the_header(
    good: None, served: dict[str, bool | None]
) -> None:
    hsts_enable(HERE, actor="test")
    state_update(hsts_step=3)
    certificate_bound(ca_make("Ours"), [HOST])
    hsts_advance()
    assert policy_read().hsts_header == "max-age=86400"


def test_browsers_are_told_to_forget_when_https_leaves_port_443(good: None) -> None:
    hsts_enable(HERE, actor="test")
    state_update(public_url=f"{URL}:8443")
    assert policy_read().hsts_header == "max-age=0"
    state_update(public_url=f"http://{HOST}")
    assert policy_read().hsts_header == "max-age=0"


def test_switching_off_sends_zero_for_as_long_as_a_browser_may_remember(good: None) -> None:
    hsts_enable(HERE, actor="test")
    hsts_hasten(HERE, typed_host=HOST, actor="test")
    hsts_disable(actor="test")
    assert policy_read().hsts_header == "max-age=0"
    clock_move(minutes=59)
    assert policy_read().hsts_header == "max-age=0"
    clock_move(minutes=61)
    assert policy_read().hsts_header == ""


def test_a_short_second_time_does_not_shorten_the_clearing(good: None) -> None:
    hsts_enable(HERE, actor="test")
    state_update(hsts_step=3)
    hsts_disable(actor="test")
    hsts_enable(HERE, actor="test")
    hsts_disable(actor="test")
    clock_move(days=60)
    assert policy_read().hsts_header == "max-age=0"


def test_break_glass_turns_all_of_it_off(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    force_ssl_confirm(HERE, actor="test")
    hsts_enable(HERE, actor="test")
    https_reset(actor="command line")
    policy = policy_read()
    assert (policy.redirect_to, policy.hsts_header) == ("", "max-age=0")
    assert AuditEvent.objects.filter(actor_text="command line").count() == 2


def test_every_change_leaves_an_audit_event(good: None) -> None:
    force_ssl_enable(HERE, actor="test")
    hsts_enable(HERE, actor="test")
    hsts_hasten(HERE, typed_host=HOST, actor="test")
    hsts_disable(actor="test")
    assert {"https.force-on", "https.hsts-on", "https.hsts-step", "https.hsts-off"} <= set(
        AuditEvent.objects.values_list("action", flat=True)
    )


def test_two_steps_at_once_raise_one(good: None) -> None:
    hsts_enable(HERE, actor="test")
    state = state_get()
    https._raise_step(state, 3, "one")
    https._raise_step(state, 3, "other")
    assert PortalState.objects.get().hsts_step == 1


def test_public_trust_is_judged_by_chain_name_and_time(ca: Ca) -> None:
    known = certificate_make(ca, [HOST]).current
    assert known
    assert version_is_public(known, HOST)
    assert not version_is_public(known, "other.example.com")
    assert not version_is_public(known, "192.0.2.1")
    stranger = certificate_make(ca_make("Stranger"), [HOST]).current
    assert stranger
    assert not version_is_public(stranger, HOST)
    clock_move(days=100)
    assert not version_is_public(known, HOST)


def test_roots_that_cannot_be_read_trust_nobody(ca: Ca, settings: Settings, tmp_path: Path) -> None:
    known = certificate_make(ca, [HOST]).current
    assert known
    settings.PUBLIC_ROOTS = str(tmp_path / "missing.pem")
    assert not version_is_public(known, HOST)
    (tmp_path / "empty.pem").write_text("nothing")
    settings.PUBLIC_ROOTS = str(tmp_path / "empty.pem")
    assert not version_is_public(known, HOST)


def test_a_person_is_told_beforehand_whether_the_browser_warns(ca: Ca) -> None:
    assert browser_warning(certificate_make(ca, [HOST]).current, HOST) == ""
    assert "test certificate" in browser_warning(certificate_make(ca, [HOST], is_test=True).current, HOST)
    assert "signs itself" in browser_warning(certificate_make(None, [HOST]).current, HOST)
    assert "not for" in browser_warning(certificate_make(ca, ["x.example.com"]).current, HOST)
    assert "knows this CA" in browser_warning(certificate_make(ca_make("Ours"), [HOST]).current, HOST)
    assert "placeholder" in browser_warning(None, HOST)


def test_nobody_goes_back_to_a_version_that_locks_out_while_hsts_is_on(good: None) -> None:
    state_update(hsts=True, hsts_host=HOST)
    certificate = Binding.objects.get().certificate
    other = certificate_make(None, [HOST])
    older = other.versions.get()
    type(other).objects.filter(pk=other.pk).update(current=None)
    type(older).objects.filter(pk=older.pk).update(certificate=certificate)
    older.refresh_from_db()
    with pytest.raises(ConflictError, match="HSTS is on"):
        version_use(certificate, older, actor="test")
    state_update(hsts=False)
    version_use(certificate, older, actor="test")
