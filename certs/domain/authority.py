"""What a CA signs: the wish, the issuer, and the certificate made of both (RFC 5280; CA/Browser Forum BR 7.1).

Pure: keys, the clock and the serial number are parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certs.domain.constraints import Constraints, constraint_parse, constraints_check, constraints_of, constraints_parse
from certs.domain.errors import InputError, KeyRefused, NotAllowed
from certs.domain.hosts import Host, HostKind, hosts_parse
from certs.domain.keys import OWN_KEY_TYPES, Key, key_type_of
from certs.domain.profiles import CLIENT, CODE, EMAIL, LONGEST_DAYS, OCSP, SERVER, TIME, USAGES, Profile
from certs.domain.subjects import common_name, subject_parse, subject_text, subject_values

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
SKEW = timedelta(hours=1)  # clocks of clients run behind
DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_USAGE_OIDS = {
    SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    EMAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION,
    CODE: ExtendedKeyUsageOID.CODE_SIGNING,
    TIME: ExtendedKeyUsageOID.TIME_STAMPING,
    OCSP: ExtendedKeyUsageOID.OCSP_SIGNING,
}
# The digest that is as strong as the curve (BR 7.1.3.2.2), by the bits of the key.
_CURVE_DIGESTS = {256: "sha256", 384: "sha384", 521: "sha512"}


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


@dataclass(frozen=True)
class Issuer:
    """Who signs. `above` runs from its own issuer up to the root; addresses that are empty are left out."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()
    ca_url: str = ""
    crl_url: str = ""
    ocsp_url: str = ""

    @cached_property
    def name(self) -> x509.Name:
        return self.certificate.subject

    @cached_property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @cached_property
    def not_after(self) -> datetime:
        """The first end of all above it: no client believes in it any longer."""
        return min(one.not_valid_after_utc for one in (self.certificate, *self.above))

    @cached_property
    def constraints(self) -> tuple[Constraints, ...]:
        return tuple(found for one in (self.certificate, *self.above) if (found := constraints_of(one)))

    @cached_property
    def room_below(self) -> int | None:
        """How many CAs may stand between it and a leaf; None: any number."""
        lengths = [
            basic.path_length - depth
            for depth, one in enumerate((self.certificate, *self.above))
            if (basic := basic_constraints(one)) and basic.path_length is not None
        ]
        return min(lengths, default=None)

    @cached_property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The issuer's own identifier, whatever method it was made by."""
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_identifier(self.certificate))

    @cached_property
    def addresses(self) -> tuple[x509.ExtensionType, ...]:
        found: list[x509.ExtensionType] = []
        access = [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
            for method, url in (
                (AuthorityInformationAccessOID.OCSP, self.ocsp_url),
                (AuthorityInformationAccessOID.CA_ISSUERS, self.ca_url),
            )
            if url
        ]
        if access:
            found.append(x509.AuthorityInformationAccess(access))
        if self.crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.crl_url)], None, None, None)
            found.append(x509.CRLDistributionPoints([point]))
        return tuple(found)


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


