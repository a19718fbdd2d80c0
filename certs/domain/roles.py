"""What each role may do. A right that stands here once is asked for by its name everywhere: pages, API, commands."""

from enum import StrEnum


class Right(StrEnum):
    """`noun.verb`, as in the audit trail."""

    READ = "read"  # everything that is no secret
    CERTIFICATE_ADD = "certificate.add"  # import, order, issue from a CA, make key pairs and requests
    CERTIFICATE_CHANGE = "certificate.change"  # name, tags, options, versions, renew, revoke, delete, restore
    BIND = "bind"
    ALARM_SEE = "alarm.see"
    AUTHORITY = "authority"  # make and change our own CAs, their profiles and lists
    ACCOUNT = "account"  # accounts at CAs, challenge methods
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
_OPERATE = _READ | {Right.CERTIFICATE_ADD, Right.CERTIFICATE_CHANGE, Right.BIND, Right.ALARM_SEE}
# The export of private keys is a right of its own, given to a person or a token, and part of no role.
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: _READ,
    Role.OPERATOR: _OPERATE,
    Role.ADMIN: frozenset(Right),
}
