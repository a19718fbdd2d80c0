"""What each role may do. A right that stands here once is asked for by its name everywhere: pages, API, commands."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Right(StrEnum):
    """`noun.verb`, as in the audit trail."""

    READ = "read"  # everything that is no secret
    CERTIFICATE_ADD = "certificate.add"  # import, order, issue from a CA, make key pairs and requests
    CERTIFICATE_CHANGE = "certificate.change"  # name, tags, options, versions, renew, revoke, delete, restore
    BIND = "bind"
    ALARM_SEE = "alarm.see"
    AUTHORITY = "authority"  # make and change our own CAs, their profiles and lists
    ACCOUNT = "account"  # accounts at CAs, challenge methods
    INSTALL = "install"  # discover delegated endpoints, install on their nodes, restart them
    ENDPOINT = "endpoint"  # add and change endpoints, approve what their machines show, delegate them
    SETTING = "setting"  # everything below Configuration
    PERSON = "person"  # people, their roles and everybody's tokens


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def label(self) -> str:
        return {"viewer": "Viewer", "operator": "Operator", "admin": "Administrator"}[self.value]

    def may(self, right: Right) -> bool:
        return right in RIGHTS[self]


_READ = frozenset({Right.READ})
_OPERATE = _READ | {
    Right.CERTIFICATE_ADD,
    Right.CERTIFICATE_CHANGE,
    Right.BIND,
    Right.ALARM_SEE,
    Right.INSTALL,
}
# The export of private keys is a right of its own, given to a person or a token, and part of no role.
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: _READ,
    Role.OPERATOR: _OPERATE,
    Role.ADMIN: frozenset(Right),
}
# What concerns the portal as a whole: only a role that is held everywhere brings these along.
WIDE = frozenset({Right.SETTING, Right.PERSON})


def role_needed(right: Right) -> Role:
    """The least of the roles that brings the right along."""
    return next(role for role in Role if role.may(right))


@dataclass(frozen=True)
class Place:
    """Where a thing belongs. `shared`: it serves its whole organization (an account at a CA, a challenge method), so
    whoever works on anything in the organization may read it."""

    organization: UUID | None  # None: not stored yet
    department: UUID | None = None
    tags: frozenset[str] = frozenset()
    shared: bool = False


@dataclass(frozen=True)
class Scope:
    """A role, and where it is held. None and no tags: everywhere."""

    role: Role
    organization: UUID | None = None
    department: UUID | None = None
    tags: frozenset[str] = frozenset()

    @property
    def is_everywhere(self) -> bool:
        return self.organization is None and self.department is None and not self.tags

    def holds(self, place: Place, *, shared: bool = False) -> bool:
        """`shared`: the organization alone counts, since the place serves all of it."""
        if self.organization not in (None, place.organization):
            return False
        if shared:
            return True
        if self.department not in (None, place.department):
            return False
        return not self.tags or bool(self.tags & place.tags)

    def may(self, right: Right, place: Place) -> bool:
        if not self.role.may(right):
            return False
        if right in WIDE:
            return self.is_everywhere
        return self.holds(place, shared=place.shared and right is Right.READ)


@dataclass(frozen=True)
class Access:
    """What somebody may. Each layer must agree, and in a layer any scope suffices: a person is one layer, a token that
    a person made is two (its own scope, and what that person may now). No layer: everything (command line, schedule).
    """

    layers: tuple[tuple[Scope, ...], ...]

    def may(self, right: Right, place: Place | None = None) -> bool:
        """At the place; without one: somewhere, or everywhere for what concerns the portal as a whole."""
        if place is not None:
            return all(any(scope.may(right, place) for scope in layer) for layer in self.layers)
        if right in WIDE:
            return self.may_everywhere(right)
        return all(any(scope.role.may(right) for scope in layer) for layer in self.layers)

    def may_everywhere(self, right: Right) -> bool:
        return all(any(scope.is_everywhere and scope.role.may(right) for scope in layer) for layer in self.layers)


NOBODY = Access(((),))
EVERYTHING = Access(())
