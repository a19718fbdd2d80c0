"""Who acts, and what they may. Every page, call of the API and service asks here, and nowhere else.

`may` answers, `require` refuses with the role that it would need. A service that changes something is marked with
`@needs(right)`; `tests/services/test_doors.py` finds one that is not. What somebody may see is narrowed in
`certs/selectors.py` by the same scopes.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar, get_args
from uuid import UUID

from django.contrib.auth.models import AnonymousUser

from certs.domain.errors import NotAllowed
from certs.domain.roles import (
    EVERYTHING,
    NOBODY,
    WIDE,
    Access,
    Place,
    Right,
    Role,
    Scope,
    role_needed,
)
from certs.models import (
    AcmeAccount,
    Alarm,
    ApiToken,
    Authority,
    Binding,
    Certificate,
    CertificateTag,
    CertificateVersion,
    ChallengeMethod,
    Channel,
    Department,
    Endpoint,
    Installation,
    Node,
    Order,
    Organization,
    RoleGrant,
    User,
)
from certs.models.organization import DEFAULT_ORGANIZATION
from portal import clock

P = ParamSpec("P")
R = TypeVar("R")
EXPORT_PERMISSION = "certs.export_keys"
# The portal itself, and what belongs to nobody else: it is the default organization's.
PORTAL = Place(DEFAULT_ORGANIZATION)


@dataclass(frozen=True)
class TokenActor:
    """A program that showed the secret of an API token."""

    token: ApiToken

    def __str__(self) -> str:
        return f"token {self.token.name}"


@dataclass(frozen=True)
class OnBehalf:
    """The portal itself, doing what follows from something that somebody was allowed to ask for."""

    actor: "Actor"

    def __str__(self) -> str:
        return str(self.actor)


# A text is the portal itself or a person at its shell ("schedule", "command line"), and may everything.
# None is nobody.
Actor = User | TokenActor | OnBehalf | str | None
# `Place` where the thing is not there yet.
Target = (
    Certificate
    | CertificateVersion
    | Order
    | Binding
    | Authority
    | AcmeAccount
    | ChallengeMethod
    | Channel
    | Alarm
    | Organization
    | Department
    | Endpoint
    | Node
    | Installation
    | Place
    | None
)


def person_of(actor: Actor | AnonymousUser) -> User | None:
    """The person, also behind a token."""
    if isinstance(actor, TokenActor):
        return actor.token.owner
    if isinstance(actor, OnBehalf):
        return person_of(actor.actor)
    return actor if isinstance(actor, User) else None


def access_of(actor: Actor | AnonymousUser) -> Access:
    """What the actor may just now; ask once where many questions follow."""
    if isinstance(actor, (str, OnBehalf)):
        return EVERYTHING
    if isinstance(actor, User):
        return Access((_scopes_of(actor),))
    return _access_of_token(actor.token) if isinstance(actor, TokenActor) else NOBODY


def may(actor: Actor | AnonymousUser, right: Right, target: Target = None) -> bool:
    """Without a target: whether there is anything on which they may; of the portal as a whole: whether they may."""
    return _holds(access_of(actor), right, target)


def rights_of(actor: Actor | AnonymousUser, target: Target = None) -> frozenset[Right]:
    access = access_of(actor)
    place = place_of(target) if target is not None else None
    return frozenset(right for right in Right if access.may(right, place))


def require(actor: Actor | AnonymousUser, right: Right, target: Target = None) -> None:
    """Raises NotAllowed, which names the role that it needs; what is not theirs to see is not named."""
    access = access_of(actor)
    if _holds(access, right, target):
        return
    named = target is not None and not isinstance(target, Place)
    where = ""
    if right in WIDE:
        where = " for the portal as a whole"
    elif named:
        where = f" for {target}" if _holds(access, Right.READ, target) else " for it"
    elif target == PORTAL:
        where = f" in the organization {Organization.objects.get(pk=DEFAULT_ORGANIZATION)}"
    raise refusal(right, where)


def refusal(right: Right, where: str = "") -> NotAllowed:
    return NotAllowed(
        f"This needs the role {role_needed(right).label}{where}.",
        advice="An administrator gives roles under Configuration ➜ People.",
    )


def may_export(actor: Actor | AnonymousUser, certificate: Certificate | None = None) -> bool:
    """Whether private keys may leave through them: a right of its own, on what they may see. None: of everything."""
    if not may_hold_export(actor):
        return False
    return access_of(actor).may_everywhere(Right.READ) if certificate is None else may(actor, Right.READ, certificate)


def may_hold_export(actor: Actor | AnonymousUser) -> bool:
    """Whether they have the export permission at all; what for is `may_export`."""
    if isinstance(actor, TokenActor):
        owner = actor.token.owner
        return actor.token.can_export and (owner is None or owner.has_perm(EXPORT_PERMISSION))
    if isinstance(actor, User):
        return actor.has_perm(EXPORT_PERMISSION)
    return isinstance(actor, (str, OnBehalf))


def require_export(actor: Actor | AnonymousUser, certificate: Certificate | None = None) -> None:
    """Raises NotAllowed. Whoever exports writes the audit event `certificate.export` as well."""
    if not may_export(actor, certificate):
        raise NotAllowed(
            "Private keys leave only through those who have the export permission.",
            advice="An administrator gives it under Configuration ➜ People, or to a token when it is made.",
        )


def place_of(target: Target) -> Place:
    """Where it belongs; the portal's own place for None. Of a certificate the tags are looked up."""
    return next((place(target) for kind, place in _PLACES if isinstance(target, kind)), PORTAL)


