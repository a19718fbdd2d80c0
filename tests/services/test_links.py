import threading
from datetime import timedelta

import pytest
from django.db import connection

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import AuditEvent, OneTimeLink, PortalState, User
from certs.services import links
from portal import clock

GOOD = {"email": "ann@example.org", "password": "correct horse battery", "public_url": ""}


@pytest.mark.django_db
def test_the_token_itself_is_stored_nowhere():
    token = links.setup_link_make()
    row = OneTimeLink.objects.get()
    assert token not in str({field.name: getattr(row, field.name) for field in row._meta.fields})
    assert len(token) >= 43


@pytest.mark.django_db
def test_the_first_administrator_closes_set_up_for_good():
    token = links.setup_link_make()
    user = links.setup_link_use(token, **(GOOD | {"public_url": "https://portal.example.org:8443/"}))
    assert user.is_superuser
    assert user.check_password(GOOD["password"])
    assert PortalState.objects.get().public_url == "https://portal.example.org:8443"
    assert AuditEvent.objects.filter(action="setup.finish", actor=user).exists()
    assert not links.setup_is_open()
    assert not links.setup_link_valid(token)
    with pytest.raises(NotAllowed) as refused:
        links.setup_link_make()
    assert "changepassword" in refused.value.advice
    user.is_active = False
    user.save()
    assert not links.setup_is_open(), "a disabled administrator must not open it again"


@pytest.mark.django_db
def test_a_link_of_before_is_dead_once_somebody_else_made_an_administrator():
    token = links.setup_link_make()
    User.objects.create_superuser("bob@example.org", "pw")
    with pytest.raises(NotAllowed):
        links.setup_link_use(token, **GOOD)
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_a_newer_link_replaces_the_older():
    older, newer = links.setup_link_make(), links.setup_link_make()
    assert not links.setup_link_valid(older)
    assert links.setup_link_valid(newer)


@pytest.mark.django_db
def test_two_nodes_that_start_each_print_a_link_that_works_and_one_makes_the_administrator(settings):
    settings.NODE = "web-1"
    restarted, one = (links.setup_link_make(keep_others=True) for _ in range(2))
    settings.NODE = "web-2"
    other = links.setup_link_make(keep_others=True)
    assert [links.setup_link_valid(each) for each in (restarted, one, other)] == [False, True, True]
    links.setup_link_use(one, **GOOD)
    assert not links.setup_link_valid(other)
    with pytest.raises(NotAllowed):
        links.setup_link_use(other, **(GOOD | {"email": "eve@example.org"}))


@pytest.mark.django_db
def test_it_is_valid_for_an_hour(monkeypatch):
    token = links.setup_link_make()
    start = clock.now()
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(minutes=59))
    assert links.setup_link_valid(token)
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(minutes=61))
    assert not links.setup_link_valid(token)
    with pytest.raises(NotAllowed):
        links.setup_link_use(token, **GOOD)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"email": "not an address"}, InputError),
        ({"email": ""}, InputError),
        ({"password": "short"}, InputError),
        ({"password": "1234567890123"}, InputError),
        ({"password": "ann@example.org"}, InputError),
        ({"public_url": "portal.example.org"}, InputError),
        ({"public_url": "https://portal.example.org/path"}, InputError),
        ({"public_url": "javascript:alert(1)"}, InputError),
        ({"public_url": "https://portal.example.org:99999"}, InputError),
        ({"public_url": "https://"}, InputError),
    ],
)
def test_bad_input_stores_nothing_and_leaves_the_link_usable(wrong, error):
    token = links.setup_link_make()
    with pytest.raises(error):
        links.setup_link_use(token, **(GOOD | wrong))
    assert not User.objects.exists()
    assert links.setup_link_valid(token)
    assert links.setup_link_use(token, **GOOD).email == GOOD["email"]


@pytest.mark.django_db
def test_an_e_mail_in_use_is_refused_whatever_its_case():
    User.objects.create_user("ann@example.org", "pw")
    with pytest.raises(ConflictError):
        links.setup_link_use(links.setup_link_make(), **(GOOD | {"email": "Ann@Example.org"}))


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_clicks_at_once_exactly_one_makes_an_administrator():
    token = links.setup_link_make()
    outcomes: list[str] = []

    def click(number: int) -> None:
        try:
            links.setup_link_use(token, **(GOOD | {"email": f"user{number}@example.org"}))
            outcomes.append("made")
        except NotAllowed:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=click, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", *["refused"] * 5]
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_a_session_link_works_once_and_for_five_minutes(monkeypatch):
    user = User.objects.create_user("ann@example.org", "pw")
    token = links.session_link_make(user, "/configuration/bindings/?from=old")
    link = links.session_link_use(token)
    assert (link.user, link.target) == (user, "/configuration/bindings/?from=old")
    with pytest.raises(NotAllowed):
        links.session_link_use(token)
    late = links.session_link_make(user, "/")
    start = clock.now()
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(minutes=5, seconds=1))
    with pytest.raises(NotAllowed):
        links.session_link_use(late)


@pytest.mark.django_db
def test_a_session_link_does_not_let_a_disabled_user_in():
    user = User.objects.create_user("ann@example.org", "pw")
    token = links.session_link_make(user, "/")
    User.objects.update(is_active=False)
    with pytest.raises(NotAllowed):
        links.session_link_use(token)


@pytest.mark.django_db
def test_a_set_up_link_is_no_session_link_and_the_other_way_round():
    user = User.objects.create_user("ann@example.org", "pw")
    with pytest.raises(NotAllowed):
        links.session_link_use(links.setup_link_make())
    assert not links.setup_link_valid(links.session_link_make(user, "/"))


@pytest.mark.django_db
@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "", "home", "/\\evil.example", "/a\nb"])
def test_a_session_link_leads_nowhere_else(target):
    user = User.objects.create_user("ann@example.org", "pw")
    with pytest.raises(InputError):
        links.session_link_make(user, target)
