import uuid

from django.db import models

DEFAULT_ORGANIZATION = uuid.UUID("00000000-0000-4000-8000-000000000001")
DEFAULT_DEPARTMENT = uuid.UUID("00000000-0000-4000-8000-000000000002")


def default_organization() -> uuid.UUID:
    return DEFAULT_ORGANIZATION


class Organization(models.Model):
    """Who owns certificates and accounts. One default row is there from the first migration on."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True)

    def __str__(self) -> str:
        return self.name


class Department(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="departments")
    name = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="department_name_unique")]

    def __str__(self) -> str:
        return f"{self.organization} / {self.name}"
