import uuid
from datetime import datetime, timedelta

from cryptography import x509
from django.db import models

from certs.domain.pem import certificates_read
from certs.models.account import AcmeAccount
from certs.models.method import ChallengeMethod
from certs.models.organization import Department, Organization, default_organization
from certs.models.privatekey import PrivateKey
from portal import clock


class Certificate(models.Model):
    """What people name and bind; its id never changes. `current` is the version in use, the others are kept."""

    class Source(models.TextChoices):
        ACME = "acme", "ACME"
        UPLOADED = "uploaded", "uploaded"
        SELF_SIGNED = "self-signed", "self-signed"
        INTERNAL = "internal", "internal CA"
        KEY_PAIR = "key-pair", "key pair made here"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    api_id = models.CharField(max_length=200, blank=True)  # chosen by a client of the API; "" is the UUID
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, default=default_organization)
    department = models.ForeignKey(Department, null=True, blank=True, on_delete=models.PROTECT)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    metadata = models.JSONField(default=dict, blank=True)  # text -> text, the owner's own
    exposed = models.BooleanField(default=False)  # its public key is in /.well-known/jwks.json
    source = models.CharField(max_length=20, choices=Source.choices)
    names = models.JSONField(default=list)  # wanted DNS names (A-labels), sorted
    key_type = models.CharField(max_length=20, default="ec-p256")
    # Without a version: of a key pair, or of a request that an outside CA has not answered yet.
    key = models.ForeignKey(PrivateKey, null=True, blank=True, on_delete=models.PROTECT, related_name="certificates")
    request_pem = models.TextField(blank=True)  # PKCS#10, waiting for that answer
    # Who signs it of our own CAs, and what it signs: domain.wishes.Wish as JSON, read again at each renewal.
    authority = models.ForeignKey(
        "Authority", null=True, blank=True, on_delete=models.PROTECT, related_name="certificates"
    )
    wish = models.JSONField(default=dict, blank=True)
    account = models.ForeignKey(
        AcmeAccount, null=True, blank=True, on_delete=models.PROTECT, related_name="certificates"
    )
    # How it is asked for. Empty means what the CA does by itself; the defaults are those of ACME.md.
    profile = models.CharField(max_length=100, blank=True)
    preferred_chain = models.CharField(max_length=255, blank=True)  # common name of the topmost issuer wanted
    reuse_key = models.BooleanField(default=False)  # keep the private key at renewals
    challenge_method = models.ForeignKey(
        ChallengeMethod, null=True, blank=True, on_delete=models.PROTECT, related_name="certificates"
    )  # None: chosen by itself, http-01 first
    on_demand = models.BooleanField(default=False)  # made by the first visitor of its name
    export_name = models.CharField(max_length=120, blank=True)  # its directory below acme/, the same for life
    current = models.OneToOneField(
        "CertificateVersion", null=True, blank=True, on_delete=models.SET_NULL, related_name="current_of"
    )
    # Of the current version, kept here for the indexes of lists.
    expires_at = models.DateTimeField(null=True, blank=True)
    issuer_name = models.CharField(max_length=255, blank=True)
    auto_renew = models.BooleanField(default=False)
    renew_before_days = models.PositiveSmallIntegerField(null=True, blank=True)  # overrides the portal's setting
    check_hours = models.PositiveSmallIntegerField(null=True, blank=True)  # overrides the portal's setting
    created_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    # Renewal (ACME.md, ARCHITECTURE §5). The last decision lives here; an event is written only when it changes.
    next_check_at = models.DateTimeField(null=True, blank=True, db_index=True)
    last_check_at = models.DateTimeField(null=True, blank=True)
    last_decision = models.CharField(max_length=40, blank=True)  # a code of domain.renewal.Decision
    last_decision_text = models.TextField(blank=True)
    last_renewed_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)  # in a row
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # back-off after a failure
    retry_after_at = models.DateTimeField(null=True, blank=True)  # the CA's Retry-After: not even force goes before it
    ari = models.JSONField(default=dict, blank=True)  # domain.ari.Suggestion

    class Meta:
        ordering = ["name", "id"]
        indexes = [
            models.Index(fields=["failures"], condition=models.Q(failures__gt=0), name="certificate_failing"),
            models.Index(fields=["name", "id"], name="certificate_by_name"),
            models.Index(fields=["expires_at", "id"], name="certificate_by_expiry"),
            models.Index(fields=["issuer_name", "id"], name="certificate_by_issuer"),
            models.Index(fields=["created_at", "id"], name="certificate_by_creation"),
            models.Index(fields=["deleted_at"], condition=models.Q(deleted_at__isnull=False), name="certificate_gone"),
            models.Index(fields=["id"], condition=models.Q(exposed=True), name="certificate_exposed"),
            models.Index(fields=["id"], condition=models.Q(on_demand=True), name="certificate_on_demand"),
            models.Index(fields=["source"], name="certificate_by_source"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["export_name"],
                condition=models.Q(deleted_at=None) & ~models.Q(export_name=""),
                name="export_name_once",
            ),
            models.UniqueConstraint(fields=["api_id"], condition=~models.Q(api_id=""), name="api_id_once"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_test(self) -> bool:
        """Issued by a staging directory: browsers will not trust it."""
        return bool(self.current and self.current.is_test)


class CertificateVersion(models.Model):
    """One issued or imported certificate with its chain; never changed once written."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="versions")
    key = models.ForeignKey(PrivateKey, null=True, blank=True, on_delete=models.PROTECT, related_name="versions")
    leaf_pem = models.TextField()
    chain_pem = models.TextField(blank=True)  # intermediates, leaf's issuer first, without the root
    fingerprint_sha256 = models.CharField(max_length=64, db_index=True)  # hex, of the leaf's DER
    serial = models.CharField(max_length=64)  # hex
    subject = models.CharField(max_length=500, blank=True)
    issuer = models.CharField(max_length=500, blank=True)
    issuer_name = models.CharField(max_length=255, blank=True)  # its common name, else its organization
    names = models.JSONField(default=list)  # DNS names and addresses of the SAN
    other_names = models.JSONField(default=list, blank=True)  # its e-mail addresses and URIs
    key_type = models.CharField(max_length=20, blank=True)  # a key of domain.keys.KEY_TYPES; "" before 0005
    self_signed = models.BooleanField(default=False)
    is_ca = models.BooleanField(default=False)
    is_client = models.BooleanField(default=False)  # its extended key usage names client authentication
    is_test = models.BooleanField(default=False)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)  # by us, or found in the CA's list
    revocation_reason = models.CharField(max_length=40, blank=True)  # a name of RFC 5280 §5.3.1
    revocation_checked_at = models.DateTimeField(null=True, blank=True)
    revocation_trouble = models.TextField(blank=True)  # why the last look could not tell
    retired_at = models.DateTimeField(null=True, blank=True)  # when another version became the current one
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["certificate", "fingerprint_sha256"], name="version_once_per_certificate")
        ]
        indexes = [
            models.Index(fields=["revoked_at"], condition=models.Q(revoked_at__isnull=False), name="version_revoked"),
            models.Index(fields=["subject"], condition=models.Q(is_ca=True), name="version_authority"),
            models.Index(fields=["key_type"], name="version_by_key_type"),
            models.Index(fields=["serial"], name="version_by_serial"),
            models.Index(fields=["id"], condition=models.Q(is_client=True), name="version_client"),
            models.Index(fields=["id"], condition=models.Q(is_test=True), name="version_test"),
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint_sha256[:12]} until {self.not_after:%Y-%m-%d}"

    @property
    def leaf(self) -> x509.Certificate:
        """Raises CertificateRefused where what is stored cannot be read."""
        return certificates_read(self.leaf_pem.encode())[0]

    @property
    def fullchain_pem(self) -> str:
        return self.leaf_pem + self.chain_pem

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before

    def is_valid_at(self, moment: datetime) -> bool:
        return self.not_before <= moment <= self.not_after


class CertificateName(models.Model):
    """What a certificate is found by: the names of its current version, and its own name (the label) in lower case.

    `reversed` makes a domain suffix a b-tree range; it is empty for a label.
    """

    class Kind(models.TextChoices):
        SAN = "san", "subject alternative name"
        LABEL = "label", "name in Bindery"

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="name_rows")
    kind = models.CharField(max_length=5, choices=Kind.choices, default=Kind.SAN)
    name = models.CharField(max_length=255, db_index=True)
    reversed = models.CharField(max_length=255, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["certificate", "kind", "name"], name="name_once_per_certificate")
        ]

    def __str__(self) -> str:
        return self.name


class CertificateTag(models.Model):
    """A word that its owner gave a certificate."""

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="tag_rows")
    tag = models.CharField(max_length=100)

    class Meta:
        ordering = ["tag"]
        indexes = [models.Index(fields=["tag", "certificate"], name="tag_certificate")]
        constraints = [models.UniqueConstraint(fields=["certificate", "tag"], name="tag_once_per_certificate")]

    def __str__(self) -> str:
        return self.tag


class FallbackIssuer(models.Model):
    """Whom to ask where the account of the certificate cannot give it, in order of position."""

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="fallbacks")
    account = models.ForeignKey(AcmeAccount, on_delete=models.PROTECT, related_name="fallback_for")
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["certificate", "account"], name="fallback_once_per_certificate")]

    def __str__(self) -> str:
        return f"{self.position}. {self.account}"
