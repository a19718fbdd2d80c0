import uuid

from django.db import models


class PortalIdentity(models.Model):
    """Which portal this database belongs to, so that a copy or an older one is noticed. One row, pk 1; made by the
    first start. While `held_at` is set, nothing is asked of a CA (`services/identity.py`)."""

    uid = models.UUIDField(default=uuid.uuid4)
    place = models.JSONField(default=dict)  # where the database lies: what no copy of it takes along
    count = models.PositiveBigIntegerField(default=0)  # of starts and orders; the mark beside it has seen the highest
    held_at = models.DateTimeField(null=True, blank=True)
    held_why = models.TextField(blank=True)
    trial = models.BooleanField(default=False)  # a person said: a copy for trying, it stays held

    class Meta:
        verbose_name_plural = "portal identity"

    def __str__(self) -> str:
        return f"portal {self.uid}"
