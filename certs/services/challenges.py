"""Answers to challenges: kept in the database, so that any node gives them, and gone when their order ends."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from certs.domain.registry import plugins
from certs.models import Challenge, Order
from certs.solvers.base import Solver, Task

SOLVERS = "certs.solvers"
HTTP = "http01"


def solver_get(kind: str) -> Solver:
    solvers: dict[str, type[Solver]] = plugins(SOLVERS, Solver)
    return solvers[kind]()


def challenge_answer(token: str) -> str | None:
    """What to answer at /.well-known/acme-challenge/<token>, for any Host, as often as asked; None: not ours."""
    return Challenge.objects.filter(token=token).values_list("key_authorization", flat=True).first()


class ChallengeRows:
    """A solver's store for one order. Rows are gathered and written by `save`, in the caller's transaction."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._rows: list[Challenge] = []
        self._addresses: dict[str, tuple[str, str]] = {}

    def expect(self, token: str, *, authorization_url: str, challenge_url: str) -> None:
        self._addresses[token] = (authorization_url, challenge_url)

    def put(self, task: Task) -> None:
        authorization_url, challenge_url = self._addresses[task.token]
        self._rows.append(
            Challenge(
                token=task.token,
                order=self._order,
                name=task.name,
                authorization_url=authorization_url,
                challenge_url=challenge_url,
                key_authorization=task.key_authorization,
            )
        )

    def remove(self, task: Task) -> None:
        Challenge.objects.filter(token=task.token).delete()

    def save(self) -> None:
        """A token met again (an authorization shared by two orders) keeps its first row's answer, which is the same."""
        Challenge.objects.bulk_create(
            self._rows,
            update_conflicts=True,
            unique_fields=["token"],
            update_fields=["order", "authorization_url", "challenge_url", "key_authorization"],
        )


def challenges_clear(order_id: UUID) -> None:
    Challenge.objects.filter(order_id=order_id).delete()


def challenge_evidence(challenge: Challenge, asked: tuple[str, ...] = ()) -> dict[str, Any]:
    """What this server sees where the CA looked: {"url", "curl", "seen", "name"}. Network, about 5 s at most."""
    task = Task(challenge.name, challenge.token, challenge.key_authorization, asked[0] if asked else "")
    return {"name": challenge.name, **asdict(solver_get(HTTP).look(task))}
