"""What people hand over, in any form: recognised by its content, put in order, paired, told before it is kept.

`bundle_read` takes any number of files: PEM text with certificates, keys, requests and PKCS#7 in any order and any
encoding of text; binary certificates, keys, PKCS#7; PKCS#12 and Java key stores. It gives Items (a certificate with
its chain and key, a certificate to trust, a key pair) and says of every part that is left over why. Names of files are
shown only, never believed. Everything is bounded: bytes, parts, rounds of key derivation, signatures verified.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from certs.domain.bundle_forms import Heap, file_read
from certs.domain.bundle_items import BundleRefused, GivenFile
from certs.domain.bundle_order import Bundle, Sorter
from certs.domain.errors import InputError
from certs.domain.pbe import password_check

SIZE_LIMIT = 1024 * 1024  # bytes of one file; Java's whole trust store has 170 KiB
TOTAL_LIMIT = 4 * 1024 * 1024
FILE_LIMIT = 50


def bundle_read(
    files: Sequence[GivenFile], passwords: Sequence[str] = (), *, now: datetime, roots: Sequence[x509.Certificate] = ()
) -> Bundle:
    """Everything that is in the files, each password tried where one is needed. `roots` are known besides: a chain
    that leads to one of them is complete.

    Raises BundleRefused for a file that cannot be read at all (its name is in the sentence), with the code
    "password-needed" or "password-wrong" where that is the reason; InputError where there is nothing in them.
    """
    _limits_check(files, passwords)
    heap = Heap(tuple(dict.fromkeys(passwords)))
    for file in files:
        file_read(file, heap)
    return Sorter(heap, now, roots).bundle()


def _limits_check(files: Sequence[GivenFile], passwords: Sequence[str]) -> None:
    if not files or not any(file.data.strip() for file in files):
        raise InputError("Nothing was given.", advice="Choose a file, or paste the text of a certificate.")
    if len(files) > FILE_LIMIT:
        raise InputError(f"These are {len(files)} files; at most {FILE_LIMIT} are read at once.", advice="Give fewer.")
    if large := next((file for file in files if len(file.data) > SIZE_LIMIT), None):
        raise BundleRefused(
            f"{large.shown} is larger than 1 MiB, too large for certificates.",
            advice="Was another file meant?",
            file=large.name,
            code="too-large",
        )
    if sum(len(file.data) for file in files) > TOTAL_LIMIT:
        raise InputError("The files are larger than 4 MiB in all.", advice="Give fewer at a time.", code="too-large")
    for password in passwords:
        password_check(password)
