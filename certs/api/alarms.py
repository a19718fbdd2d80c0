"""/api/alarms: what people must know, open and over. They are raised and cleared by the portal, and seen by people."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import by_id
from certs.api.fields import Query
from certs.api.listing import Given, listing
from certs.api.paging import Order
from certs.api.schema import operation
from certs.domain.alarms import Level
from certs.domain.roles import Right
from certs.models import Alarm, Certificate
from certs.services.access import require
from certs.services.alarms import alarms_see, alarms_standing

_RAISED = Order(("raised_at", "pk"), (datetime.fromisoformat, UUID), descending=True)


class AlarmDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key = serializers.CharField(help_text="Names the trouble: of all levels that it reaches the same.")
    level = serializers.IntegerField(min_value=0, max_value=6, help_text="0: well again; 6: an outage.")
    levelWords = serializers.CharField()
    subject = serializers.CharField()
    happened = serializers.CharField()
    tried = serializers.CharField()
    advice = serializers.CharField()
    nextTryAt = serializers.DateTimeField(allow_null=True)
    certificate = serializers.UUIDField(allow_null=True)
    page = serializers.CharField(help_text="The page to look at, without scheme and host.")
    raisedAt = serializers.DateTimeField()
    clearedAt = serializers.DateTimeField(allow_null=True, help_text="When it was over; null while it is open.")
    seenAt = serializers.DateTimeField(allow_null=True)
    seenBy = serializers.CharField()


def alarm_document(row: Alarm) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "key": row.key,
        "level": row.level,
        "levelWords": Level(row.level).words,
        "subject": row.subject,
        "happened": row.happened,
        "tried": row.tried,
        "advice": row.advice,
        "nextTryAt": row.next_try_at.isoformat() if row.next_try_at else None,
        "certificate": str(row.certificate_id) if row.certificate_id else None,
        "page": row.path,
        "raisedAt": row.raised_at.isoformat(),
        "clearedAt": row.cleared_at.isoformat() if row.cleared_at else None,
        "seenAt": row.seen_at.isoformat() if row.seen_at else None,
        "seenBy": row.seen_by,
    }


class AlarmQuery(Query):
    open = serializers.BooleanField(required=False, help_text="Only what is open, or only what is over.")
    seen = serializers.BooleanField(required=False)
    level = serializers.IntegerField(required=False, min_value=0, max_value=6, help_text="This one and higher.")
    certificate = serializers.CharField(required=False, max_length=200)


class AlarmsSeen(serializers.Serializer[Any]):
    seen = serializers.IntegerField(help_text="How many nobody had seen yet.")


class Alarms(Endpoint):
    @listing(
        "alarm_list",
        "List alarms",
        AlarmDocument,
        alarm_document,
        tag="alarms",
        query=AlarmQuery,
        order=_RAISED,
    )
    def get(self, given: Given) -> QuerySet[Alarm]:
        rows = selectors.alarms_visible_to(self.actor)
        if "open" in given:
            rows = rows.filter(cleared_at__isnull=given["open"])
        if "seen" in given:
            rows = rows.filter(seen_at__isnull=not given["seen"])
        if "level" in given:
            rows = rows.filter(level__gte=given["level"])
        if "certificate" in given:
            rows = rows.filter(certificate__in=Certificate.objects.filter(by_id(given["certificate"])))
        return rows


class AlarmItem(Endpoint):
    @operation("alarm_get", "One alarm", answers={200: AlarmDocument}, tag="alarms")
    def get(self, request: Request, id: UUID) -> Response:
        return Response(alarm_document(selectors.alarms_visible_to(self.actor).get(pk=id)))


class AlarmSeen(Endpoint):
    @operation(
        "alarm_see",
        "Say that an alarm was seen",
        answers={200: AlarmDocument},
        tag="alarms",
        description="No banner shows it any more. It stays open until the trouble is over.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        rows = selectors.alarms_visible_to(self.actor)
        row = rows.get(pk=id)
        require(self.actor, Right.ALARM_SEE, row)
        alarms_see([row], actor=self.actor)
        return Response(alarm_document(rows.get(pk=id)))


class AlarmsAllSeen(Endpoint):
    @operation("alarm_see_all", "Say that all alarms were seen", answers={200: AlarmsSeen}, tag="alarms")
    def post(self, request: Request) -> Response:
        standing = alarms_standing(selectors.alarms_visible_to(self.actor))
        return Response({"seen": alarms_see(standing, actor=self.actor)})
