from django.db import models


class KeyRingCanary(models.Model):
    """One row, sealed with the ring at the first start: a ring that cannot open it is not this database's ring."""

    PURPOSE = "canary"
    UID = "canary"

    sealed = models.TextField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"canary of {self.created_at:%Y-%m-%d}"
