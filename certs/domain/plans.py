"""A wish weighed: by itself, by its profile, by the CAs above it (RFC 5280; CA/Browser Forum BR 7.1).

Pure: the clock is a parameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509

from certs.domain.constraints import Constraints, constraint_parse, constraints_check, constraints_parse
from certs.domain.errors import InputError, NotAllowed
from certs.domain.hosts import Host, HostKind, hosts_parse
from certs.domain.issuer import Issuer
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import CUSTOM, OCSP, USAGES, Profile
from certs.domain.subjects import common_name, subject_parse, subject_text, subject_values
from certs.domain.wishes import Wish

SKEW = timedelta(hours=1)  # clocks of clients run behind


@dataclass(frozen=True)
class Plan:
    """A wish with everything that its profile and its issuer leave no choice about; ready to be built."""

    subject: x509.Name
    hosts: tuple[Host, ...]
    not_before: datetime
    not_after: datetime
    usages: tuple[str, ...]
    is_ca: bool
    path_length: int | None
    addresses: bool
    constraints: Constraints
    public_style: bool
    identifier: x509.SubjectKeyIdentifier | None = None  # None: made of the key


def certificate_plan(wish: Wish, profile: Profile, issuer: Issuer | None, *, now: datetime) -> Plan:
    """Weigh a wish: by itself, by its profile, by the CAs above it. `issuer` None: it signs itself.

    Raises InputError (NameRefused, ConstraintBroken) or NotAllowed with the sentence that says what stands against it.
    """
    is_ca = wish.is_ca or profile.is_ca
    hosts = hosts_parse(wish.hosts)
    _check_profile(wish, profile, hosts, is_ca)
    subject = _subject(wish, profile, hosts, is_ca, bare=bool(issuer and issuer.constraints))
    not_before, not_after = _validity(wish, profile, issuer, now)
    if is_ca and issuer is not None:
        _check_room(wish, issuer)
        if any(subject == one.subject for one in (issuer.certificate, *issuer.above)):
            raise InputError(
                f"A CA above it has the same name, {subject_text(subject)}: clients would not find the chain.",
                advice="Choose another common name.",
                code="subject",
            )
    elif not is_ca and (wish.permitted or wish.excluded or wish.path_length is not None):
        raise InputError("Only a CA has a path length and name constraints.", advice="Leave them empty.")
    constraints_check(issuer.constraints if issuer else (), hosts, subject)
    return Plan(
        subject=subject,
        hosts=hosts,
        not_before=not_before,
        not_after=not_after,
        usages=wish.usages or (() if is_ca else profile.usages),
        is_ca=is_ca,
        path_length=_path_length(wish, profile, issuer) if is_ca else None,
        addresses=wish.include_aia is not False and OCSP not in (wish.usages or profile.usages),
        constraints=constraints_parse(wish.permitted, wish.excluded),
        public_style=profile.public_style,
    )


def _check_profile(wish: Wish, profile: Profile, hosts: Sequence[Host], is_ca: bool) -> None:
    def refuse(message: str, advice: str = "") -> InputError:
        return InputError(f"The profile “{profile.label}” {message}", advice=advice, code="profile")

    if wish.is_ca and not profile.is_ca and profile.name != CUSTOM:
        raise refuse("makes no CA.", "Choose “Intermediate CA”.")
    if unknown := [usage for usage in wish.usages if usage not in USAGES]:
        raise InputError(f"“{', '.join(unknown)}” is no purpose.", advice=f"Known are {', '.join(USAGES)}.")
    beyond = [usage for usage in wish.usages if usage not in profile.usages + profile.usages_allowed]
    if beyond:
        raise refuse(f"is not for {', '.join(USAGES[usage] for usage in beyond)}.", "Choose another profile.")
    if wish.key_type not in OWN_KEY_TYPES and not wish.key_type.startswith("rsa-"):
        raise InputError(f"“{wish.key_type}” is no key type.", advice=f"Use one of {', '.join(OWN_KEY_TYPES)}.")
    if profile.key_types and wish.key_type not in profile.key_types:
        raise refuse(f"does not take {wish.key_type}.", f"Use one of {', '.join(profile.key_types)}.")
    _check_hosts(profile, hosts, refuse)
    if profile.needs_host and not hosts and not is_ca:
        raise refuse("needs a host.", "Type a DNS name, an IP address, or what it is to be reached by.")


def _check_hosts(profile: Profile, hosts: Sequence[Host], refuse: Callable[[str, str], InputError]) -> None:
    for host in hosts:
        if host.kind.value not in profile.host_kinds:
            raise refuse(f"takes no {host.kind.label}: {host}.", "Leave it out, or choose another profile.")
    allowed = [constraint_parse(pattern) for pattern in profile.hosts]
    for host in hosts:
        if allowed and not any(one.kind == host.kind and one.holds(host.value) for one in allowed):
            raise refuse(f"does not allow {host}.", f"Allowed is {', '.join(profile.hosts)}.")


def _subject(wish: Wish, profile: Profile, hosts: Sequence[Host], is_ca: bool, *, bare: bool) -> x509.Name:
    """`bare`: no address becomes the common name, since openssl holds it for a DNS name that constraints exclude."""
    subject = subject_parse(wish.subject)
    if not subject.rdns and profile.common_name:
        kinds = (HostKind.DNS, HostKind.EMAIL) if bare else (HostKind.DNS, HostKind.EMAIL, HostKind.IP)
        first = next((host for host in hosts if host.kind in kinds), None)
        subject = common_name(first.value if first else "")
    for fixed in profile.subject_fixed:
        subject = _with_fixed(subject, subject_parse(fixed), profile)
    for label in profile.subject_required or (("CN",) if is_ca else ()):
        if not subject_values(subject, label):
            raise InputError(
                f"The profile “{profile.label}” needs {label} in the subject.",
                advice=f"Add it, for example {label}=…",
                code="profile",
            )
    if not subject.rdns and not hosts:
        raise InputError(
            "The certificate would be for nobody.", advice="Give a subject such as CN=Alice, or a host.", code="wish"
        )
    return subject


def _with_fixed(subject: x509.Name, fixed: x509.Name, profile: Profile) -> x509.Name:
    for attribute in fixed:
        there = [str(one.value) for one in subject.get_attributes_for_oid(attribute.oid)]
        if not there:
            subject = x509.Name([x509.RelativeDistinguishedName([attribute]), *subject.rdns])
        elif there != [str(attribute.value)]:
            raise InputError(
                f"The profile “{profile.label}” wants {fixed.rfc4514_string()} in the subject, not {', '.join(there)}.",
                advice="Leave that part out: it is added.",
                code="profile",
            )
    return subject


def _validity(wish: Wish, profile: Profile, issuer: Issuer | None, now: datetime) -> tuple[datetime, datetime]:
    days = wish.days or min(profile.usual_days, profile.longest_days)
    if not 1 <= days <= profile.longest_days:
        raise InputError(
            f"The profile “{profile.label}” allows 1 to {profile.longest_days} days, not {days}.", code="profile"
        )
    now = now.replace(microsecond=0)
    not_before = max(now - SKEW, issuer.not_before) if issuer else now - SKEW
    # Both ends count (RFC 5280 §4.1.2.5): a second less than the days.
    not_after = not_before + timedelta(days=days, seconds=-1)
    if issuer and issuer.not_after <= now:
        raise NotAllowed(
            f"The CA has expired on {issuer.not_after:%Y-%m-%d}.", advice="Renew it first.", code="authority-expired"
        )
    if wish.not_after is None:
        return not_before, min(not_after, issuer.not_after) if issuer else not_after
    wanted = wish.not_after.astimezone(UTC).replace(microsecond=0)
    if wanted <= now:
        raise InputError(f"The end of its validity, {wanted:%Y-%m-%d %H:%M} UTC, has passed.")
    if wanted > not_before + timedelta(days=profile.longest_days, seconds=-1):
        raise InputError(
            f"The profile “{profile.label}” allows at most {profile.longest_days} days.",
            advice="Choose an earlier end.",
            code="profile",
        )
    if issuer and wanted > issuer.not_after:
        raise InputError(
            f"The CA itself ends on {issuer.not_after:%Y-%m-%d %H:%M} UTC; nothing that it signs can last longer.",
            advice="Choose an earlier end, or renew the CA first.",
        )
    return not_before, wanted


def _check_room(wish: Wish, issuer: Issuer) -> None:
    room = issuer.room_below
    if room is not None and room < 1:
        raise NotAllowed(
            "The path length of the CA allows no CA below it.",
            advice="Choose another CA, or one without that limit.",
            code="path-length",
        )
    if room is not None and wish.path_length is not None and wish.path_length > room - 1:
        raise InputError(
            f"Below this CA a path length of at most {room - 1} has an effect, not {wish.path_length}.",
            advice="Choose a smaller one, or leave it open.",
            code="path-length",
        )


def _path_length(wish: Wish, profile: Profile, issuer: Issuer | None) -> int | None:
    wanted = wish.path_length
    if wanted is not None and wanted < 0:
        raise InputError("A path length is 0 or more.", code="path-length")
    if profile.path_length is not None:
        if wanted is not None and wanted > profile.path_length:
            raise InputError(
                f"The profile “{profile.label}” allows a path length of at most {profile.path_length}.", code="profile"
            )
        wanted = profile.path_length if wanted is None else wanted
    room = issuer.room_below if issuer else None
    return room - 1 if wanted is None and room is not None else wanted
