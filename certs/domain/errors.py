"""The error tree.

BinderyError
├── InputError            what a person or a file said cannot be used
│   ├── NameRefused       a DNS name or address
│   ├── KeyRefused        a private key
│   ├── CertificateRefused  a certificate, a chain, or a pair that does not fit
│   └── StoreRefused      a key store (JKS, PKCS#12): its form, its password, its size
├── ConflictError         it would collide with what is there (a port taken, a job under way, a locked field)
├── NotAllowed            the person may not, or the moment does not permit it
├── SecretError           a secret cannot be sealed or opened
├── AcmeFailure           the CA refused or could not do it
│   ├── AcmeRefused       final: trying again as it is will not help
│   └── AcmeRetry         try again, not before `retry_at`
├── ServingError          the listener could not take a certificate or an address
├── SchemaError           the database and this version of the code do not fit each other
└── Unavailable           something we depend on is not there now (no worker, no database)

Each carries a stable code, one sentence for the person and advice. Where they become HTTP, an exit code or a form
message is one place each: `certs/views/errors.py`, `certs/management/base.py`, `certs/forms/base.py`.
"""

from datetime import datetime


class BinderyError(Exception):
    """`code` is stable and for programs, `message` one sentence for the person, `advice` what to do next."""

    code = "error"

    def __init__(self, message: str, *, advice: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        if code:
            self.code = code

    def __str__(self) -> str:
        # What a CA says need not end like a sentence.
        stop = "" if not self.advice or self.message.endswith((".", "!", "?", '."', ".”")) else "."
        return f"{self.message}{stop} {self.advice}".strip()


class InputError(BinderyError):
    code = "input"


class NameRefused(InputError):
    code = "name-refused"


class KeyRefused(InputError):
    code = "key-refused"


class CertificateRefused(InputError):
    code = "certificate-refused"


class StoreRefused(InputError):
    code = "store-refused"


class ConflictError(BinderyError):
    code = "conflict"


class NotAllowed(BinderyError):
    code = "not-allowed"


class SecretError(BinderyError):
    code = "secret"


class ServingError(BinderyError):
    code = "serving"


class SchemaError(BinderyError):
    code = "schema"


class Unavailable(BinderyError):
    code = "unavailable"


class AcmeFailure(BinderyError):
    """`problem` is the CA's own document (RFC 7807) as received, or empty."""

    code = "acme"

    def __init__(
        self, message: str, *, advice: str = "", code: str = "", problem: dict[str, object] | None = None
    ) -> None:
        super().__init__(message, advice=advice, code=code)
        self.problem = problem or {}


class AcmeRefused(AcmeFailure):
    code = "acme-refused"


class AcmeRetry(AcmeFailure):
    """`retry_at` is the earliest moment (aware UTC) the CA wants to hear from us again; None where it said nothing."""

    code = "acme-retry"

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        code: str = "",
        problem: dict[str, object] | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message, advice=advice, code=code, problem=problem)
        self.retry_at = retry_at
