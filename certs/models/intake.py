import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models

from portal import clock


class Intake(models.Model):
    """What a person gave to be taken in, between the preview and the saving. One person's, and for minutes only.

    `sealed` is what was recognised, private keys included, inside an envelope bound to `PURPOSE:id`.
    """

    PURPOSE = "intake"
    LIFE = timedelta(minutes=15)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="intakes")
    sealed = models.TextField()
    created_at = models.DateTimeField(default=clock.now, editable=False, db_index=True)

    def __str__(self) -> str:
        return f"intake of {self.created_at:%Y-%m-%d %H:%M}"
