from typing import ClassVar

from certs.management.authorities.listing import ListVerb, ShowVerb
from certs.management.authorities.making import AddressVerb, CreateVerb, ImportVerb
from certs.management.authorities.running import CrlVerb, ReleaseVerb, RenewVerb, RetireVerb, RevokeVerb
from certs.management.base import BinderyCommand, VerbCommand
from certs.management.store.issuing import OwnIssueVerb


class Command(VerbCommand):
    help = "Our own CAs: list and show them, create or import one, issue, revoke, renew, sign its list, retire it."
    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {
        "list": ListVerb,
        "show": ShowVerb,
        "create": CreateVerb,
        "import": ImportVerb,
        "issue": OwnIssueVerb,
        "revoke": RevokeVerb,
        "release": ReleaseVerb,
        "renew": RenewVerb,
        "crl": CrlVerb,
        "retire": RetireVerb,
        "address": AddressVerb,
    }
