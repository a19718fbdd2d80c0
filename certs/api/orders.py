"""/api/orders: the flows that get certificates from CAs. One is made by POST /api/certificates/_letsencrypt."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import by_id, id_of
from certs.api.fields import Flag, Query, Strict, body_read
from certs.api.jobs import JobDocument, job_answer, order_job
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.domain import states
from certs.models import Certificate, Order
from certs.services.issuing import order_retry
from certs.services.orders import order_cancel


class OrderDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    certificate = serializers.CharField()
    account = serializers.UUIDField()
    names = serializers.ListField(child=serializers.CharField())
    reason = serializers.CharField()
    state = serializers.ChoiceField(choices=states.ORDER.choices())
    stateWords = serializers.CharField()
    rehearsal = serializers.BooleanField(help_text="At the staging directory; its certificate is never kept.")
    challenge = serializers.CharField()
    attempts = serializers.IntegerField()
    nextAttemptAt = serializers.DateTimeField()
    version = serializers.UUIDField(allow_null=True, help_text="What it brought.")
    served = serializers.BooleanField(allow_null=True, help_text="Proven by a handshake; null: not asked for.")
    errorCode = serializers.CharField()
    error = serializers.CharField()
    advice = serializers.CharField()
    createdAt = serializers.DateTimeField()
    finishedAt = serializers.DateTimeField(allow_null=True)


def order_document(row: Order) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "certificate": id_of(row.certificate),
        "account": str(row.account_id),
        "names": row.names,
        "reason": row.reason,
        "state": row.state,
        "stateWords": row.get_state_display(),
        "rehearsal": row.rehearsal,
        "challenge": row.challenge_kind,
        "attempts": row.attempts,
        "nextAttemptAt": row.next_attempt_at.isoformat(),
        "version": str(row.version_id) if row.version_id else None,
        "served": row.served,
        "errorCode": row.error_code,
        "error": row.error_message,
        "advice": row.error_advice,
        "createdAt": row.created_at.isoformat(),
        "finishedAt": row.finished_at.isoformat() if row.finished_at else None,
    }


class OrderQuery(Query):
    certificate = serializers.CharField(required=False, max_length=200)
    open = serializers.BooleanField(required=False, help_text="Only those under way, or only those that have ended.")


class Retrying(Strict):
    useLast = Flag(required=False)


class Orders(Endpoint):
    @listing("order_list", "List orders", OrderDocument, order_document, tag="orders", query=OrderQuery)
    def get(self, given: Given) -> QuerySet[Order]:
        rows = selectors.orders_visible_to(self.actor)
        if "certificate" in given:
            rows = rows.filter(certificate__in=Certificate.objects.filter(by_id(given["certificate"])))
        if "open" in given:
            rows = rows.filter(finished_at__isnull=given["open"])
        return rows


class OrderItem(Endpoint):
    @operation("order_get", "One order", answers={200: OrderDocument}, tag="orders")
    def get(self, request: Request, id: UUID) -> Response:
        return Response(order_document(selectors.orders_visible_to(self.actor).get(pk=id)))


class OrderCancel(Endpoint):
    @operation("order_cancel", "Cancel an order", answers={200: OrderDocument}, tag="orders")
    def post(self, request: Request, id: UUID) -> Response:
        row = selectors.orders_visible_to(self.actor).get(pk=id)
        order_cancel(row, actor=self.actor)
        return Response(order_document(selectors.orders_visible_to(self.actor).get(pk=id)))


class OrderRetry(Endpoint):
    @operation("order_retry", "The same wish once more", body=Retrying, answers={202: JobDocument}, tag="orders")
    def post(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data or {}, Retrying)
        row = selectors.orders_visible_to(self.actor).get(pk=id)
        made = order_retry(row, actor=self.actor, use_last=given.get("useLast", False))
        return job_answer(order_job(made))
