import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.domain import states
from certs.models.account import AcmeAccount
from certs.models.certificate import Certificate, CertificateVersion
from certs.models.privatekey import PrivateKey
from portal import clock


class Order(models.Model):
    """One flow from the wish for a certificate to its proof; obtain and renew are the same flow.

    `state` moves only along `domain.states.ORDER`, by compare-and-swap. Everything needed to go on after a kill is
    here before it is acted on: key and CSR before the order, the order's URL as soon as it is known.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="orders")
    account = models.ForeignKey(AcmeAccount, on_delete=models.PROTECT, related_name="orders")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=40)  # asked, due, ari, forced, on-demand …
    names = models.JSONField(default=list)
    state = models.CharField(max_length=20, default=states.NEW, choices=states.ORDER.choices())
    # Binding wished for after issue; None/empty leaves the listener as it is.
    bind = models.BooleanField(default=False)
    bind_address = models.CharField(max_length=45, blank=True)
    bind_port = models.PositiveIntegerField(null=True, blank=True)

    key = models.ForeignKey(PrivateKey, null=True, blank=True, on_delete=models.PROTECT, related_name="orders")
    csr_pem = models.TextField(blank=True)
    order_url = models.URLField(max_length=500, blank=True)
    finalize_url = models.URLField(max_length=500, blank=True)
    certificate_url = models.URLField(max_length=500, blank=True)
    replaces = models.CharField(max_length=200, blank=True)  # ARI id of the version this one replaces
    version = models.ForeignKey(
        CertificateVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="orders"
    )

    error_code = models.CharField(max_length=80, blank=True)
    error_message = models.TextField(blank=True)
    error_advice = models.TextField(blank=True)
    problem = models.JSONField(default=dict, blank=True)  # the CA's document as received
    evidence = models.JSONField(default=list, blank=True)  # what we see ourselves: [{"url", "curl", "seen"}]
    served = models.BooleanField(null=True)  # proven by a handshake; None = not asked for or could not check

    attempts = models.PositiveIntegerField(default=0)  # since the last step that was taken
    restarts = models.PositiveSmallIntegerField(default=0)  # how often a new order at the CA replaced a lost one
    next_attempt_at = models.DateTimeField(default=clock.now)
    lease_owner = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(finished_at__isnull=True), name="order_due"),
        ]
        constraints = [
            # At most one order under way per certificate: the net under the check in the service.
            models.UniqueConstraint(
                fields=["certificate"], condition=Q(finished_at__isnull=True), name="one_open_order_per_certificate"
            )
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.names[:3])} ({self.state})"


class Challenge(models.Model):
    """An http-01 answer that any node gives, for any Host, until the authorization is final."""

    token = models.CharField(max_length=128, primary_key=True)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="challenges")
    name = models.CharField(max_length=255)
    authorization_url = models.URLField(max_length=500)
    challenge_url = models.URLField(max_length=500)
    key_authorization = models.TextField()  # public by design: RFC 8555 §8.1, no secret of the account key
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return f"{self.name} {self.token[:8]}…"