def _of_certificate(row: Certificate) -> Place:
    tags = CertificateTag.objects.filter(certificate=row).values_list("tag", flat=True)
    return Place(row.organization_id, row.department_id, frozenset(tags))


# What serves its whole organization is shared: whoever works in it may have certificates by such an account or CA.
_PLACES: tuple[tuple[Any, Callable[[Any], Place]], ...] = (
    (Place, lambda place: place),
    (Certificate, _of_certificate),
    ((CertificateVersion, Order, Binding), lambda row: _of_certificate(row.certificate)),
    (Authority, lambda row: Place(row.certificate.organization_id, row.certificate.department_id, shared=True)),
    ((AcmeAccount, ChallengeMethod), lambda row: Place(row.organization_id, shared=True)),
    (Alarm, lambda row: _of_certificate(row.certificate) if row.certificate else PORTAL),
    (Channel, lambda row: Place(row.organization_id)),
    (Endpoint, lambda row: Place(row.organization_id, row.department_id)),
    (Node, lambda row: place_of(row.endpoint)),
    (Installation, lambda row: place_of(row.node.endpoint)),
    (Department, lambda row: Place(row.organization_id, row.pk)),
    (Organization, lambda row: Place(row.pk)),
)


@dataclass(frozen=True)
class Home:
    """Where a new certificate goes."""

    organization_id: UUID
    department_id: UUID | None
    tags: tuple[str, ...]


def home_for(
    actor: Actor,
    *,
    organization: Organization | None = None,
    department: Department | None = None,
    tags: Iterable[str] = (),
) -> Home:
    """Where the actor's new certificate belongs: where they say, else the first place to which they may add.

    A token of one tag gives that tag along. Raises NotAllowed where they may not add one there.
    """
    access = access_of(actor)
    scopes = [scope for layer in access.layers for scope in layer if scope.role.may(Right.CERTIFICATE_ADD)]
    own = sorted({tag for scope in scopes for tag in scope.tags})
    wanted = tuple(dict.fromkeys(tags))
    if len(own) == 1 and own[0] not in wanted:
        wanted += (own[0],)
    usual = [(DEFAULT_ORGANIZATION, None), *((scope.organization, scope.department) for scope in scopes)]
    if department is not None:
        usual = [(department.organization_id, department.pk)]
    elif organization is not None:
        usual = [(organization.pk, None), *(pair for pair in usual if pair[0] == organization.pk)]
    places = [Place(where, part, frozenset(wanted)) for where, part in usual if where is not None]
    place = next((place for place in places if access.may(Right.CERTIFICATE_ADD, place)), None)
    if place is not None and place.organization is not None:
        return Home(place.organization, place.department, wanted)
    if own and not set(own) & set(wanted):
        raise NotAllowed(
            f"This token adds only certificates with one of its tags: {', '.join(own)}.",
            advice="Give the certificate one of them.",
        )
    require(actor, Right.CERTIFICATE_ADD, department or organization)
    raise refusal(Right.CERTIFICATE_ADD)


def needs(right: Right, *, of: str | Place = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The door of a service: refuses an `actor` who has no such right on what the argument `of` is (else the first).

    Where that is nothing which belongs to an organization, the right is asked for without a target.
    """

    def mark(service: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(service)
        if "actor" not in signature.parameters:
            raise TypeError(f"{service.__qualname__} does not say who acts.")
        argument = of if isinstance(of, str) and of else next(iter(signature.parameters))

        @wraps(service)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            actor = given.arguments["actor"]
            if not isinstance(actor, str):
                target = of if isinstance(of, Place) else given.arguments[argument]
                require(actor, right, target if isinstance(target, _TARGETS) else None)
            return service(*args, **kwargs)

        guarded.right = right  # type: ignore[attr-defined]  # read by the test of the doors
        return guarded

    return mark


_TARGETS = tuple(kind for kind in get_args(Target) if kind is not type(None))


def _holds(access: Access, right: Right, target: Target) -> bool:
    if not access.layers:
        return True
    return access.may(right, None if target is None else place_of(target))


def _scopes_of(person: User) -> tuple[Scope, ...]:
    if not person.is_active:
        return ()
    if person.is_superuser:
        return (Scope(Role.ADMIN),)
    grants = RoleGrant.objects.filter(user=person).select_related("department")
    return tuple(
        Scope(
            Role(grant.role),
            grant.department.organization_id if grant.department else grant.organization_id,
            grant.department_id,
        )
        for grant in grants
    )


def _access_of_token(token: ApiToken) -> Access:
    """A job may outlive the token that asked for it."""
    if token.state_at(clock.now()) != "active":
        return NOBODY
    organization = token.department.organization_id if token.department else token.organization_id
    own = (Scope(Role(token.role), organization, token.department_id, frozenset(token.tags)),)
    return Access((own,) if token.owner is None else (own, _scopes_of(token.owner)))
