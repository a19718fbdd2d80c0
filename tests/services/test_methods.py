"""Challenge methods: typed once, secrets write-only, deleted only when nothing needs them."""

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.options import OptionRefused
from certs.models import AuditEvent, Certificate, Challenge, ChallengeMethod, User
from certs.services.deletion import certificate_delete
from certs.services.issue_options import IssueOptions
from certs.services.methods import (
    method_certificates,
    method_create,
    method_delete,
    method_find,
    method_shown,
    method_solver,
    method_update,
)
from certs.services.orders import order_create
from certs.solvers.base import Site
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
TSIG = {"server": "192.0.2.1", "key": "k", "secret": SECRET, "ttl": "90"}


def rfc2136(name: str = "Own DNS", **given: Any) -> ChallengeMethod:
    return method_create(kind="dns01_rfc2136", name=name, given={**TSIG, **given}, actor="test")


def provider(name: str = "Cloud", **given: Any) -> ChallengeMethod:
    given = {"provider": "powerdns", "auth_token": "token-of-powerdns", "pdns_server": "http://192.0.2.1", **given}
    return method_create(kind="dns01_provider", name=name, given=given, actor="test")


def used_by(method: ChallengeMethod, *names: str) -> Certificate:
    from certs.services.certificates import certificate_new

    return certificate_new(
        name="", names=names, account=stock.account(), actor="test", options=IssueOptions(challenge_method=method)
    )


def everything_stored() -> str:
    rows = [*ChallengeMethod.objects.values(), *AuditEvent.objects.values()]
    return json.dumps(rows, default=str)


def test_what_was_typed_comes_back_to_the_solver_and_the_secret_nowhere_else() -> None:
    method = rfc2136()
    method.refresh_from_db()
    solver = method_solver(method)
    assert (solver.options.server, solver.options.secret, solver.options.ttl) == ("192.0.2.1", SECRET, 90)
    assert SECRET not in everything_stored()
    assert method_shown(method)["secrets"] == ["secret"]


def test_the_solver_learns_of_the_portal_around_it(tmp_path: Path) -> None:
    assert method_solver(rfc2136()).site.home != Path()
    assert method_solver(rfc2136("Two"), Site(home=tmp_path)).site.home == tmp_path


def test_a_secret_left_empty_is_kept_and_one_typed_replaces_it() -> None:
    method = rfc2136()
    method_update(method, actor="test", given={**TSIG, "secret": "", "server": "192.0.2.2"})
    method.refresh_from_db()
    assert method_solver(method).options.secret == SECRET
    assert method_solver(method).options.server == "192.0.2.2"
    method_update(method, actor="test", given={**TSIG, "secret": "b3RoZXI="})
    method.refresh_from_db()
    assert method_solver(method).options.secret == "b3RoZXI="
    event = AuditEvent.objects.filter(action="challenge-method.update").latest("pk")
    assert event.after["secrets_set"] == ["secret"]
    assert "b3RoZXI" not in everything_stored()


def test_a_secret_can_be_forgotten() -> None:
    method = rfc2136()
    method_update(method, actor="test", given={**TSIG, "secret": "", "key": ""}, forget=["secret"])
    method.refresh_from_db()
    assert method.sealed == ""
    assert method_shown(method)["secrets"] == []


def test_a_secret_is_never_handed_on_to_another_provider() -> None:
    method = provider()
    method_update(method, actor="test", given={"provider": "cloudflare", "auth_token": ""})
    method.refresh_from_db()
    solver = method_solver(method)
    assert (solver.options.provider, solver.options.auth_token) == ("cloudflare", "")
    assert "pdns_server" not in method.options


