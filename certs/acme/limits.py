"""The rate limits that known CAs publish. A directory that is not here has none unless the operator sets them."""

from datetime import timedelta

from certs.acme.directories import KNOWN
from certs.domain.budget import Event, Limit, Scope

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def _lets_encrypt(orders: int, domain: int, exact_set: int, failures: int, accounts: int) -> tuple[Limit, ...]:
    """A renewal of the same names is free of the first two, one by ARI within its window of all."""
    return (
        Limit(Event.ORDER, Scope.ACCOUNT, orders, 3 * _HOUR, renewals=False),
        Limit(Event.CERTIFICATE, Scope.DOMAIN, domain, 7 * _DAY, renewals=False),
        Limit(Event.CERTIFICATE, Scope.SET, exact_set, 7 * _DAY),
        Limit(Event.FAILURE, Scope.NAME, failures, _HOUR),
        Limit(Event.ACCOUNT, Scope.SERVER, accounts, 3 * _HOUR),
    )


# letsencrypt.org/docs/rate-limits (12 June 2025) and letsencrypt.org/docs/staging-environment (25 November 2025).
_PUBLISHED: dict[str, tuple[Limit, ...]] = {
    "letsencrypt": _lets_encrypt(orders=300, domain=50, exact_set=5, failures=5, accounts=10),
    "letsencrypt-staging": _lets_encrypt(orders=1500, domain=30_000, exact_set=30_000, failures=60, accounts=50),
}
_BY_URL = {KNOWN[key].url: limits for key, limits in _PUBLISHED.items()}


def published_limits(directory_url: str) -> tuple[Limit, ...]:
    return _BY_URL.get(directory_url, ())
