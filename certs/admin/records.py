"""Events, alarms, settings, listeners and processes."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from certs import models, selectors
from certs.admin.base import LookOnly, shown_moment
from certs.services.ledger import limits_of
from certs.views.access import actor_of


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    list_display = ("moment", "actor_text", "action", "target", "result")
    list_filter = ("result", "action", "at")
    search_fields = ("actor_text", "action", "target")
    moment = staticmethod(shown_moment("at", "when"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.AuditEvent]:
        return selectors.audit_visible_to(actor_of(request))


@admin.register(models.ApiToken)
class ApiTokenAdmin(LookOnly):
    list_display = ("name", "role", "owner", "hint", "can_export", "made", "expires", "last_used", "last_used_from")
    list_filter = ("role", "can_export")
    search_fields = ("name", "owner__email")
    hidden = ("digest",)
    made = staticmethod(shown_moment("created_at", "made"))
    expires = staticmethod(shown_moment("expires_at", "expires"))
    last_used = staticmethod(shown_moment("last_used_at", "last used"))


@admin.register(models.JobEvent)
class JobEventAdmin(LookOnly):
    list_display = ("moment", "level", "step", "message", "job")
    list_filter = ("level", "step", "at")
    search_fields = ("=job", "message")
    moment = staticmethod(shown_moment("at", "when"))


@admin.register(models.LedgerEntry)
class LedgerEntryAdmin(LookOnly):
    list_display = ("moment", "event", "key", "exempt", "renewal", "directory_url")
    list_filter = ("event", "exempt", "renewal", "at")
    search_fields = ("=key", "=order")
    moment = staticmethod(shown_moment("at", "when"))


@admin.register(models.AcmeDirectory)
class AcmeDirectoryAdmin(LookOnly):
    """Limits are set by `manage.py limits`."""

    list_display = ("directory_url", "counted", "trouble", "checked")
    search_fields = ("directory_url",)
    checked = staticmethod(shown_moment("checked_at", "last asked"))

    @admin.display(description="limits counted")
    def counted(self, row: models.AcmeDirectory) -> str:
        return "; ".join(limit.text for limit in limits_of(row.directory_url)) or "none known"


@admin.register(models.PortalState)
class PortalStateAdmin(LookOnly):
    list_display = ("public_url", "generation", "force_ssl", "hsts", "renew_before_days", "check_hours", "sweep")
    sweep = staticmethod(shown_moment("sweep_finished_at", "last sweep"))


@admin.register(models.Listener)
class ListenerAdmin(LookOnly):
    list_display = ("node", "protocol", "addresses", "port", "source", "managed", "changed")
    list_filter = ("protocol", "source")
    search_fields = ("node",)
    changed = staticmethod(shown_moment("updated_at", "changed"))


@admin.register(models.NodeProcess)
class NodeProcessAdmin(LookOnly):
    list_display = ("node", "pid", "generation", "error", "started", "seen")
    list_filter = ("node",)
    search_fields = ("node", "error")
    started = staticmethod(shown_moment("started_at", "started"))
    seen = staticmethod(shown_moment("seen_at", "last seen"))


@admin.register(models.ChallengeMethod)
class ChallengeMethodAdmin(LookOnly):
    list_display = ("name", "kind", "test_ok", "tested")
    list_filter = ("kind", "test_ok")
    search_fields = ("name",)
    hidden = ("sealed",)
    tested = staticmethod(shown_moment("tested_at", "tested"))


@admin.register(models.Channel)
class ChannelAdmin(LookOnly):
    list_display = ("name", "kind", "enabled", "allow_private", "failures", "sent")
    list_filter = ("kind", "enabled")
    search_fields = ("name",)
    hidden = ("sealed",)
    sent = staticmethod(shown_moment("last_sent_at", "last alarm sent"))


@admin.register(models.Alarm)
class AlarmAdmin(LookOnly):
    list_display = ("subject", "level", "raised", "cleared", "seen_by")
    list_filter = ("level", "raised_at")
    search_fields = ("subject", "key", "happened")
    raised = staticmethod(shown_moment("raised_at", "raised"))
    cleared = staticmethod(shown_moment("cleared_at", "over"))
