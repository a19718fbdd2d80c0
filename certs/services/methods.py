"""Challenge methods: a solver with its options, set up once and used by any number of certificates."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.options import options_of
from certs.domain.properties import name_check
from certs.domain.roles import Place, Right
from certs.models import Certificate, Challenge, ChallengeMethod, Organization
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.access import Actor, may, needs, require
from certs.services.challenges import site_get, solver_kinds, solver_make
from certs.services.events import audit_record
from certs.services.options import options_merge, options_secret, options_store
from certs.solvers.base import Site, Solver

LONGEST_NAME = 100
_EXAMPLE = "DNS at Cloudflare"
GIVEN_UP = 10  # tries to take an answer away, more than a day: the method may go, and what it left is named
_SHOWN = 5  # certificates named in a sentence


def method_kind(kind: str) -> type[Solver]:
    """Raises InputError."""
    kinds = solver_kinds()
    if kind not in kinds:
        raise InputError(
            f"There is no challenge of the kind “{kind[:40]}”.", advice=f"Choose {', '.join(kinds)}.", code="kind"
        )
    return kinds[kind]


@needs(Right.ACCOUNT)
def method_create(
    *, kind: str, name: str, given: Mapping[str, Any], organization: Organization | None = None, actor: Actor
) -> ChallengeMethod:
    """`given` is what the options of that kind are, as typed; for certificates of the organization (the default one).

    Raises InputError, OptionRefused, NotAllowed.
    """
    place = organization.pk if organization else DEFAULT_ORGANIZATION
    require(actor, Right.ACCOUNT, Place(place))
    return _create(kind, name, given, place, actor)


def _create(kind: str, name: str, given: Mapping[str, Any], organization: UUID, actor: Actor) -> ChallengeMethod:
    solver = method_kind(kind)
    _allowed(solver, actor)
    method = ChallengeMethod(
        kind=kind, name=name_check(name, most=LONGEST_NAME, example=_EXAMPLE), organization_id=organization
    )
    _options_set(method, solver, given)
    with transaction.atomic():
        _save(method, force_insert=True)
        audit_record(actor, "challenge-method.create", method, after=method_shown(method))
    return method


@dataclass(frozen=True)
class NewMethod:
    """One that is asked for on the way, by who orders a certificate; `given` as for `method_create`."""

    kind: str
    given: Mapping[str, Any]


@needs(Right.CERTIFICATE_ADD)
def method_settle(
    new: NewMethod, names: Sequence[str], *, organization: UUID = DEFAULT_ORGANIZATION, actor: Actor
) -> ChallengeMethod:
    """Made, and called after its kind and the first of `names`; of a kind without options one that is there will do,
    and whoever may order may have it made.

    In the transaction of what uses it, so that a refusal leaves none behind. Raises what `method_create` raises.
    """
    solver = method_kind(new.kind)
    rows = list(ChallengeMethod.objects.filter(organization=organization))
    plain = not options_of(solver.Options)
    same = next((row for row in rows if row.kind == new.kind), None)
    if plain and same is not None:
        return same
    name = solver.label if plain else f"{solver.label}, {names[0]}"[: LONGEST_NAME - 10]
    taken = {row.name.casefold() for row in rows}
    numbered = (name if number == 1 else f"{name} {number}" for number in count(1))
    free = next(each for each in numbered if each.casefold() not in taken)
    if not plain:
        require(actor, Right.ACCOUNT, Place(organization))
    return _create(new.kind, free, new.given, organization, actor)


@needs(Right.ACCOUNT)
def method_update(
    method: ChallengeMethod,
    *,
    actor: Actor,
    name: str | None = None,
    given: Mapping[str, Any] | None = None,
    forget: Collection[str] = (),
) -> list[Certificate]:
    """The certificates that are affected. A secret left empty is kept, unless it is one to `forget`, or the choice
    that decides which options there are has changed: what was meant for one provider is never sent to another.

    Raises InputError, OptionRefused, NotAllowed; ConflictError for another provider, server, directory or script while
    an answer stands where this one has put it, which would be looked for at the other.
    """
    solver = method_kind(method.kind)
    _allowed(solver, actor)
    before = method_shown(method)
    places = _places(method, solver)
    if name is not None:
        method.name = name_check(name, most=LONGEST_NAME, example=_EXAMPLE)
    if given is not None:
        other = bool(solver.chooser) and given.get(solver.chooser) != method.options.get(solver.chooser)
        if other:
            method.sealed = ""
        _options_set(method, solver, given, forget=forget)
        if _places(method, solver) != places:
            advice = "Wait until it is taken away, within minutes most often, or make another method for the other one."
            _refuse_while_needed(method, placed=True, advice=advice)
    after = method_shown(method)
    if given is not None:
        # What was typed into a secret is not to be told, only that it was.
        new = [each for each in after["secrets"] if given.get(each) or each not in before["secrets"]]
        after["secrets_set"] = new
    with transaction.atomic():
        _save(method, update_fields=["name", "options", "sealed"])
        audit_record(actor, "challenge-method.update", method, before=before, after=after)
    return method_certificates(method)


def method_merged(method: ChallengeMethod, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored, with the changes in its place: for `method_update`. Under another choice of what the options
    hang on, only what that has too is kept."""
    solver = method_kind(method.kind)
    chosen = method.options.get(solver.chooser)
    if changes.get(solver.chooser, chosen) == chosen:
        return {**method.options, **changes}
    known = {each.name for each in options_of(solver.options_for(changes))}
    return {**{name: value for name, value in method.options.items() if name in known}, **changes}


