"""TLS in front: the setting, its trial, what returns, and who may keep it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from certs.domain.alarms import Level, Trouble
from certs.domain.diagnosis import Look as Check
from certs.domain.diagnosis import Situation
from certs.domain.errors import ConflictError, InputError, NotAllowed, Unavailable
from certs.models import AuditEvent
from certs.services import front_check
from certs.services.alarm_front import front_troubles
from certs.services.alarm_watch import alarms_sweep
from certs.services.alarms import alarms_open
from certs.services.arrivals import Arrival
from certs.services.bindings import binding_set
from certs.services.diagnosis.front import front_serves as front_line
from certs.services.diagnosis.front import tls_in_front
from certs.services.front import front_change, front_given, front_on_trial, front_read, front_return, front_tidy
from certs.services.front_check import front_look, front_seen, front_serves, front_shown
from certs.services.front_notices import notice_add
from certs.services.front_trial import front_confirm
from certs.services.https import force_ssl_enable, hsts_advance, hsts_enable, hsts_standing, policy_read
from certs.services.keys import key_import
from certs.services.portal_state import state_get, state_update
from certs.services.reachability import ReachResult
from certs.services.versions import version_add
from certs.transports.front import Look
from portal import clock
from tests.harness import pki
from tests.standing import HOST, URL, ca_make, certificate_bound, certificate_make, clock_move, stand

pytestmark = pytest.mark.django_db
THROUGH = Arrival(True, HOST)
PROXY = "10.0.0.7"


@pytest.fixture(autouse=True)
def standing(settings: Settings, tmp_path: Path) -> None:
    settings.TEST_CLOCK_FILE = tmp_path / "clock"
    stand()


def on(*proxies: str, trial: bool = True) -> bool:
    return front_change(on=True, proxies=proxies or [PROXY], actor="test", trial=trial)


def off(*, trial: bool = True) -> bool:
    return front_change(on=False, proxies=[PROXY], actor="test", trial=trial)


def late() -> None:
    clock_move(minutes=6)


class TestTheTrial:
    def test_it_holds_at_once_and_returns_by_the_clock_alone(self) -> None:
        assert on()
        assert front_read().trusts(PROXY)
        late()
        assert not front_read().on
        assert not front_read().trusts(PROXY)
        front_tidy()
        state = state_get()
        assert (state.tls_in_front, state.front_before, state.front_confirm_by) == (False, None, None)
        assert AuditEvent.objects.filter(action="front.returned").count() == 1

    def test_who_came_through_the_front_may_keep_it(self) -> None:
        on()
        front_confirm(THROUGH, through=True, actor="test")
        late()
        assert front_read().on

    @pytest.mark.parametrize(
        ("arrival", "through"),
        [
            (THROUGH, False),
            (Arrival(False, HOST), True),
            (Arrival(True, "other.example.com"), True),
            (Arrival(True, f"{HOST}:8443"), True),
        ],
    )
    def test_nobody_else_may(self, arrival: Arrival, through: bool) -> None:
        on()
        with pytest.raises(NotAllowed):
            front_confirm(arrival, through=through, actor="test")
        late()
        assert not front_read().on

    def test_not_when_it_is_too_late_nor_without_a_trial(self) -> None:
        with pytest.raises(NotAllowed, match="nothing to confirm"):
            front_confirm(THROUGH, through=True, actor="test")
        on()
        late()
        with pytest.raises(NotAllowed, match="nothing to confirm"):
            front_confirm(THROUGH, through=True, actor="test")

    def test_without_a_public_url_the_one_that_was_used_becomes_it(self) -> None:
        state_update(public_url="")
        on()
        front_confirm(THROUGH, through=True, actor="test")
        assert state_get().public_url == URL

    def test_switching_off_is_on_trial_too_and_the_proxy_is_believed_again(self) -> None:
        on(trial=False)
        off()
        assert not front_read().on
        late()
        assert front_read().trusts(PROXY)

    def test_switching_off_for_good_needs_the_public_url_where_force_ssl_leads_there(self) -> None:
        on(trial=False)
        force_ssl_enable(THROUGH, actor="test")
        off()
        with pytest.raises(NotAllowed, match="only from"):
            front_confirm(Arrival(False, "127.0.0.1:8000"), through=False, actor="test")
        front_confirm(THROUGH, through=False, actor="test")
        assert not front_read().on

    def test_switching_off_for_good_from_anywhere_where_nothing_redirects(self) -> None:
        on(trial=False)
        off()
        front_confirm(Arrival(False, "127.0.0.1:8000"), through=False, actor="test")
        late()
        assert not front_read().on

    def test_a_change_within_a_trial_returns_to_what_was_kept_before_it(self) -> None:
        on(trial=False)
        on(PROXY, "10.0.0.8")
        on("10.0.0.9")
        assert front_read().shown == ["10.0.0.9"]
        late()
        assert front_read().shown == [PROXY]

    def test_going_back_by_hand_ends_the_trial(self) -> None:
        on()
        front_change(on=False, proxies=[], actor="test")
        assert not front_on_trial(state_get())
        assert not front_read().on


class TestTheSetting:
    def test_what_is_so_already_changes_nothing(self) -> None:
        assert not off() or not front_read().on
        on(trial=False)
        assert not on()
        assert not front_on_trial(state_get())

    def test_on_without_a_proxy_is_refused(self) -> None:
        with pytest.raises(InputError, match="No proxy is listed"):
            front_change(on=True, proxies=["", " "], actor="test")

    @pytest.mark.parametrize("bad", ["0.0.0.0/0", "proxy.example.com", "10.0.0.5/8"])
    def test_bad_networks_are_refused_and_nothing_is_stored(self, bad: str) -> None:
        with pytest.raises(InputError) as caught:
            on(PROXY, bad)
        assert caught.value.code == "proxies"
        assert front_read().listed == ()

    def test_the_environment_wins_and_locks(self, settings: Settings) -> None:
        settings.TLS_IN_FRONT_LOCKED = settings.TLS_IN_FRONT = True
        settings.TRUSTED_PROXIES_LOCKED = True
        settings.TRUSTED_PROXIES = [PROXY]
        assert front_read().trusts(PROXY)
        with pytest.raises(ConflictError, match="BINDERY_TLS_IN_FRONT"):
            off()
        with pytest.raises(ConflictError, match="BINDERY_TRUSTED_PROXIES"):
            on("10.0.0.8")

    def test_what_the_environment_says_is_written_down_at_the_start(self, settings: Settings) -> None:
        front_given()
        assert not AuditEvent.objects.exists()
        settings.TLS_IN_FRONT_LOCKED = settings.TLS_IN_FRONT = True
        settings.TRUSTED_PROXIES_LOCKED = True
        settings.TRUSTED_PROXIES = [PROXY]
        front_given()
        front_given()
        state = state_get()
        assert (state.tls_in_front, state.trusted_proxies) == (True, [PROXY])
        assert AuditEvent.objects.filter(action="front.change").count() == 1

    def test_from_the_shell_it_is_off_and_the_list_is_kept(self) -> None:
        on(trial=False)
        on("10.0.0.9")
        front_return(actor="command line")
        assert not front_read().on
        late()
        assert not front_read().on


Show = Callable[..., None]


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> Show:
    """What the public URL shows at the next look; a sentence: that it cannot be reached."""

    def stub(
        pair: pki.Pair | str, *, distrust: str = "", hsts: tuple[str, ...] = (), status: int = 200, body: str = ""
    ) -> None:
        def look(host: str, port: int, path: str, roots: Path) -> Look:
            if isinstance(pair, str):
                raise Unavailable(pair)
            answer = body or front_check.probe_answer(path.rpartition("/")[2]) or ""
            return Look(pair.certificate, distrust, status, answer, hsts)

        monkeypatch.setattr(front_check, "look", look)
        monkeypatch.setattr("certs.services.https.reach_probe_all", lambda names: [ReachResult(names[0], "ok", "", "")])

    return stub


CA = pki.authority("A Public Root")


class TestTheLook:
    def test_what_the_front_serves_of_its_own(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        seen = front_look()
        assert seen is not None
        assert seen.reaches
        assert (front_shown(seen).kind, seen.names) == ("ok", (HOST,))
        assert "of its own" in front_shown(seen).words
        assert front_seen() == seen

    @pytest.mark.parametrize(
        ("name", "days", "kind", "words"),
        [
            ("other.example.com", 90, "danger", "not for portal.example.com"),
            (HOST, 0.001, "danger", "expired"),
            (HOST, 90, "warning", "unable to get local issuer"),
        ],
    )
    def test_what_browsers_refuse(self, shows: Show, name: str, days: float, kind: str, words: str) -> None:
        leaf = pki.leaf(CA, [name], days=days, start=datetime.now(UTC) - timedelta(hours=1))
        shows(leaf, distrust="unable to get local issuer certificate")
        found = front_shown(front_look())
        assert found.kind == kind
        assert words in found.words

    def test_what_cannot_be_reached_is_neither_good_nor_bad_and_forgets_nothing(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        front_look()
        shows("portal.example.com:443 cannot be reached")
        seen = front_look()
        assert seen is not None
        assert front_shown(seen).kind == "unknown"
        assert front_shown(seen).words.startswith("could not check")
        assert (seen.names, seen.reaches) == ((HOST,), True)

    def test_a_look_at_another_public_url_is_no_look_at_this_one(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        front_look()
        state_update(public_url="https://portal.example.org")
        assert front_seen() is None
        state_update(public_url="http://portal.example.org")
        assert front_look() is None

    def test_whether_it_is_ours_and_which(self, shows: Show) -> None:
        certificate = certificate_make(ca_make(), [HOST])
        assert certificate.current is not None
        version = certificate.current
        shows(pki.leaf(CA, [HOST]))
        assert "serves another certificate" in front_serves(front_look(), certificate).words
        version.fingerprint_sha256 = front_seen().fingerprint  # type: ignore[union-attr]
        version.save()
        assert front_serves(front_look(), certificate).kind == "ok"
        certificate.current = None
        certificate.save()
        assert "earlier version" in front_serves(front_look(), certificate).words


class TestHsts:
    @pytest.fixture(autouse=True)
    def behind(self, standing: None) -> None:
        on(trial=False)

    def test_it_is_judged_on_what_the_front_serves(self, shows: Show) -> None:
        certificate_bound(None, [HOST])  # self-signed, on the portal's own listener: nobody meets it
        shows(pki.leaf(CA, [HOST]))
        hsts_enable(THROUGH, actor="test")
        assert policy_read().hsts_header == "max-age=300"

    @pytest.mark.parametrize(
        ("distrust", "days", "words"),
        [("certificate has expired", 0.001, "expired on"), ("Hostname mismatch", 90, "not for")],
    )
    def test_not_where_browsers_refuse_that(self, shows: Show, distrust: str, days: float, words: str) -> None:
        names = ["other.example.com"] if days == 90 else [HOST]
        shows(pki.leaf(CA, names, days=days, start=datetime.now(UTC) - timedelta(hours=1)), distrust=distrust)
        with pytest.raises(NotAllowed, match=words):
            hsts_enable(THROUGH, actor="test", typed_host=HOST)

    def test_two_headers_never_contradict_each_other(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        hsts_enable(THROUGH, actor="test")
        shows(pki.leaf(CA, [HOST]), hsts=("max-age=63072000",))
        front_look()
        assert policy_read().hsts_header == ""
        assert any("of its own (max-age=63072000)" in one for one in hsts_standing().blocking)
        shows(pki.leaf(CA, [HOST]))
        front_look()
        assert policy_read().hsts_header == "max-age=300"

    def test_a_private_ca_lasts_a_day_after_typing_the_host(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]), distrust="unable to get local issuer certificate")
        with pytest.raises(InputError, match=f"Type {HOST}"):
            hsts_enable(THROUGH, actor="test")
        hsts_enable(THROUGH, typed_host=HOST, actor="test")
        assert state_get().hsts_limit == 2

    def test_nothing_is_sent_before_anybody_has_looked(self) -> None:
        state_update(hsts=True, hsts_host=HOST)
        assert policy_read().hsts_header == ""
        assert any("could not be checked" in one for one in hsts_standing().blocking)
        assert not any("placeholder" in one for one in hsts_standing().blocking)

    def test_a_look_that_fails_counts_neither_way_and_one_that_leads_elsewhere_does(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        hsts_enable(THROUGH, actor="test")
        since = state_get().hsts_step_since
        shows("not reached")
        front_look()
        hsts_advance()
        assert state_get().hsts_step_since == since
        assert policy_read().hsts_header == "max-age=300"
        shows(pki.leaf(CA, [HOST]), status=404, body="nobody")
        front_look()
        hsts_advance()
        assert state_get().hsts_step_since is None

    def test_bindings_may_change_since_no_browser_meets_them(self, shows: Show) -> None:
        shows(pki.leaf(CA, [HOST]))
        hsts_enable(THROUGH, actor="test")
        binding_set("", certificate_make(None, ["other.example.com"]), actor="test")


class TestAlarms:
    @staticmethod
    def _told(moment: datetime | None = None) -> list[Trouble]:
        return list(front_troubles(moment or clock.now()))

    def test_a_renewal_that_the_front_does_not_serve_is_told_after_an_hour(self, shows: Show) -> None:
        on(trial=False)
        certificate = certificate_make(ca_make(), [HOST])
        shows(pki.leaf(CA, [HOST]))
        front_look()
        first = certificate.current
        assert first is not None
        first.fingerprint_sha256 = front_seen().fingerprint  # type: ignore[union-attr]
        first.save()
        assert self._told() == []
        key = pki.leaf(CA, [HOST])
        version_add(certificate, leaf=key.certificate, chain=[], key=key_import(key.key))  # type: ignore[arg-type]
        front_look()
        assert self._told() == []  # the front has its time to take it over
        (told,) = self._told(clock.now() + timedelta(hours=2))
        assert (told.subject, told.level) == (f"{HOST}: the front serves an earlier certificate", Level.WARNING)

    def test_the_end_of_a_certificate_of_its_own_is_told_in_time(self, shows: Show) -> None:
        on(trial=False)
        shows(pki.leaf(CA, [HOST], days=90))
        front_look()
        assert self._told() == []
        (told,) = self._told(clock.now() + timedelta(days=85))
        assert (told.subject, told.level) == (f"{HOST}: the front's certificate ends", Level.WARNING)
        assert "the portal does not renew it" in told.happened
        alarms_sweep()
        assert not alarms_open().exists()
        off(trial=False)
        assert self._told(clock.now() + timedelta(days=85)) == []

    def test_it_is_an_alarm_until_it_is_well(self, shows: Show) -> None:
        on(trial=False)
        shows(pki.leaf(CA, [HOST], days=0.01, start=datetime.now(UTC) - timedelta(hours=1)))
        front_look()
        alarms_sweep()
        assert [alarm.key for alarm in alarms_open()] == ["front"]
        shows("cannot be reached")
        front_look()
        alarms_sweep()
        assert alarms_open().count() == 1
        shows(pki.leaf(CA, [HOST]))
        front_look()
        alarms_sweep()
        assert not alarms_open().exists()


class TestDiagnosis:
    @staticmethod
    def _lines(check: Check) -> list[tuple[str, str]]:
        situation = Situation("node", Path("/"), 10)
        return [(line.state.value, line.sentence) for line in check(situation)]

    def test_a_line_for_each_standing(self, shows: Show) -> None:
        assert self._lines(tls_in_front) == [("ok", "TLS ends in the portal itself: no proxy is believed.")]
        notice_add(PROXY, ["X-Forwarded-Proto"])
        ((state, sentence),) = self._lines(tls_in_front)
        assert (state, PROXY in sentence) == ("note", True)
        on()
        assert self._lines(tls_in_front)[0][0] == "note"
        front_confirm(THROUGH, through=True, actor="test")
        assert self._lines(tls_in_front)[0][0] == "ok"
        state_update(front_silent_at=clock.now())
        assert self._lines(tls_in_front)[0][0] == "bad"

    def test_what_is_served(self, shows: Show) -> None:
        assert self._lines(front_line) == []
        on(trial=False)
        shows(pki.leaf(CA, [HOST]))
        assert self._lines(front_line)[0][0] == "ok"
        shows(pki.leaf(CA, [HOST]), status=404, body="other")
        assert [state for state, _ in self._lines(front_line)] == ["ok", "bad"]
        shows("cannot be reached")
        assert self._lines(front_line)[0][0] == "unknown"
