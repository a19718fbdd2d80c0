"""TXT records by hand: a person puts the record into the zone, and the order goes on by itself once it is seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from certs.solvers.base import Task
from certs.solvers.dns import PERSIST, DnsSolver, challenge_option


class Dns01Manual(DnsSolver):
    """A person puts the record into DNS. It is shown under Activity and looked for at the zone's own name servers;
    the order goes on by itself when all of them show it, and waits for a week. Each renewal asks for a new record,
    except with dns-persist-01."""

    label: ClassVar[str] = "DNS (by hand)"
    by_hand: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Options:
        challenge: str = challenge_option()

    def present(self, task: Task) -> dict[str, Any]:
        """Only a standing record can be wrong in a way that waiting does not mend."""
        if task.type == PERSIST:
            super().present(task)
        return {}

    def awaited(self, task: Task) -> str:
        """With the value: whoever waits at a command line sees no page."""
        sentence = super().awaited(task)
        return f"{sentence} Its value: {self.record(task).value}" if sentence else ""

    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        return {}

    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        """The person who put it there takes it away; left behind it does no harm, since each value is used once."""

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        """Nothing, without asking where the zone is."""
