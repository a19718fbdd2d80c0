import uuid

from django.db import models
from django.db.models import Q

from certs.models.organization import Organization, default_organization
from certs.models.privatekey import PrivateKey
from portal import clock


class AcmeAccount(models.Model):
    """An account at an ACME directory. The key is made before the first request, so a lost answer finds it again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, default=default_organization)
    directory_url = models.URLField(max_length=500)
    ca_bundle = models.TextField(
        blank=True, help_text="PEM of the roots to trust for this directory, besides the system's"
    )
    allow_private = models.BooleanField(
        default=False, help_text="The directory may be on a loopback or private address"
    )
    email = models.EmailField(blank=True)
    account_url = models.URLField(max_length=500, blank=True)  # empty until the CA answered
    terms_url = models.URLField(max_length=500, blank=True)
    terms_agreed_at = models.DateTimeField(null=True, blank=True)
    ari_retry_at = models.DateTimeField(null=True, blank=True)  # its renewal information is not asked before
    ari_trouble = models.TextField(blank=True)  # why it gave none
    key = models.ForeignKey(PrivateKey, on_delete=models.PROTECT, related_name="accounts")
    # Key rollover (RFC 8555 §7.3.5): stored before the CA is asked, so that a killed process can find out which holds.
    next_key = models.ForeignKey(
        PrivateKey, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts_next"
    )
    eab_kid = models.CharField(max_length=255, blank=True)
    eab_sealed = models.TextField(blank=True)  # the HMAC key; dropped once the CA has taken it
    rehearsal_account = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )  # at the CA's staging directory, where one is known
    deactivated_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    EAB_PURPOSE = "account-eab"

    class Meta:
        verbose_name = "ACME account"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "directory_url", "email"],
                condition=Q(deactivated_at=None),
                name="account_once_per_directory",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email or 'no e-mail'} at {self.directory_url}"


class AcmeDirectory(models.Model):
    """What is known of a CA's directory besides its accounts: how it fared when last asked, and its limits."""

    directory_url = models.URLField(max_length=500, unique=True)
    limits = models.JSONField(default=list, blank=True)  # domain.budget.Limit as JSON; set by the operator
    rehearsal_url = models.URLField(max_length=500, blank=True)  # its staging directory, set by the operator
    checked_at = models.DateTimeField(null=True, blank=True)
    trouble = models.TextField(blank=True)  # why it did not answer then
    trouble_since = models.DateTimeField(null=True, blank=True)
    terms_url = models.URLField(max_length=500, blank=True)  # as the directory names them now
    profiles = models.JSONField(default=dict, blank=True)  # name -> the CA's own description
    clock_skew = models.FloatField(null=True, blank=True)  # seconds: our clock minus its Date header
    retry_after_at = models.DateTimeField(null=True, blank=True)  # it is overloaded: no order asks before

    class Meta:
        verbose_name_plural = "ACME directories"

    def __str__(self) -> str:
        return self.directory_url
