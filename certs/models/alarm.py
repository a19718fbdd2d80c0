import uuid

from django.db import models

from certs.models.organization import Organization, default_organization
from portal import clock


class Channel(models.Model):
    """A way to reach people: a kind of `certs/channels` and its options."""

    PURPOSE = "channel"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, default=default_organization)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=40)  # a file in certs/channels
    options = models.JSONField(default=dict, blank=True)
    sealed = models.TextField(blank=True)  # the secret options, as JSON in an envelope
    enabled = models.BooleanField(default=True)
    allow_private = models.BooleanField(default=False)  # it may be on a private address
    last_sent_at = models.DateTimeField(null=True, blank=True)
    last_answer = models.TextField(blank=True)  # of the server, at the last delivery or test
    last_trouble = models.TextField(blank=True)
    last_level = models.PositiveSmallIntegerField(default=0)  # domain.alarms.Level of the last message
    failures = models.PositiveIntegerField(default=0)  # in a row
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # written before each attempt, too
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Alarm(models.Model):
    """Something that people must know. `key` names the trouble: while it is open, only a higher level is added."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=200, db_index=True)  # "renewal:<certificate>", "sweep", "directory:<url>" …
    certificate = models.ForeignKey("Certificate", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    level = models.PositiveSmallIntegerField(default=1)  # domain.alarms.Level
    subject = models.CharField(max_length=300)
    happened = models.TextField()
    tried = models.TextField(blank=True)
    next_try_at = models.DateTimeField(null=True, blank=True)
    advice = models.TextField(blank=True)
    path = models.CharField(max_length=300, blank=True)  # the page to look at, without scheme and host
    raised_at = models.DateTimeField(default=clock.now)
    cleared_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    seen_by = models.CharField(max_length=254, blank=True)

    class Meta:
        ordering = ["-raised_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["key", "level"], condition=models.Q(cleared_at=None), name="one_open_alarm_per_key_and_level"
            )
        ]

    def __str__(self) -> str:
        return self.subject


class AlarmDelivery(models.Model):
    """One alarm on its way through one channel; those waiting for the same channel leave as one message."""

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "alarm deliveries"
        constraints = [models.UniqueConstraint(fields=["alarm", "channel"], name="alarm_once_per_channel")]
        indexes = [models.Index(fields=["channel"], condition=models.Q(sent_at=None), name="delivery_unsent")]

    def __str__(self) -> str:
        return f"{self.alarm} by {self.channel}"
