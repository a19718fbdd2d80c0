"""`manage.py tls`: the servers of the organization, and what is installed on them."""

from typing import ClassVar

from certs.management.base import BinderyCommand, VerbCommand
from certs.management.endpoints.installing import (
    DiscoverVerb,
    InstallVerb,
    NodesVerb,
    RestartVerb,
    RollbackVerb,
)
from certs.management.endpoints.keeping import (
    AddVerb,
    ApproveVerb,
    EditVerb,
    ListVerb,
    RemoveVerb,
    ShowVerb,
    TestVerb,
)


class Command(VerbCommand):
    help = "Endpoints: servers on which certificates are installed, proven to be served, and put back where that fails."
    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {
        "add": AddVerb,
        "list": ListVerb,
        "show": ShowVerb,
        "edit": EditVerb,
        "remove": RemoveVerb,
        "test": TestVerb,
        "approve": ApproveVerb,
        "discover": DiscoverVerb,
        "nodes": NodesVerb,
        "install": InstallVerb,
        "rollback": RollbackVerb,
        "restart": RestartVerb,
    }
