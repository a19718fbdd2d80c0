import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.domain import states
from certs.models.certificate import Certificate, CertificateVersion
from certs.models.organization import Department, Organization
from portal import clock


class Endpoint(models.Model):
    """A server program of the organization, and how it is reached. Without an organization it is not delegated yet:
    nobody discovers or uses it."""

    PURPOSE, CONNECTION_PURPOSE = "endpoint", "endpoint-connection"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, null=True, blank=True, on_delete=models.PROTECT)
    department = models.ForeignKey(Department, null=True, blank=True, on_delete=models.PROTECT)
    name = models.CharField(max_length=32, unique=True)
    kind = models.CharField(max_length=40)  # a file in certs/installers
    connection = models.CharField(max_length=40)  # a file in certs/transports/hosts
    # Of each, what may be shown, and the secret options as JSON in an envelope.
    options = models.JSONField(default=dict, blank=True)
    sealed = models.TextField(blank=True)
    connection_options = models.JSONField(default=dict, blank=True)
    connection_sealed = models.TextField(blank=True)
    # The identity that a person approved, and the last one that was shown: another one stops everything.
    pin = models.TextField(blank=True)
    pin_fingerprint = models.CharField(max_length=120, blank=True)
    shown_key = models.TextField(blank=True)
    shown_fingerprint = models.CharField(max_length=120, blank=True)
    discovered_at = models.DateTimeField(null=True, blank=True)
    next_discovery_at = models.DateTimeField(null=True, blank=True, db_index=True)
    trouble = models.TextField(blank=True)  # of the last contact; "" where it went well
    trouble_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A place of an endpoint that listens, as it was last discovered, and what is to be installed there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="nodes")
    key = models.CharField(max_length=500)  # domain.installation.NodeSeen.key
    seen = models.JSONField(default=dict)  # NodeSeen as JSON
    name = models.CharField(max_length=255)
    found_pem = models.TextField(blank=True)  # what its configuration holds, leaf first
    found_fingerprint = models.CharField(max_length=64, blank=True)  # SHA-256 of that leaf's DER, hex
    certificate = models.ForeignKey(
        Certificate, null=True, blank=True, on_delete=models.SET_NULL, related_name="nodes"
    )  # what is to be there; services/deletion.py refuses to delete it meanwhile
    follows = models.BooleanField(default=True)  # takes each newer version; not after a person went back
    installed = models.ForeignKey(
        CertificateVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )  # what we have put there
    served_ok = models.BooleanField(null=True)  # None: could not be checked
    served_fingerprint = models.CharField(max_length=64, blank=True)
    served_detail = models.TextField(blank=True)
    served_from = models.CharField(max_length=120, blank=True)  # the vantage point
    served_checked_at = models.DateTimeField(null=True, blank=True)
    next_check_at = models.DateTimeField(null=True, blank=True, db_index=True)
    gone_at = models.DateTimeField(null=True, blank=True)  # not found by the last discovery

    class Meta:
        ordering = ["endpoint", "name", "key"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "key"], name="node_key_once")]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.name}"


class Installation(models.Model):
    """One version put on one node: a plan, carried out step by step, that ends proven or undone."""

    class Reason(models.TextChoices):
        PERSON = "person", "asked for"
        RENEWAL = "renewal", "renewal"
        BACK = "back", "back to an earlier one"
        TEST = "test", "test with the same one"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="installations")
    version = models.ForeignKey(
        CertificateVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="installations"
    )  # None: deleted since
    fingerprint = models.CharField(max_length=64)  # of the version: SHA-256 of the leaf's DER, hex
    before = models.JSONField(default=list, blank=True)  # what each probe of the plan showed: SHA-256 of the DER, hex
    reason = models.CharField(max_length=10, choices=Reason.choices)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=20, default=states.PLANNED, choices=states.INSTALLATION.choices())
    plan = models.JSONField(default=dict)  # domain.installation.Plan
    error_code = models.CharField(max_length=80, blank=True)
    error_message = models.TextField(blank=True)
    error_advice = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)  # since the last step that was taken
    next_attempt_at = models.DateTimeField(default=clock.now)
    lease_owner = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)  # real time
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(finished_at__isnull=True), name="installation_due"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["node"], condition=Q(finished_at__isnull=True), name="one_open_installation_per_node"
            )
        ]

    def __str__(self) -> str:
        return f"{self.node} ({self.state})"


class InstallationStep(models.Model):
    """What was done on the machine, word for word; secrets are masked before they come here."""

    installation = models.ForeignKey(Installation, on_delete=models.CASCADE, related_name="steps")
    at = models.DateTimeField(default=clock.now)
    step = models.CharField(max_length=20)  # the state it was done in
    command = models.TextField()
    code = models.IntegerField(null=True)  # None: its time was up
    output = models.TextField(blank=True)
    errors = models.TextField(blank=True)
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.step}: {self.command[:80]}"