def test_the_provider_stays_while_an_answer_stands_there() -> None:
    """The next one would find nothing to take away, and the record would be forgotten."""
    method = provider()
    order = order_create(used_by(method, "a.example"), reason="test", actor="test")
    answer = Challenge.objects.create(token="t", order=order, name="a.example", type="dns-01", method=method)
    other = {"provider": "digitalocean", "auth_token": "token-of-digitalocean"}
    answer.presented_at = clock.now()
    answer.save()
    with pytest.raises(ConflictError, match="still needed to take away its answer for a"):
        method_update(method, given=other, actor="test")
    method.refresh_from_db()
    assert method.options["provider"] == "powerdns"
    method_update(method, given={"provider": "powerdns", "pdns_server": "http://192.0.2.9"}, actor="test")
    answer.presented_at = None  # it was never put in place: whoever chose the wrong one can mend that
    answer.save()
    method_update(method, given=other, actor="test")


@pytest.mark.parametrize(
    ("kind", "given", "changes"),
    [
        ("dns01_rfc2136", TSIG, ({"server": "192.0.2.9"}, {"ttl": "120"})),
        ("dns01_rfc2136", TSIG, ({"port": "5353"}, {"timeout": "5"})),
        ("http01_webroot", {"webroot": "one"}, ({"webroot": "two"}, {})),
        ("dns01_hook", {"script": "one.sh"}, ({"script": "two.sh"}, {"timeout": "20"})),
        ("dns01_hook", {"script": "one.sh"}, ({"clean_script": "two.sh"}, {"ttl": "90"})),
    ],
)
def test_a_place_stays_while_an_answer_stands_there(
    settings: Settings, tmp_path: Path, kind: str, given: Any, changes: Any
) -> None:
    """At the next one there would be nothing to take away, and what stands here would be forgotten."""
    place, beside = changes
    settings.HOOKS_DIR = tmp_path
    tmp_path.chmod(0o755)
    for name in ("one.sh", "two.sh"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    def full(values: dict[str, str]) -> dict[str, str]:
        paths = {"webroot", "script", "clean_script"}
        return {name: str(tmp_path / value) if name in paths else value for name, value in values.items()}

    method = method_create(kind=kind, name="It", given=full(given), actor="test")
    order = order_create(used_by(method, "a.example"), reason="test", actor="test")
    answer = Challenge.objects.create(
        token="t", order=order, name="a.example", type="dns-01", method=method, presented_at=clock.now()
    )
    before = dict(method.options)
    with pytest.raises(ConflictError, match=r"still needed to take away its answer for a\.example") as caught:
        method_update(method, given=full({**given, **place}), actor="test")
    assert "make another method" in caught.value.advice
    method.refresh_from_db()
    assert method.options == before
    method_update(method, given=full({**given, **beside}), name="Another name", actor="test")
    answer.delete()
    method_update(method, given=full({**given, **place}), actor="test")
    assert method.options != before


def test_a_change_of_another_parameter_keeps_the_providers_secret() -> None:
    method = provider()
    given = {"provider": "powerdns", "auth_token": "", "pdns_server": "http://192.0.2.9"}
    method_update(method, actor="test", given=given)
    method.refresh_from_db()
    assert method_solver(method).options.auth_token == "token-of-powerdns"


def test_a_change_says_which_certificates_it_affects() -> None:
    method = rfc2136()
    used_by(method, "b.example")
    used_by(method, "a.example", "*.a.example")
    certificate_delete(used_by(method, "gone.example"), actor="test")
    assert [row.name for row in method_update(method, actor="test", name="Renamed")] == ["a.example", "b.example"]
    assert ChallengeMethod.objects.get().name == "Renamed"


def test_one_that_is_used_is_not_deleted_and_its_users_are_named() -> None:
    method = rfc2136()
    for number in range(7):
        used_by(method, f"n{number}.example")
    with pytest.raises(ConflictError) as refusal:
        method_delete(method, actor="test")
    assert "n0.example, n1.example, n2.example, n3.example, n4.example and 2 more" in refusal.value.message
    assert ChallengeMethod.objects.exists()


def test_one_whose_record_still_stands_is_not_deleted() -> None:
    method = rfc2136()
    order = order_create(used_by(method, "a.example"), reason="asked", actor="test")
    Challenge.objects.create(token="t", order=order, name="a.example", key_authorization="t.x", method=method)
    Certificate.objects.update(challenge_method=None)
    with pytest.raises(ConflictError, match=r"a\.example"):
        method_delete(method, actor="test")
    Challenge.objects.all().delete()
    trial = {"name": "b.example", "left": [], "ended": False}
    ChallengeMethod.objects.update(trial=trial, trial_at=clock.now())
    method.refresh_from_db()
    with pytest.raises(ConflictError, match=r"b\.example"):
        method_delete(method, actor="test")


def test_a_credential_that_is_lost_for_good_does_not_hold_it_for_ever() -> None:
    method = rfc2136()
    order = order_create(used_by(method, "a.example"), reason="asked", actor="test")
    row = Challenge.objects.create(token="t", order=order, name="a.example", key_authorization="t.x", method=method)
    Certificate.objects.update(challenge_method=None)
    Challenge.objects.filter(pk=row.pk).update(clean_tries=10, clean_at=clock.now())
    method_delete(method, actor="test")
    event = AuditEvent.objects.get(action="challenge-method.delete")
    assert event.after == {"left behind for": ["a.example"]}


def test_a_deleted_certificate_does_not_hold_it() -> None:
    method = rfc2136()
    certificate_delete(used_by(method, "gone.example"), actor="test")
    method_delete(method, actor="test")
    assert not ChallengeMethod.objects.exists()
    assert AuditEvent.objects.filter(action="challenge-method.delete", target="Own DNS").exists()


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x07b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        rfc2136(name)
    assert refusal.value.code == "name"


def test_a_name_is_given_once_whatever_its_case() -> None:
    rfc2136("Own DNS")
    with pytest.raises(ConflictError):
        rfc2136("  own   dns ")
    other = rfc2136("Other")
    with pytest.raises(ConflictError):
        method_update(other, actor="test", name="Own DNS")
    method_update(other, actor="test", name="OTHER")


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("dns01_rfc2136", {}, "server"),
        ("dns01_rfc2136", {"server": "x", "key": "k"}, "secret"),
        ("dns01_rfc2136", {"server": "x", "typo": "1"}, "typo"),
        ("http01_webroot", {"webroot": "relative"}, "webroot"),
        ("dns01_provider", {"provider": "none-such"}, "provider"),
        ("dns01_hook", {"script": "relative"}, "script"),
    ],
)
def test_what_the_solver_cannot_use_is_refused_before_it_is_stored(
    kind: str, given: dict[str, str], field: str
) -> None:
    with pytest.raises(OptionRefused) as refusal:
        method_create(kind=kind, name="x", given=given, actor="test")
    assert refusal.value.field == field
    assert not ChallengeMethod.objects.exists()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="no challenge of the kind"):
        method_create(kind="base", name="x", given={}, actor="test")


def test_a_refused_change_leaves_everything_as_it_was() -> None:
    method = rfc2136()
    with pytest.raises(OptionRefused):
        method_update(method, actor="test", name="New", given={**TSIG, "port": "0"})
    method.refresh_from_db()
    assert method.name == "Own DNS"
    assert method_solver(method).options.port == 53


def test_only_an_administrator_says_what_runs_on_the_server() -> None:
    bob = User.objects.create_user("bob@example.com", "a long pass phrase")
    with pytest.raises(NotAllowed):
        method_create(kind="dns01_hook", name="x", given={"script": "/x"}, actor=bob)
    hook = method_create(kind="dns01_hook", name="x", given={"script": "/x"}, actor=stock.administrator())
    with pytest.raises(NotAllowed):
        method_update(hook, actor=bob, given={"script": "/y"})


def test_it_is_found_by_name_and_by_id() -> None:
    method = rfc2136()
    assert method_find("Own DNS") == method_find(str(method.pk)) == method
    with pytest.raises(InputError, match="There are: Own DNS"):
        method_find("none")
    assert method_certificates(method) == []
