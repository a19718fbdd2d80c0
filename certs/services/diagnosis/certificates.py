"""What is bound: that it is there, fits, has not expired, and is what a handshake shows."""

from collections.abc import Iterator
from datetime import timedelta

from certs.domain.diagnosis import Line, Situation, bad, fine, look, note, unknown
from certs.models import Certificate
from certs.selectors import bound_certificates
from certs.services.health import portal_findings
from certs.services.served import served_now
from certs.services.serving import serving_material
from portal import clock

_MOST = 8  # are asked for by a handshake
_MENDS = {
    "expired": "Open it under Certificates: it says why it was not renewed. “Renew now” orders at once.",
    "generation": "Wait some seconds; if it stays so, the error of the process stands in the log.",
    "import": "Correct the files in the data directory; they are looked at again within a minute.",
    "export": "Configuration ➜ Export tells which files could not be written.",
}


@look("certificates")
def state(situation: Situation) -> Iterator[Line]:
    """Whether what is bound is in order."""
    for finding in portal_findings():
        if finding.code == "placeholder" and not finding.ok:
            mend = "Get a certificate: Configuration ➜ Let's Encrypt, or Certificates ➜ Upload."
            yield note(finding.code, finding.text, mend)
        elif finding.code in _MENDS or finding.code == "placeholder":
            mend = _MENDS.get(finding.code, "")
            yield fine(finding.code, finding.text) if finding.ok else bad(finding.code, finding.text, mend)


@look("certificates")
def keys(situation: Situation) -> Iterator[Line]:
    """Whether each bound certificate has its key."""
    material = serving_material(partial=True)
    for name, problem in material.problems.items():
        mend = "Import the certificate together with its key, or bind another one."
        yield bad("keys", f"What is bound to {name or 'the default'} cannot be served.", mend, evidence=problem)
    if not material.problems:
        yield fine("keys", "Every bound certificate has its key.")


@look("certificates")
def renewals(situation: Situation) -> Iterator[Line]:
    """Whether what is bound is renewed in time."""
    soon = clock.now() + timedelta(days=21)
    by_hand = [
        each for each in bound_certificates() if not each.auto_renew and each.current and each.current.not_after < soon
    ]
    for each in by_hand:
        if each.current is not None:
            sentence = f"{each.name} expires on {each.current.not_after:%Y-%m-%d}, and nobody renews it by itself."
            mend = "Upload its successor, or order one from a CA under Certificates ➜ From a CA."
            yield note("renewals", sentence, mend)
    held = list(Certificate.objects.filter(deleted_at=None, auto_renew=True, failures__gt=0).order_by()[:_MOST])
    for each in held:
        sentence = f"{each.name} could not be renewed {_times(each.failures)}."
        yield note("renewals", sentence, "Its page says why, and when it is tried again.")
    if not by_hand and not held:
        yield fine("renewals", "Nothing that is bound waits for a person.")


@look("certificates", seconds=12)
def served(situation: Situation) -> Iterator[Line]:
    """Whether a handshake shows what is bound."""
    for each in bound_certificates()[:_MOST]:
        result = served_now(each)
        if result.ok:
            yield fine("served", f"{each.name} is served.", evidence=f"{result.vantage}: {result.detail}")
        elif result.ok is None:
            yield unknown("served", f"Whether {each.name} is served: {result.detail}")
        else:
            mend = "Its page shows each process. Restart the portal if it stays so."
            yield bad("served", f"{each.name} is bound, and not served.", mend, evidence=result.detail)


def _times(count: int) -> str:
    return "the last time" if count == 1 else f"{count} times in a row"
