import uuid

from django.db import models

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
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name = "ACME account"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "directory_url", "email"], name="account_once_per_directory"
            )
        ]

    def __str__(self) -> str:
        return f"{self.email or 'no e-mail'} at {self.directory_url}"
