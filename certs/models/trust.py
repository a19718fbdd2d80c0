from django.db import models

from certs.models.certificate import Certificate
from portal import clock


class TrustedAuthority(models.Model):
    """A CA certificate of the store that the portal trusts: for its own calls, for clients of its listener, or both."""

    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, related_name="trusted")
    outbound = models.BooleanField(default=False)  # besides the system's roots, for all that goes out
    clients = models.BooleanField(default=False)  # its client certificates are accepted by our own listener
    log_in = models.BooleanField(default=False)  # and log in the person whose e-mail address they name
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["certificate__name"]
        verbose_name_plural = "trusted authorities"

    def __str__(self) -> str:
        return self.certificate.name
