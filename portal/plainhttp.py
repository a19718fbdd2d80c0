"""The paths that are answered over plain HTTP, whatever else is switched on.

One table: exempt from redirects to HTTPS, from HSTS, log-in, the check of the Host header and maintenance. A CA asks
for its challenge before there is a certificate, and revocation lists and issuers must be readable without TLS (RFC 5280
section 8, RFC 6960 appendix A).
"""

PREFIXES = (
    "/.well-known/acme-challenge/",
    "/healthz",
    "/readyz",
    "/statusz",
    "/pki/crl/",
    "/pki/ocsp",
    "/pki/aia/",
)


def is_plain_http_path(path: str) -> bool:
    """Whether `path` (no query) stands in the table; a prefix without a slash at its end matches whole segments."""
    return any(
        path.startswith(prefix) if prefix.endswith("/") else path == prefix or path.startswith(f"{prefix}/")
        for prefix in PREFIXES
    )
