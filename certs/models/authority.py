import uuid
from collections.abc import Iterator

from django.db import models
from django.db.models import Q

from certs.models.certificate import Certificate
from portal import clock


class Authority(models.Model):
    """A certification authority of our own: one name with one key, for life.

    A renewal signs the same key again; another key is another authority, the `successor`. Its certificate, which also
    holds the key, is a Certificate like any other.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, related_name="own_authority")
    successor = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="predecessors")
    # Its key has a passphrase that is not stored: nothing is signed without a person.
    offline = models.BooleanField(default=False)
    include_aia = models.BooleanField(default=True)  # issuer, OCSP and CRL addresses in what it signs
    profiles = models.JSONField(default=list, blank=True)  # names of those that it signs by; empty: all
    retired_at = models.DateTimeField(null=True, blank=True)  # signs no certificates any more; still tells of revoked
    # Its revocation list, and who answers OCSP in its place (a certificate that it signed for that).
    crl_days = models.PositiveSmallIntegerField(default=7)
    crl_number = models.PositiveBigIntegerField(default=0)
    crl_der = models.BinaryField(null=True, blank=True)
    crl_this_update = models.DateTimeField(null=True, blank=True)
    crl_next_update = models.DateTimeField(null=True, blank=True, db_index=True)
    crl_trouble = models.TextField(blank=True)  # why the last attempt brought none
    # Changes of the register (revoked, released) are counted; the list tells of the first `crl_changes` of them.
    register_changes = models.PositiveBigIntegerField(default=0)
    crl_changes = models.PositiveBigIntegerField(default=0)
    responder = models.ForeignKey(Certificate, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    responder_trouble = models.TextField(blank=True)  # why it could not be renewed
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "authorities"

    def __str__(self) -> str:
        return self.certificate.name

    def successors(self) -> "Iterator[Authority]":
        """Who took over from it, and from those, each once."""
        seen, row = {self.pk}, self.successor
        while row is not None and row.pk not in seen:
            yield row
            seen.add(row.pk)
            row = row.successor

    @property
    def following(self) -> "Authority":
        """The last of its successors; itself where there is none."""
        return [self, *self.successors()][-1]


class IssuedCertificate(models.Model):
    """The register of what an authority signed: written before it is signed, kept until it has expired.

    CRL and OCSP read nothing else, so what is deleted from the store stays revoked, and what was signed by a process
    that died on the way is known.
    """

    authority = models.ForeignKey(Authority, on_delete=models.PROTECT, related_name="issued")
    serial = models.CharField(max_length=40)  # hex, lower case, as in CertificateVersion
    subject = models.CharField(max_length=500, blank=True)
    not_after = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=40, blank=True)  # a name of RFC 5280 §5.3.1
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["authority", "serial"], name="serial_once_per_authority")]
        indexes = [
            models.Index(fields=["authority", "serial"], condition=Q(revoked_at__isnull=False), name="issued_revoked")
        ]

    def __str__(self) -> str:
        return f"{self.serial} of {self.authority_id}"


class IssuanceProfile(models.Model):
    """A profile of the operator's own, beside the built-in ones of domain.profiles; `rules` is a Profile as JSON."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=60, unique=True)
    label = models.CharField(max_length=120)
    rules = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.label
