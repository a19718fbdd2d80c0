"""What an endpoint type must do, and what it is given.

An installer knows one kind of server. It sees no database: it is given an open session and frozen data, and each of its
steps may be repeated, since the process that carries them out may end after any of them. The order of the steps, and
what follows a failure, is the service's.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from certs.domain.errors import BinderyError
from certs.domain.installation import Material, NodeSeen, Plan
from certs.domain.options import NoOptions


class InstallRefused(BinderyError):
    """It cannot be done as things are; nothing has been changed by this step."""

    code = "install"


class ChangedMeanwhile(InstallRefused):
    """Somebody else has changed what the plan was made for."""

    code = "install-changed"


class Installer(ABC):
    """Made with the endpoint's options. Steps raise InstallRefused, and what their session raises."""

    Options: ClassVar[type[Any]] = NoOptions
    label: ClassVar[str]
    connections: ClassVar[tuple[str, ...]]  # kinds in certs/transports/hosts that reach it

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def discover(self, host: Any) -> list[NodeSeen]:
        """Every place where it listens, with or without TLS. Changes nothing."""

    @abstractmethod
    def certificate(self, host: Any, node: NodeSeen) -> str:
        """What stands there now, as PEM with its chain; "" where there is none. Raises CertificateRefused."""

    @abstractmethod
    def plan(self, host: Any, node: NodeSeen, material: Material, nodes: Sequence[NodeSeen]) -> Plan:
        """What installing it on the node would mean; `nodes` are all that were discovered. Changes nothing."""

    @abstractmethod
    def check(self, host: Any, plan: Plan, material: Material) -> None:
        """Whether it can be done: rights, room, tools, a configuration that is good before we come."""

    @abstractmethod
    def stage(self, host: Any, plan: Plan, material: Material) -> None:
        """Everything new is on the machine, where nobody reads it yet; everything old is kept beside it."""

    @abstractmethod
    def switch(self, host: Any, plan: Plan) -> None:
        """What the server will read is the new."""

    @abstractmethod
    def activate(self, host: Any, plan: Plan) -> None:
        """The server reads it."""

    @abstractmethod
    def restore(self, host: Any, plan: Plan) -> None:
        """What stood there before stands there again, and the server reads it, even one that has ended meanwhile."""

    @abstractmethod
    def clean(self, host: Any, plan: Plan) -> None:
        """Nothing half-written is left."""

    @abstractmethod
    def restart(self, host: Any) -> None:
        """As a person asks for it."""
