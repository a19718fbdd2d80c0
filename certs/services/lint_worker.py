"""A process that lints for another one: length, flag and DER in, a line of JSON with the findings out. No Django."""

import json
import struct
import sys
from dataclasses import astuple

from cryptography import x509

from certs.domain.lint import lint

HEADER = struct.Struct("!I?")  # bytes of the DER, whether it is held to the rules of public CAs


def main() -> None:
    given, answers = sys.stdin.buffer, sys.stdout
    while head := given.read(HEADER.size):
        size, public_style = HEADER.unpack(head)
        certificate = x509.load_der_x509_certificate(given.read(size))
        found = lint(certificate, public_style=public_style)
        print(json.dumps([astuple(finding) for finding in found]), file=answers, flush=True)


if __name__ == "__main__":
    main()
