"""What somebody wants to have signed, before anyone has weighed it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from certs.domain.certinfo import extension_of
from certs.domain.constraints import constraints_of
from certs.domain.errors import InputError
from certs.domain.keys import key_type_of
from certs.domain.profiles import LONGEST_DAYS
from certs.domain.subjects import subject_text


@dataclass(frozen=True)
class Wish:
    """What is to be signed. Empty or None means: as the profile says."""

    profile: str = ""  # a name of services.profiles; "" is chosen by the flags
    subject: str = ""  # RFC 4514
    hosts: tuple[str, ...] = ()  # DNS names, addresses, mailboxes, URIs; see domain.hosts
    days: int = 0
    not_after: datetime | None = None  # aware; instead of days, for this one time
    key_type: str = "ec-p256"  # of the key to be made; an id of domain.keys.OWN_KEY_TYPES
    digest: str = ""  # a key of DIGESTS
    pss: bool = False  # RSASSA-PSS, where the issuer's key is RSA
    usages: tuple[str, ...] = ()  # keys of profiles.USAGES
    is_ca: bool = False
    path_length: int | None = None
    include_aia: bool | None = None  # where to ask for issuer and revocation; None: as the authority does
    permitted: tuple[str, ...] = ()  # of a CA: the names that it may certify; see domain.constraints
    excluded: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What differs from a plain wish; `not_after` belongs to one signature and is not kept."""
        given = {name: getattr(self, name) for name in _FIELDS if name != "not_after"}
        kept = {name: value for name, value in given.items() if value != _FIELDS[name]}
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
        return {"key_type": self.key_type, **kept}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Wish":
        """Raises InputError naming the field that cannot be used."""
        if unknown := given.keys() - _FIELDS.keys():
            raise InputError(f"A wish has no field called {', '.join(sorted(map(str, unknown)))}.", code="wish")
        return cls(**{name: _field(name, value, _FIELDS[name]) for name, value in given.items()})


def _field(name: str, value: Any, plain: Any) -> Any:
    if name == "not_after":
        return _moment(value)
    if isinstance(plain, tuple):
        fits = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        value = tuple(value) if fits else value
    elif plain is None:
        wanted = bool if name == "include_aia" else int
        fits = value is None or type(value) is wanted
    else:
        fits = type(value) is type(plain)
    if not fits:
        raise InputError(f"The field {name} cannot be {value!r}.", code="wish")
    return value


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = ""
    if moment is None or isinstance(moment, datetime):
        return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
    raise InputError(f"The field not_after cannot be {value!r}.", advice="Write it like 2027-01-31.", code="wish")


_FIELDS: dict[str, Any] = {field.name: field.default for field in fields(Wish)}


def wish_of(certificate: x509.Certificate, profile: str) -> Wish:
    """What would make a certificate like this one again: for those that came from elsewhere."""
    constraints = constraints_of(certificate)
    basic = extension_of(certificate.extensions, x509.BasicConstraints)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return Wish(
        profile=profile,
        subject=subject_text(certificate.subject),
        days=min(LONGEST_DAYS, max(1, round(lifetime / timedelta(days=1)))),
        key_type=key_type_of(certificate.public_key()),
        is_ca=bool(basic and basic.ca),
        path_length=basic.path_length if basic else None,
        permitted=tuple(map(str, constraints.permitted)),
        excluded=tuple(map(str, constraints.excluded)),
    )


def wish_with_key(wish: Wish, public_key: object) -> Wish:
    """The same for a key that is there already. Raises KeyRefused for a kind that no client takes."""
    return replace(wish, key_type=key_type_of(public_key))
