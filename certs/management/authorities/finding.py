"""Which of our own CAs a word on the command line means."""

from certs.domain.errors import InputError
from certs.management.reporting import ACTOR
from certs.models import Authority
from certs.selectors import authorities_visible_to


def authority_find(word: str) -> Authority:
    """By its id, or the name or id of its certificate. Raises InputError."""
    rows = list(authorities_visible_to(ACTOR).select_related("certificate__current__key"))
    ids = [{str(row.pk), str(row.certificate_id), row.certificate.api_id} - {""} for row in rows]
    found = [row for row, words in zip(rows, ids, strict=True) if word in words]
    found = found or [row for row in rows if row.certificate.name.lower() == word.lower()]
    if not found:
        raise InputError(f"None of our CAs is called “{word}”.", advice="`manage.py ca list` lists them.")
    if len(found) > 1:
        several = ", ".join(f"{row} ({row.pk})" for row in found)
        raise InputError(f"“{word}” fits several: {several}.", advice="Give the id of the one you mean.")
    return found[0]
