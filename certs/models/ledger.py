from django.db import models

from portal import clock


class LedgerEntry(models.Model):
    """One thing that a CA counts, under one of its keys. Rows outlive account, certificate and order: the CA's memory
    does too."""

    directory_url = models.URLField(max_length=500)
    account = models.UUIDField()  # not a foreign key: it stays when the account goes
    event = models.CharField(max_length=20)  # domain.budget.Event
    key = models.CharField(max_length=255)  # what is counted: a name, a registered domain, a digest of a set of names
    order = models.UUIDField(null=True, blank=True)
    exempt = models.BooleanField(default=False)  # a renewal within the CA's window (ARI) does not count
    renewal = models.BooleanField(default=False)  # of the same names: some limits do not count it
    at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["directory_url", "event", "key", "at"], name="ledger_count")]

    def __str__(self) -> str:
        return f"{self.event} {self.key} {self.at:%Y-%m-%d %H:%M}"
