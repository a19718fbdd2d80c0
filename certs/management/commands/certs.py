from typing import ClassVar

from certs.management.base import BinderyCommand, VerbCommand
from certs.management.commands import renew, revoke
from certs.management.store.changing import DeleteVerb, RestoreVerb, TagVerb, UseVerb
from certs.management.store.exporting import ExportVerb
from certs.management.store.importing import ImportVerb
from certs.management.store.issuing import IssueVerb, SelfSignedVerb
from certs.management.store.listing import ListVerb
from certs.management.store.requesting import KeyPairVerb, RequestVerb
from certs.management.store.showing import ShowVerb
from certs.management.store.trusting import TrustStoreVerb
from certs.management.store.verifying import VerifyVerb


class Command(VerbCommand):
    help = "The certificates of the store: find, show, import, order, issue, export, renew, revoke, verify them."
    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {
        "list": ListVerb,
        "show": ShowVerb,
        "import": ImportVerb,
        "issue": IssueVerb,
        "self-signed": SelfSignedVerb,
        "request": RequestVerb,
        "key-pair": KeyPairVerb,
        "export": ExportVerb,
        "trust-store": TrustStoreVerb,
        "renew": renew.Command,
        "revoke": revoke.Command,
        "verify": VerifyVerb,
        "use": UseVerb,
        "tag": TagVerb,
        "delete": DeleteVerb,
        "restore": RestoreVerb,
    }
