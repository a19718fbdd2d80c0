import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.domain import states
from certs.models.certificate import Certificate
from portal import clock


class Listener(models.Model):
    """Where one node listens for one protocol. Only what is confirmed survives a restart."""

    class Source(models.TextChoices):
        DEFAULT = "default", "default"
        ENV = "env", "environment"
        PAGE = "page", "page"

    node = models.CharField(max_length=100)
    protocol = models.CharField(max_length=5, choices=[("http", "HTTP"), ("https", "HTTPS")])
    addresses = models.JSONField(default=list)  # confirmed; ["0.0.0.0", "::"] is every address
    port = models.PositiveIntegerField()  # confirmed
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.DEFAULT)
    managed = models.BooleanField(default=True)  # False: no supervisor of this node owns the socket
    updated_at = models.DateTimeField(default=clock.now)
    # What handshakes of this node with its own listener showed, for nodes that cannot ask there (services/proofs.py).
    proofs = models.JSONField(default=dict)  # server name -> {"fingerprint": SHA-256 hex or "", "detail": sentence}
    proven_at = models.DateTimeField(null=True, blank=True)  # real time

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "protocol"], name="listener_once_per_node")]

    def __str__(self) -> str:
        return f"{self.protocol} {', '.join(self.addresses)}:{self.port} on {self.node}"


class Binding(models.Model):
    """Which certificate answers for a server name; the empty name is the default. The same on every node."""

    server_name = models.CharField(max_length=255, unique=True, blank=True)  # "" or an A-label name, maybe "*.x"
    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="bindings")
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ["server_name"]

    def __str__(self) -> str:
        return self.server_name or "default"


class NodeProcess(models.Model):
    """What one serving process says of itself; the supervisor removes rows of processes that ended."""

    node = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    generation = models.PositiveBigIntegerField(default=0)  # the one it serves, not the one wanted
    fingerprints = models.JSONField(default=dict)  # server name -> SHA-256 hex; "" is the default
    error = models.TextField(blank=True)  # why it still serves an older generation
    started_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name_plural = "node processes"
        constraints = [models.UniqueConstraint(fields=["node", "pid"], name="process_once_per_node")]

    def __str__(self) -> str:
        return f"{self.node}/{self.pid} at generation {self.generation}"


class Rebind(models.Model):
    """A wish for another address or port, carried out by the supervisor of its node, with automatic return."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    node = models.CharField(max_length=100)
    addresses = models.JSONField(default=list)
    port = models.PositiveIntegerField()
    old_addresses = models.JSONField(default=list)
    old_port = models.PositiveIntegerField()
    state = models.CharField(max_length=20, default=states.WISHED, choices=states.REBIND.choices())
    message = models.TextField(blank=True)  # why it was refused or returned
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    deadline = models.DateTimeField(null=True, blank=True)  # of the confirmation, real time
    created_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["node"], condition=Q(finished_at__isnull=True), name="one_open_rebind_per_node"
            )
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.addresses)}:{self.port} ({self.state})"
