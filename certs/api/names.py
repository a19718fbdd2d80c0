"""The properties of the reference that are read from the certificate itself, never taken from a body."""

COMPUTED = frozenset(
    {
        "caRef",
        "domain",
        "selfSigned",
        "ca",
        "valid",
        "revoked",
        "letsEncrypt",
        "client",
        "keypair",
        "subject",
        "from",
        "to",
        "sans",
        "bindery",
    }
)
