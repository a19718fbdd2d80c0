import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.domain import states
from certs.models.account import AcmeAccount
from certs.models.certificate import Certificate, CertificateVersion
from certs.models.method import ChallengeMethod
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

    rehearsal = models.BooleanField(default=False)  # at the staging directory; its certificate is never kept
    profile = models.CharField(max_length=100, blank=True)  # as asked of the CA
    challenge_kind = models.CharField(max_length=40, default="http01")  # a file in certs/solvers
    tried = models.JSONField(default=list, blank=True)  # issuers that failed: [{"account", "ca", "code", "message", …}]

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
            models.Index(fields=["version"], condition=Q(served=False), name="order_not_served"),
            models.Index(fields=["created_at", "id"], name="order_by_creation"),
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
    """The answer to one challenge: what any node gives (http-01, tls-alpn-01), or what stands in the DNS.

    The row is there before the answer is put in place and goes only after it was taken away again, so that a sweeper
    finds what a crash left behind.
    """

    token = models.CharField(max_length=128, primary_key=True)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="challenges")
    name = models.CharField(max_length=255)
    authorization_url = models.URLField(max_length=500)
    challenge_url = models.URLField(max_length=500)
    key_authorization = models.TextField()  # public by design: RFC 8555 §8.1, no secret of the account key
    kind = models.CharField(max_length=40, default="http01")  # a file in certs/solvers
    method = models.ForeignKey(ChallengeMethod, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    type = models.CharField(max_length=40, default="http-01")  # as the CA calls it
    wildcard = models.BooleanField(default=False)
    issuers = models.JSONField(default=list, blank=True)  # dns-persist-01: the CA's issuer-domain-names
    data = models.JSONField(default=dict, blank=True)  # what the solver wants to remember until it cleans
    presented_at = models.DateTimeField(null=True, blank=True)
    clean_at = models.DateTimeField(null=True, blank=True, db_index=True)  # set: to be taken away, not before this
    clean_tries = models.PositiveSmallIntegerField(default=0)
    trouble = models.TextField(blank=True)  # why it could not be taken away
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            # A handshake carries one answer: the net under the check in the service.
            models.UniqueConstraint(
                fields=["name"], condition=Q(type="tls-alpn-01", clean_at__isnull=True), name="one_tls_answer_per_name"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.token[:8]}…"
