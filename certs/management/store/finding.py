"""Which certificate, and which version of it, a word on the command line means."""

from certs.domain.errors import InputError
from certs.models import Certificate, CertificateVersion
from certs.selectors import certificate_find

WORD = "name, DNS name or id of a certificate"


def version_of(certificate: Certificate, word: str) -> CertificateVersion:
    """The one in use where `word` is ""; else by the beginning of its fingerprint, or by its serial number.

    Raises InputError.
    """
    if not word:
        if certificate.current is None:
            raise InputError(f"{certificate.name} has no version yet.", advice="Wait for its CA, or import its answer.")
        return certificate.current
    digits = word.replace(":", "").lower()
    rows = list(certificate.versions.select_related("key"))
    found = [row for row in rows if row.fingerprint_sha256.startswith(digits) or row.serial == digits.lstrip("0")]
    if len(found) != 1 or len(digits) < 4:
        raise InputError(
            f"{certificate.name} has {'several versions' if len(found) > 1 else 'no version'} “{word}”.",
            advice=f"It has {', '.join(map(str, rows[:10])) or 'none yet'}.",
        )
    return found[0]


def deleted_find(word: str) -> Certificate:
    """One that was deleted and can still be restored. Raises InputError."""
    rows = Certificate.objects.exclude(deleted_at=None).select_related("current")
    found = list(rows.filter(name=word)[:10]) or [row for row in rows if word in (str(row.pk), row.api_id)]
    if not found:
        raise InputError(f"No deleted certificate is called “{word}”.", advice="`certs restore` lists them.")
    if len(found) > 1:
        several = ", ".join(f"{row.name} ({row.pk})" for row in found)
        raise InputError(f"“{word}” fits several: {several}.", advice="Give the id of the one you mean.")
    return found[0]


def several_find(words: list[str]) -> list[Certificate]:
    """Each once, in the order given. Raises InputError for the first that is none."""
    return list(dict.fromkeys(certificate_find(word) for word in words))