def certificate_build(
    plan: Plan, public_key: PublicKey, issuer: Issuer | None, *, serial: int
) -> x509.CertificateBuilder:
    """Everything but the signature. `issuer` None: it signs itself."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.name if issuer else plan.subject)
        .subject_name(plan.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
    )
    for value, critical in _extensions(plan, public_key, issuer):
        builder = builder.add_extension(value, critical)
    return builder


def _extensions(plan: Plan, public_key: PublicKey, issuer: Issuer | None) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(plan.is_ca, plan.path_length), True),
        (_key_usage(plan, public_key), True),
    ]
    identifier = plan.identifier or x509.SubjectKeyIdentifier.from_public_key(public_key)
    if not plan.public_style:  # not recommended there (BR 7.1.2.7.6)
        found.append((identifier, False))
    if issuer is not None:
        found.append((issuer.key_identifier, False))
    else:
        found.append((x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False))
    if plan.usages:
        # RFC 3161 §2.3 has the one of a time stamper critical and alone.
        found.append(
            (x509.ExtendedKeyUsage([_USAGE_OIDS[usage] for usage in plan.usages]), plan.usages == (TIME,)),
        )
    if plan.hosts:
        # Critical where the subject is empty: RFC 5280 §4.2.1.6.
        names = x509.SubjectAlternativeName([host.general_name for host in plan.hosts])
        found.append((names, not plan.subject.rdns))
    if plan.constraints:
        found.append((plan.constraints.extension, True))
    if plan.public_style:
        policies = x509.CertificatePolicies([x509.PolicyInformation(_DOMAIN_VALIDATED, None)])
        found.append((policies, False))
    if plan.addresses and issuer is not None:
        found += [(value, False) for value in issuer.addresses]
    if OCSP in plan.usages:
        # Nobody can ask the responder whether it is revoked itself (RFC 6960 §4.2.2.2.1).
        found.append((x509.OCSPNoCheck(), False))
    return found


_DOMAIN_VALIDATED = x509.ObjectIdentifier("2.23.140.1.2.1")


def _key_usage(plan: Plan, public_key: PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # of a CA: its OCSP answers
        key_encipherment=isinstance(public_key, rsa.RSAPublicKey) and bool({SERVER, EMAIL} & set(plan.usages)),
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=plan.is_ca,
        crl_sign=plan.is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def certificate_sign(builder: x509.CertificateBuilder, key: Key, wish: Wish) -> x509.Certificate:
    """`key` is the issuer's. Raises InputError for a digest that does not fit it."""
    digest = signing_digest(key, wish.digest)
    if not wish.pss:
        return builder.sign(key, digest)
    if not isinstance(key, rsa.RSAPrivateKey) or digest is None:
        raise InputError("RSASSA-PSS is a signature of RSA keys; this CA's key is none.", advice="Leave it out.")
    pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
    return builder.sign(key, digest, rsa_padding=pss)


def signing_digest(key: Key, wanted: str = "") -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """By the strength of the key unless chosen; none for Ed25519. Raises InputError for one that is too weak."""
    if wanted and wanted not in DIGESTS:
        raise InputError(
            f"“{wanted}” is no digest that is signed with here.", advice=f"Use one of {', '.join(DIGESTS)}."
        )
    if isinstance(key, ed25519.Ed25519PrivateKey):
        if wanted:
            raise InputError(
                f"An Ed25519 key signs without a digest of its own; {wanted} cannot be chosen.",
                advice="Leave the digest open.",
            )
        return None
    usual = _CURVE_DIGESTS[key.curve.key_size] if isinstance(key, ec.EllipticCurvePrivateKey) else "sha256"
    chosen = DIGESTS[wanted or usual]
    if chosen.digest_size < DIGESTS[usual].digest_size:
        raise InputError(
            f"{wanted} is weaker than the CA's key ({key_type_of(key)}).", advice=f"Use {usual} or leave it open."
        )
    return chosen  # type: ignore[return-value]  # all of DIGESTS are of these three


def serial_new() -> int:
    """159 bits of the system's generator: positive, and at most 20 octets (BR 7.1 asks for 64 bits)."""
    return x509.random_serial_number()


def serial_hex(serial: int) -> str:
    return f"{serial:x}"


def basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def subject_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Its own, whatever method it was made by; else SHA-1 of the key (RFC 5280 §4.2.1.2)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(public_key_of(certificate))


def public_key_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    """Raises KeyRefused for a kind that is not signed for here."""
    key = holder.public_key()
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise KeyRefused("The key is of a kind that is not signed for here.", advice="Use RSA, EC or Ed25519.")


def issuer_check(certificate: x509.Certificate) -> None:
    """Whether it may sign certificates at all. Raises InputError."""
    basic = basic_constraints(certificate)
    if basic is None or not basic.ca:
        raise InputError("This certificate is not that of a CA.", advice="Give the certificate of a CA with its key.")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise InputError("Its key usage does not let this CA sign certificates.", advice="Give another CA.")


def wish_of(certificate: x509.Certificate, profile: str) -> Wish:
    """What would make a certificate like this one again: for those that came from elsewhere."""
    constraints = constraints_of(certificate)
    basic = basic_constraints(certificate)
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


def _check_profile(wish: Wish, profile: Profile, hosts: Sequence[Host], is_ca: bool) -> None:
    def refuse(message: str, advice: str = "") -> InputError:
        return InputError(f"The profile “{profile.label}” {message}", advice=advice, code="profile")

    if wish.is_ca and not profile.is_ca and profile.name != "custom":
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


def wish_with_key(wish: Wish, public_key: object) -> Wish:
    """The same for a key that is there already. Raises KeyRefused for a kind that no client takes."""
    return replace(wish, key_type=key_type_of(public_key))
