"""What is issued for what purpose, and within which limits: the built-in profiles, and the shape of the operator's own.

A profile fills in what a wish leaves open and refuses what it does not allow.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from certs.domain.constraints import constraint_parse
from certs.domain.errors import InputError
from certs.domain.hosts import HostKind
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.subjects import SHORT_NAMES

SERVER, CLIENT, EMAIL, CODE, OCSP, TIME = "server", "client", "email", "code", "ocsp", "time"
# Purpose -> how people call it. The object identifiers stand in domain.signing.
USAGES = {
    SERVER: "TLS server",
    CLIENT: "TLS client",
    EMAIL: "e-mail",
    CODE: "code signing",
    TIME: "time stamping",
    OCSP: "OCSP responder",
}
CUSTOM = "custom"  # the profile without limits
LONGEST_DAYS = 36525  # a hundred years: notAfter beyond 9999 cannot be written, and nobody means it
_ALL_KINDS = tuple(kind.value for kind in HostKind)


@dataclass(frozen=True)
class Profile:
    """Empty tuples of limits mean: no limit of that kind."""

    name: str
    label: str
    help: str = ""
    is_ca: bool = False
    path_length: int | None = None  # the longest that may be asked for; None: any
    usages: tuple[str, ...] = ()  # keys of USAGES, put in where the wish names none
    usages_allowed: tuple[str, ...] = ()  # besides `usages`
    usual_days: int = 90
    longest_days: int = 825
    key_types: tuple[str, ...] = ()  # ids of domain.keys.OWN_KEY_TYPES
    host_kinds: tuple[str, ...] = _ALL_KINDS
    hosts: tuple[str, ...] = ()  # only names within these, written as name constraints are
    needs_host: bool = True
    common_name: bool = True  # without a subject, the first host becomes the common name
    subject_required: tuple[str, ...] = ()  # short names of attributes: CN, O, C …
    subject_fixed: tuple[str, ...] = ()  # attributes as they must read, such as O=Example Ltd; added where missing
    public_style: bool = False  # linted by the CA/B Forum's Baseline Requirements as well
    built_in: bool = False

    def as_json(self) -> dict[str, Any]:
        kept = asdict(self)
        for name in ("name", "label", "built_in"):
            kept.pop(name)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @classmethod
    def from_json(cls, name: str, label: str, rules: Mapping[str, Any]) -> "Profile":
        """Raises InputError for rules that mean nothing."""
        known = {field.name for field in fields(cls)} - {"name", "label", "built_in"}
        unknown = rules.keys() - known
        if unknown:
            raise InputError(f"A profile has no rule called {', '.join(sorted(unknown))}.", code="profile")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in rules.items()
        }
        for key, value in plain.items():
            _check_type(key, value, getattr(cls, key, None))
        profile = cls(name=name, label=label, **plain)
        profile_check(profile)
        return profile


BUILT_IN: dict[str, Profile] = {
    profile.name: replace(profile, built_in=True)
    for profile in (
        Profile(
            "server",
            "TLS server",
            "For web servers and other services of your own network.",
            usages=(SERVER,),
            usages_allowed=(CLIENT,),
            host_kinds=("dns", "ip", "uri"),
        ),
        Profile(
            "client",
            "TLS client",
            "For people, machines and services that log in with a certificate.",
            usages=(CLIENT,),
            usages_allowed=(EMAIL,),
            usual_days=365,
            needs_host=False,
        ),
        Profile(
            "both",
            "TLS server and client",
            "For services that are asked and ask others, such as members of a cluster.",
            usages=(SERVER, CLIENT),
        ),
        Profile(
            "public",
            "TLS server, public style",
            "For names below public domains, held to the CA/Browser Forum's rules as public CAs are.",
            usages=(SERVER,),
            usual_days=47,
            longest_days=200,
            key_types=("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"),
            host_kinds=("dns", "ip"),
            common_name=False,
            public_style=True,
        ),
        Profile(
            "intermediate",
            "Intermediate CA",
            "A CA below another: it signs certificates in its place.",
            is_ca=True,
            usual_days=1825,
            longest_days=LONGEST_DAYS,
            needs_host=False,
            host_kinds=(),
            subject_required=("CN",),
        ),
        Profile(
            "root",
            "Root CA",
            "It signs itself, and is trusted because somebody installs it.",
            is_ca=True,
            usual_days=3650,
            longest_days=LONGEST_DAYS,
            needs_host=False,
            host_kinds=(),
            subject_required=("CN",),
        ),
        Profile(
            "responder",
            "OCSP responder",
            "Answers in place of a CA whether its certificates are revoked.",
            usages=(OCSP,),
            usual_days=90,
            longest_days=3650,
            needs_host=False,
            host_kinds=(),
            subject_required=("CN",),
        ),
        Profile(
            CUSTOM,
            "Custom",
            "Every field as you choose it.",
            usages=(SERVER,),
            usages_allowed=(CLIENT, EMAIL, CODE, TIME),
            longest_days=LONGEST_DAYS,
            needs_host=False,
        ),
    )
}


def profile_for(is_ca: bool, usages: tuple[str, ...], *, has_issuer: bool) -> str:
    """The name of the built-in profile for a wish that names none."""
    if is_ca:
        return "intermediate" if has_issuer else "root"
    return {(): "server", (SERVER,): "server", (CLIENT,): "client"}.get(
        usages, "both" if set(usages) == {SERVER, CLIENT} else CUSTOM
    )


def profile_check(profile: Profile) -> None:
    """Whether rules of the operator's own can be meant. Raises InputError."""
    _known(profile.usages + profile.usages_allowed, USAGES, "purpose")
    _known(profile.key_types, OWN_KEY_TYPES, "key type")
    _known(profile.host_kinds, _ALL_KINDS, "kind of host")
    _known(profile.subject_required, SHORT_NAMES, "part of a subject")
    for pattern in profile.hosts:
        constraint_parse(pattern)
    if not 1 <= profile.longest_days <= LONGEST_DAYS:
        raise InputError(f"The longest validity is 1 to {LONGEST_DAYS} days.", code="profile")
    if not 1 <= profile.usual_days <= profile.longest_days:
        raise InputError("The usual validity is at least a day, and not beyond the longest.", code="profile")
    if profile.path_length is not None and profile.path_length < 0:
        raise InputError("A path length is 0 or more.", code="profile")
    if not profile.is_ca and not profile.usages:
        raise InputError("A profile for leaf certificates names at least one purpose.", code="profile")


def _known(given: tuple[str, ...], known: Any, what: str) -> None:
    if unknown := [one for one in given if one not in known]:
        raise InputError(
            f"“{', '.join(unknown)}” is no {what}.", advice=f"Known are {', '.join(known)}.", code="profile"
        )


def _check_type(name: str, value: Any, usual: Any) -> None:
    if name == "path_length":
        fits = value is None or (isinstance(value, int) and not isinstance(value, bool))
    elif isinstance(usual, tuple):
        fits = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    else:
        fits = type(value) is type(usual)
    if not fits:
        raise InputError(f"The rule {name} cannot be {value!r}.", code="profile")
