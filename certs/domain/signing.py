"""The certificate made of a plan: its extensions, its serial number, its signature (RFC 5280; CA/Browser Forum BR 7.1).

Pure: keys and the serial number are parameters.
"""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.domain.errors import InputError
from certs.domain.issuer import Issuer, PublicKey
from certs.domain.keys import Digest, Key, key_type_of, signature_hash
from certs.domain.plans import Plan
from certs.domain.profiles import CLIENT, CODE, EMAIL, OCSP, SERVER, TIME
from certs.domain.wishes import Wish

DIGESTS: dict[str, Digest] = {each.name: each for each in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())}
_USAGE_OIDS = {
    SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    EMAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION,
    CODE: ExtendedKeyUsageOID.CODE_SIGNING,
    TIME: ExtendedKeyUsageOID.TIME_STAMPING,
    OCSP: ExtendedKeyUsageOID.OCSP_SIGNING,
}


def usages_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """What it is for, as keys of USAGES; TLS servers where it does not say. Raises InputError for other purposes."""
    try:
        given = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return (SERVER,)
    found = tuple(usage for usage, oid in _USAGE_OIDS.items() if oid in given)
    if len(found) != len(list(given)) or OCSP in found:
        raise InputError(
            "It has a purpose that is not issued here by a wish.",
            advice="Issue a certificate of your own profile in its place.",
            code="usages",
        )
    return found


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


def signing_digest(key: Key, wanted: str = "") -> Digest | None:
    """By the strength of the key unless chosen; none for Ed25519. Raises InputError for one that is too weak."""
    usual = signature_hash(key)
    if not wanted:
        return usual
    chosen = DIGESTS.get(wanted)
    if chosen is None:
        raise InputError(
            f"“{wanted}” is no digest that is signed with here.", advice=f"Use one of {', '.join(DIGESTS)}."
        )
    if usual is None:
        raise InputError(
            f"An Ed25519 key signs without a digest of its own; {wanted} cannot be chosen.",
            advice="Leave the digest open.",
        )
    if chosen.digest_size < usual.digest_size:
        raise InputError(
            f"{wanted} is weaker than the CA's key ({key_type_of(key)}).", advice=f"Use {usual.name} or leave it open."
        )
    return chosen


def serial_new() -> int:
    """159 bits of the system's generator: positive, and at most 20 octets (BR 7.1 asks for 64 bits)."""
    return x509.random_serial_number()
