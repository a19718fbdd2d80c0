import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.domain.roles import Role
from certs.models.organization import Department, Organization
from portal import clock

ROLES = [(role.value, role.label) for role in Role]


class RoleGrant(models.Model):
    """What a person may do, and where: an organization, one of its departments, or everywhere (both empty).

    A superuser is an administrator everywhere, without a grant.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=10, choices=ROLES)
    organization = models.ForeignKey(Organization, null=True, blank=True, on_delete=models.CASCADE)
    department = models.ForeignKey(Department, null=True, blank=True, on_delete=models.CASCADE)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user"], condition=Q(organization=None, department=None), name="grant_once_everywhere"
            ),
            models.UniqueConstraint(
                fields=["user", "organization"], condition=Q(department=None), name="grant_once_per_organization"
            ),
            models.UniqueConstraint(fields=["user", "department"], name="grant_once_per_department"),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.role}"


class ApiToken(models.Model):
    """A secret that acts for a program. Only its SHA-256 is kept; `hint` is its beginning, to tell tokens apart.

    It may do what its role allows on what it is scoped to, and never more than `owner` may, where a person made it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=16)
    role = models.CharField(max_length=10, choices=ROLES)
    can_export = models.BooleanField(default=False)  # may read private keys, which no role brings along
    organization = models.ForeignKey(Organization, null=True, blank=True, on_delete=models.CASCADE)
    department = models.ForeignKey(Department, null=True, blank=True, on_delete=models.CASCADE)
    tags = models.JSONField(default=list, blank=True)  # only certificates with one of these; empty: all
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )  # None: made on the command line
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_from = models.CharField(max_length=45, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["name"], condition=Q(revoked_at=None), name="token_name_once")]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    def state_at(self, moment: datetime) -> str:
        """revoked, expired, locked (its owner is) or active."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= moment:
            return "expired"
        return "locked" if self.owner is not None and not self.owner.is_active else "active"
