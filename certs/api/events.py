"""/api/events: the audit trail, the newest first. Nothing changes it."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import by_id
from certs.api.fields import AnyObject, Query
from certs.api.listing import Given, listing
from certs.api.paging import NEWEST_NUMBER
from certs.api.schema import operation
from certs.models import AuditEvent, Certificate


class EventDocument(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="Who: a person, a token, “command line” or “schedule”.")
    action = serializers.CharField(help_text="noun.verb")
    target = serializers.CharField()
    certificate = serializers.UUIDField(allow_null=True)
    before = AnyObject()
    after = AnyObject()
    result = serializers.CharField()


def event_document(row: AuditEvent) -> dict[str, Any]:
    return {
        "id": row.pk,
        "at": row.at.isoformat(),
        "actor": row.actor_text,
        "action": row.action,
        "target": row.target,
        "certificate": str(row.certificate_id) if row.certificate_id else None,
        "before": row.before,
        "after": row.after,
        "result": row.result,
    }


class EventQuery(Query):
    action = serializers.CharField(required=False, max_length=60, help_text="Exactly, or its noun with a dot: order.")
    actor = serializers.CharField(required=False, max_length=255)
    certificate = serializers.CharField(required=False, max_length=200)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class Events(Endpoint):
    @listing(
        "event_list",
        "List events",
        EventDocument,
        event_document,
        tag="events",
        query=EventQuery,
        order=NEWEST_NUMBER,
    )
    def get(self, given: Given) -> QuerySet[AuditEvent]:
        rows = selectors.audit_visible_to(self.actor)
        if action := given.get("action"):
            rows = rows.filter(action__startswith=action) if action.endswith(".") else rows.filter(action=action)
        if "actor" in given:
            rows = rows.filter(actor_text=given["actor"])
        if "certificate" in given:
            rows = rows.filter(certificate__in=Certificate.objects.filter(by_id(given["certificate"])))
        if "since" in given:
            rows = rows.filter(at__gte=given["since"])
        if "until" in given:
            rows = rows.filter(at__lt=given["until"])
        return rows


class EventItem(Endpoint):
    @operation("event_get", "One event", answers={200: EventDocument}, tag="events")
    def get(self, request: Request, id: int) -> Response:
        return Response(event_document(selectors.audit_visible_to(self.actor).get(pk=id)))
