"""What each role may, and where: tables."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.roles import EVERYTHING, NOBODY, WIDE, Access, Place, Right, Role, Scope, role_needed

A, B, WEB, MAIL = (UUID(int=number) for number in range(1, 5))
READ, CHANGE, SETTING = Right.READ, Right.CERTIFICATE_CHANGE, Right.SETTING


@pytest.mark.parametrize(
    ("scope", "place", "held"),
    [
        (Scope(Role.VIEWER), Place(A), True),
        (Scope(Role.VIEWER, A), Place(A), True),
        (Scope(Role.VIEWER, A), Place(A, WEB), True),
        (Scope(Role.VIEWER, A), Place(B), False),
        (Scope(Role.VIEWER, A), Place(None), False),
        (Scope(Role.VIEWER, A, WEB), Place(A, WEB), True),
        (Scope(Role.VIEWER, A, WEB), Place(A, MAIL), False),
        (Scope(Role.VIEWER, A, WEB), Place(A), False),
        (Scope(Role.VIEWER, tags=frozenset({"x"})), Place(A, tags=frozenset({"x", "y"})), True),
        (Scope(Role.VIEWER, tags=frozenset({"x"})), Place(A, tags=frozenset({"y"})), False),
        (Scope(Role.VIEWER, tags=frozenset({"x"})), Place(A), False),
        (Scope(Role.VIEWER, A, WEB), Place(A, shared=True), True),
        (Scope(Role.VIEWER, A, WEB), Place(B, shared=True), False),
    ],
)
def test_where_a_role_is_held(scope: Scope, place: Place, held: bool) -> None:
    assert Access(((scope,),)).may(READ, place) is held


def test_what_serves_all_is_read_by_all_and_changed_by_few() -> None:
    account = Place(A, shared=True)
    part = Access(((Scope(Role.ADMIN, A, WEB),),))
    assert part.may(READ, account)
    assert not part.may(Right.ACCOUNT, account)
    assert Access(((Scope(Role.ADMIN, A),),)).may(Right.ACCOUNT, account)


@pytest.mark.parametrize("right", sorted(WIDE))
def test_the_portal_as_a_whole_is_for_who_administers_all(right: Right) -> None:
    assert Access(((Scope(Role.ADMIN),),)).may(right)
    for scope in (Scope(Role.ADMIN, A), Scope(Role.ADMIN, tags=frozenset({"x"})), Scope(Role.OPERATOR)):
        access = Access(((scope,),))
        assert not access.may(right)
        assert not access.may(right, Place(A, tags=frozenset({"x"})))


def test_a_token_may_no_more_than_its_owner() -> None:
    token, owner = Scope(Role.ADMIN, tags=frozenset({"x"})), Scope(Role.OPERATOR, A)
    access = Access(((token,), (owner,)))
    assert access.may(CHANGE, Place(A, tags=frozenset({"x"})))
    assert not access.may(CHANGE, Place(A))
    assert not access.may(CHANGE, Place(B, tags=frozenset({"x"})))
    assert not access.may(Right.AUTHORITY, Place(A, tags=frozenset({"x"})))


@pytest.mark.parametrize("right", list(Right))
def test_nobody_may_nothing_and_the_portal_itself_all(right: Right) -> None:
    assert not NOBODY.may(right)
    assert not NOBODY.may(right, Place(A))
    assert EVERYTHING.may(right)
    assert EVERYTHING.may(right, Place(A))
    assert role_needed(right).may(right)


def test_no_role_brings_more_than_the_next_one() -> None:
    viewer, operator, admin = ({right for right in Right if role.may(right)} for role in Role)
    assert viewer < operator < admin == set(Right)


_PLACES = st.builds(
    Place,
    st.sampled_from([A, B]),
    st.sampled_from([None, WEB]),
    st.frozensets(st.sampled_from("xy")),
    shared=st.booleans(),
)
_SCOPES = st.builds(
    Scope,
    st.sampled_from(list(Role)),
    st.sampled_from([None, A, B]),
    st.sampled_from([None, WEB]),
    st.frozensets(st.sampled_from("xy")),
)
_LAYERS = st.lists(st.lists(_SCOPES, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


@given(_LAYERS, _SCOPES, _PLACES, st.sampled_from(list(Right)))
def test_another_layer_never_adds_a_right(
    layers: tuple[tuple[Scope, ...], ...], scope: Scope, place: Place, right: Right
) -> None:
    more = Access((*layers, (scope,)))
    assert not more.may(right, place) or Access(layers).may(right, place)
    assert not more.may(right) or Access(layers).may(right)


@given(_LAYERS, _PLACES, st.sampled_from(list(Right)))
def test_who_may_somewhere_may_where_it_is_asked(
    layers: tuple[tuple[Scope, ...], ...], place: Place, right: Right
) -> None:
    access = Access(layers)
    assert not access.may(right, place) or access.may(right)
    if access.may_everywhere(right):
        assert access.may(right, Place(uuid4()))