@needs(Right.ACCOUNT)
def method_delete(method: ChallengeMethod, *, actor: Actor) -> None:
    """Raises ConflictError while something needs it: a certificate, or an answer that is still to be taken away."""
    with transaction.atomic():
        used = method_certificates(method)
        if used:
            raise ConflictError(
                f"{method.name} is used by {certificates_named(used)}.",
                advice="Choose another challenge for them first.",
                code="method-used",
            )
        _refuse_while_needed(method, advice="Try again in a few minutes.")
        left = Challenge.objects.filter(method=method)
        forgotten = sorted({row.name for row in left} | {each["name"] for each in method.trial.get("left", [])})
        left.delete()
        Certificate.objects.filter(challenge_method=method).update(challenge_method=None)  # deleted ones
        after = {"left behind for": forgotten} if forgotten else {}
        audit_record(actor, "challenge-method.delete", method, before=method_shown(method), after=after)
        method.delete()


def method_solver(method: ChallengeMethod, site: Site | None = None) -> Solver:
    """Raises InputError, SecretError, OptionRefused."""
    solver = solver_make(method.kind, method)
    return solver if site is None else type(solver)(solver.options, site)


def method_certificates(method: ChallengeMethod) -> list[Certificate]:
    """Those that use it, by name."""
    return list(Certificate.objects.filter(challenge_method=method, deleted_at=None).order_by("name"))


def method_shown(method: ChallengeMethod) -> dict[str, Any]:
    """All but the secrets, of which only the names are told."""
    secrets = options_secret(method.sealed, purpose=ChallengeMethod.PURPOSE, uid=method.pk)
    return {"name": method.name, "kind": method.kind, "options": method.options, "secrets": secrets}


def method_find(word: str) -> ChallengeMethod:
    """By its name or id. Raises InputError."""
    rows = list(ChallengeMethod.objects.all())
    found = [row for row in rows if word in (row.name, str(row.pk))]
    if not found:
        known = ", ".join(row.name for row in rows) or "none yet"
        raise InputError(f"No challenge method is called “{word}”.", advice=f"There are: {known}.", code="name")
    return found[0]


def certificates_named(used: list[Certificate]) -> str:
    names = ", ".join(row.name for row in used[:_SHOWN])
    return names if len(used) <= _SHOWN else f"{names} and {len(used) - _SHOWN} more"


def _refuse_while_needed(method: ChallengeMethod, *, advice: str, placed: bool = False) -> None:
    """Raises ConflictError while it has answers to take away; with `placed`, those only that are in place for sure."""
    answers = Challenge.objects.filter(method=method, clean_tries__lt=GIVEN_UP)
    if placed:
        answers = answers.exclude(presented_at=None)
    waiting = set(answers.values_list("name", flat=True))
    if method.trial and not method.trial.get("ended"):
        waiting.add(method.trial["name"])
    if waiting:
        raise ConflictError(
            f"{method.name} is still needed to take away its answer for {', '.join(sorted(waiting)[:_SHOWN])}.",
            advice=advice,
            code="method-cleaning",
        )


def _options_set(
    method: ChallengeMethod, solver: type[Solver], given: Mapping[str, Any], *, forget: Collection[str] = ()
) -> None:
    """Judged by the solver itself too, before anything is stored."""
    kind: type[Any] = solver.options_for(given)
    known: dict[str, Any] = {"purpose": ChallengeMethod.PURPOSE, "uid": method.pk}
    options = options_merge(kind, given, sealed=method.sealed, forget=forget, **known)
    solver(options, site_get())
    method.options, method.sealed = options_store(options, **known)


def _places(method: ChallengeMethod, solver: type[Solver]) -> list[Any]:
    return [method.options.get(option) for option in solver.put_by]


def _allowed(solver: type[Solver], actor: Actor) -> None:
    if solver.runs_programs and not may(actor, Right.SETTING):
        raise NotAllowed(
            "Only an administrator says what runs on the server.", advice="Ask one.", code="method-not-allowed"
        )


def _save(method: ChallengeMethod, **how: Any) -> None:
    taken = ChallengeMethod.objects.filter(organization=method.organization, name__iexact=method.name)
    refusal = ConflictError(
        f"There is a challenge method “{method.name}” already.", advice="Choose another name.", code="name"
    )
    if taken.exclude(pk=method.pk).exists():
        raise refusal
    try:
        with transaction.atomic():
            method.save(**how)
    except IntegrityError:
        raise refusal from None
