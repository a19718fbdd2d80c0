"""API tokens: one secret, kept as a digest; refused with a code once they are over."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.models import Alarm, ApiToken, Organization, User
from certs.services.access import TokenActor
from certs.services.alarm_watch import alarms_sweep
from certs.services.tokens import token_authenticate, token_create, token_revoke
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db
DAY = 86_400


def test_only_a_digest_is_kept() -> None:
    token, secret = token_create("backup", "viewer", actor="test")
    assert re.fullmatch(r"bnd_[A-Za-z0-9_-]{43}[0-9a-f]{8}", secret)
    assert token.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret.startswith(token.hint)
    assert len(token.hint) == 10
    assert token_create("other", "viewer", actor="test")[1] != secret


def test_it_is_found_by_its_secret_alone() -> None:
    token, secret = token_create("backup", "viewer", actor="test")
    assert token_authenticate(secret, "192.0.2.1") == TokenActor(token)
    for wrong in ("", secret[:-1], secret.upper(), f"{secret} ", token.digest, token.hint, "bnd_", "\0", "\ud800"):
        with pytest.raises(NotAllowed) as caught:
            token_authenticate(wrong)
        assert caught.value.code == "token-unknown"


def test_one_that_is_over_says_why(move_clock: Callable[[float], None]) -> None:
    owner = stock.administrator()
    stock.administrator("other@example.com")
    made = {name: token_create(name, "viewer", days=1, actor=owner) for name in ("revoked", "expired", "owner")}
    token_revoke(made["revoked"][0], actor=owner)
    User.objects.filter(pk=owner.pk).update(is_active=False)

    def code(name: str) -> str:
        with pytest.raises(NotAllowed) as caught:
            token_authenticate(made[name][1])
        return caught.value.code

    assert (code("revoked"), code("owner")) == ("token-revoked", "token-owner")
    move_clock(DAY + 1)
    assert code("expired") == "token-expired"
    assert not ApiToken.objects.exclude(last_used_at=None).exists()


def test_the_last_use_is_written_once_a_minute(move_clock: Callable[[float], None]) -> None:
    token, secret = token_create("busy", "viewer", actor="test")

    def used(address: str) -> int:
        with CaptureQueriesContext(connection) as caught:
            token_authenticate(secret, address)
        token.refresh_from_db()
        return sum(query["sql"].startswith("UPDATE") for query in caught)

    assert used("192.0.2.1") == 1
    first = token.last_used_at
    assert used("192.0.2.2") == 0
    assert (token.last_used_from, token.last_used_at) == ("192.0.2.1", first)
    move_clock(61)
    assert used("2001:db8::1") == 1
    assert token.last_used_from == "2001:db8::1"
    move_clock(-3600)  # the clock was set right
    assert used("192.0.2.3") == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": " "}, InputError),
        ({"name": "x" * 121}, InputError),
        ({"name": "a\x07b"}, InputError),
        ({"role": "king"}, InputError),
        ({"days": 0}, InputError),
        ({"days": 4000}, InputError),
        ({"tags": [""]}, InputError),
        ({"tags": ["x" * 101]}, InputError),
        ({"tags": [str(number) for number in range(21)]}, InputError),
        ({"name": "taken"}, ConflictError),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], error: type[BinderyError]) -> None:
    token_create("taken", "viewer", actor="test")
    with pytest.raises(error):
        token_create(**{"name": "x", "role": "viewer", "actor": "test", **fields})  # type: ignore[arg-type]  # as typed
    assert ApiToken.objects.count() == 1


def test_a_name_is_free_again_once_its_token_is_revoked() -> None:
    token, _ = token_create("backup", "viewer", actor="test")
    token_revoke(token, actor="test")
    token_revoke(token, actor="test")
    assert token_create("backup", "viewer", actor="test")[0].pk != token.pk


def test_a_token_makes_no_other_unless_it_administers_all() -> None:
    elsewhere = Organization.objects.create(name="Elsewhere")
    for role, fields in (("operator", {}), ("admin", {"organization": elsewhere}), ("admin", {"tags": ["x"]})):
        made, _ = token_create(f"{role} {fields}", role, actor="test", **fields)  # type: ignore[arg-type]  # a table
        with pytest.raises(NotAllowed):
            token_create("child", "viewer", actor=TokenActor(made))
    made, _ = token_create("root", "admin", actor="test")
    assert token_create("child", "admin", actor=TokenActor(made))[0].owner is None


def test_who_may_revoke_which() -> None:
    alice, bob = stock.administrator(), User.objects.create_user("bob@example.com", "x")
    hers, _ = token_create("hers", "viewer", actor=alice)
    his, _ = token_create("his", "viewer", actor=bob)
    machine, _ = token_create("machine", "operator", actor="test")
    for one in (hers, machine):
        with pytest.raises(NotAllowed):
            token_revoke(one, actor=bob)
    with pytest.raises(NotAllowed):
        token_revoke(hers, actor=TokenActor(machine))
    token_revoke(machine, actor=TokenActor(machine))  # it was leaked, and says so itself
    token_revoke(his, actor=alice)
    assert not ApiToken.objects.filter(pk__in=[his.pk, machine.pk], revoked_at=None).exists()


def test_an_end_that_comes_near_is_told(move_clock: Callable[[float], None]) -> None:
    token, secret = token_create("backup", "viewer", days=30, actor="test")
    token_create("for ever", "viewer", actor="test")
    alarms_sweep()
    assert not Alarm.objects.exists()
    move_clock(24 * DAY)
    alarms_sweep()
    assert "API token backup: expires soon" in Alarm.objects.get(cleared_at=None).subject
    token_authenticate(secret)
    move_clock(31 * DAY)
    alarms_sweep()
    assert {row.subject for row in Alarm.objects.filter(cleared_at=None)} >= {"API token backup: expired"}
    token_revoke(token, actor="test")
    alarms_sweep()
    assert not Alarm.objects.filter(cleared_at=None, key__startswith="token:").exists()
    assert token.expires_at is not None
    assert token.expires_at - clock.now() < timedelta(0)
