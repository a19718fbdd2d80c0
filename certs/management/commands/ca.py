from typing import ClassVar

from certs.management.authorities.listing import ListVerb, ShowVerb
from certs.management.authorities.making import AddressVerb, CreateVerb, ImportVerb, IssueVerb
from certs.management.authorities.running import CrlVerb, RenewVerb, RetireVerb
from certs.management.base import BinderyCommand, VerbCommand


class Command(VerbCommand):
    help = "Our own CAs: list and show them, create or import one, issue, renew, sign its list, retire it."
    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {
        "list": ListVerb,
        "show": ShowVerb,
        "create": CreateVerb,
        "import": ImportVerb,
        "issue": IssueVerb,
        "renew": RenewVerb,
        "crl": CrlVerb,
        "retire": RetireVerb,
        "address": AddressVerb,
    }
