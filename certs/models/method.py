import uuid

from django.db import models

from certs.models.organization import Organization, default_organization
from portal import clock


class ChallengeMethod(models.Model):
    """A way to prove names to a CA, set up once and used by any number of certificates: a solver and its options."""

    PURPOSE = "challenge-method"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, default=default_organization)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=40)  # a file in certs/solvers
    options = models.JSONField(default=dict, blank=True)
    sealed = models.TextField(blank=True)  # the secret options, as JSON in an envelope
    created_at = models.DateTimeField(default=clock.now, editable=False)

    # A test: {"name", "token", "data", "begun", "ended", "left": answers still to be taken away}, there before anything
    # is put in place, so that it is found. {} when there is nothing to do.
    trial = models.JSONField(default=dict, blank=True)
    trial_at = models.DateTimeField(null=True, blank=True)
    test_job = models.UUIDField(null=True, blank=True)  # whose lines under Activity tell of the last test
    tested_at = models.DateTimeField(null=True, blank=True)
    test_ok = models.BooleanField(null=True)
    test_words = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="method_name_once")]

    def __str__(self) -> str:
        return self.name
