"""Events, alarms, settings, listeners and processes."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from certs import models, selectors
from certs.admin.base import LookOnly, shown_moment
from certs.views.access import actor_of


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    list_display = ("moment", "actor_text", "action", "target", "result")
    list_filter = ("result", "action", "at")
    search_fields = ("actor_text", "action", "target")
    moment = staticmethod(shown_moment("at", "when"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.AuditEvent]:
        return selectors.audit_visible_to(actor_of(request))


@admin.register(models.JobEvent)
class JobEventAdmin(LookOnly):
    list_display = ("moment", "level", "step", "message", "job")
    list_filter = ("level", "step", "at")
    search_fields = ("=job", "message")
    moment = staticmethod(shown_moment("at", "when"))


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
