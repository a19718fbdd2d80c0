"""The runner of installations: about twenty hosts at once, most of the time waiting for them."""

from certs.services.installation_advance import installation_advance
from certs.services.installations import (
    RUNNER,
    installation_leases_renew,
    installations_claim,
    installations_due,
)
from certs.services.runner import Work, work_run

LANES = 20
INSTALLATIONS = Work(
    "installation", RUNNER, installations_due, installations_claim, installation_advance, installation_leases_renew
)


def installations_run() -> int:
    """Returns how many installations were taken on."""
    return work_run(INSTALLATIONS, lanes=LANES)
