import uuid

from django.conf import settings
from django.db import models

from portal import clock


class AuditEvent(models.Model):
    """Who changed what: before, after and the result. Secrets never come here."""

    at = models.DateTimeField(default=clock.now, db_index=True, editable=False)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_text = models.CharField(max_length=255)  # e-mail, "command line", "schedule"; stays when the user goes
    action = models.CharField(max_length=60)  # noun.verb
    target = models.CharField(max_length=255, blank=True)
    # Whose matter it is, so that only they read of it; both empty: the portal's.
    certificate = models.ForeignKey("Certificate", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    organization = models.ForeignKey(
        "Organization", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    result = models.CharField(max_length=20, default="ok")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor_text} {self.action} {self.target}"


class JobEvent(models.Model):
    """A line of the log that belongs to a job (an order, a rebind); Activity shows them."""

    job = models.UUIDField(default=uuid.uuid4, db_index=True)
    at = models.DateTimeField(default=clock.now, editable=False)
    level = models.CharField(max_length=8, default="info")
    step = models.CharField(max_length=20, blank=True)
    message = models.TextField()
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.message}"
