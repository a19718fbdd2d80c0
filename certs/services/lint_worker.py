"""A process that lints for another one: length, flag and DER in; a line of JSON with the bytes' name and the findings
out. No Django."""

import gc
import json
import struct
import sys
from dataclasses import astuple
from hashlib import sha256

from cryptography import x509

from certs.domain.lint import lint

_HEADER = struct.Struct("!I?")  # bytes of the DER, whether it is held to the rules of public CAs


def question(der: bytes, *, public_style: bool) -> bytes:
    return _HEADER.pack(len(der), public_style) + der


def name_of(der: bytes) -> str:
    return sha256(der).hexdigest()


def main() -> None:
    given, answers, is_first = sys.stdin.buffer, sys.stdout, True
    while head := given.read(_HEADER.size):
        size, public_style = _HEADER.unpack(head)
        der = given.read(size)
        found = lint(x509.load_der_x509_certificate(der), public_style=public_style)
        print(json.dumps([name_of(der), [astuple(finding) for finding in found]]), file=answers, flush=True)
        if is_first:  # pkilint is there now: what it consists of is never garbage, and need not be looked through
            gc.freeze()
            is_first = False


if __name__ == "__main__":
    main()
