import uuid

from django.conf import settings
from django.db import models

from certs.models.access import ApiToken
from portal import clock


class IdempotencyKey(models.Model):
    """An answer that was given, kept a day: the same request with the same key gets it again (whoever asks)."""

    caller = models.CharField(max_length=60)  # "token:<id>" or "user:<id>"
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)  # of method, path and body
    status = models.PositiveSmallIntegerField(null=True, blank=True)  # None: the first one is still at it
    headers = models.JSONField(default=dict, blank=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return f"{self.key} of {self.caller}"


class BulkJob(models.Model):
    """Work on many certificates that was asked for at once: import, tag, renew, revoke, delete. Its id is a job id."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.CharField(max_length=20)
    options = models.JSONField(default=dict, blank=True)  # no secrets
    sealed = models.TextField(blank=True)  # what an import brings along, keys included
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    results = models.JSONField(default=list, blank=True)  # one dict per item: id, name, ok, message
    lease_until = models.DateTimeField(null=True, blank=True)  # real time
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    token = models.ForeignKey(ApiToken, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    PURPOSE = "bulk-job"

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.action} of {self.total} ({self.state})"
