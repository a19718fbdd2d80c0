"""Long work: what was asked for answers 202 and points at a job here, which tells how far it is."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api import documents
from certs.api.base import Endpoint
from certs.api.documents import id_of
from certs.api.fields import Flag, Word, body_read, words
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.api.selection import Selection, certificates_selected
from certs.domain import states
from certs.domain.revocation import OWN_REASONS
from certs.models import BulkJob, Order
from certs.services.bulk import ACTIONS, MOST_IMPORTED, bulk_ask, bulk_preview
from certs.services.events import job_said

FORESEEN_MOST = 1000  # items that are looked at while the program waits


class JobLine(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    ok = serializers.BooleanField()
    code = serializers.CharField(help_text="“ok”, or the code of what went wrong.")
    message = serializers.CharField()


class JobDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["order", *ACTIONS])
    state = serializers.ChoiceField(choices=["waiting", "running", "done", "failed"])
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    message = serializers.CharField(help_text="The last that was said of it.")
    certificate = serializers.CharField(allow_null=True, help_text="Of an order: the certificate that it is for.")
    results = JobLine(many=True)
    createdAt = serializers.DateTimeField()
    finishedAt = serializers.DateTimeField(allow_null=True)


def job_document(job: BulkJob) -> dict[str, Any]:
    return {
        "id": str(job.pk),
        "kind": job.action,
        "state": job.state,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "message": f"{job.done + job.failed} of {job.total}",
        "certificate": None,
        "results": job.results,
        "createdAt": job.created_at.isoformat(),
        "finishedAt": job.finished_at.isoformat() if job.finished_at else None,
    }


class Foreseen(serializers.Serializer[Any]):
    action = serializers.ChoiceField(choices=list(ACTIONS))
    total = serializers.IntegerField()
    failing = serializers.IntegerField(help_text="Of those that are told.")
    items = JobLine(many=True, help_text="The first thousand.")


class Renewal(Selection):
    """Without anything: all that are due."""

    id = serializers.CharField(required=False, max_length=200)
    dryRun = Flag(required=False, help_text="Say what would happen, and change nothing.")


class Work(Selection):
    action = Word(choices=list(ACTIONS))
    items = serializers.ListField(
        child=documents.Given(),
        required=False,
        max_length=MOST_IMPORTED,
        help_text="Of an import: as POST /api/certificates.",
    )
    add = words(required=False, max_length=50, help_text="Tags to add.")
    remove = words(required=False, max_length=50, help_text="Tags to take away.")
    reason = Word(required=False, choices=list(OWN_REASONS), help_text="Of a revocation.")
    dryRun = Flag(required=False, help_text="Say what would happen, and change nothing.")


class Bulk(Endpoint):
    @operation(
        "certificate_bulk",
        "Import, tag, renew, revoke or delete many",
        body=Work,
        answers={200: Foreseen, 202: JobDocument},
        description="With `dryRun` what would happen to each; else a job, which does the rest where one item fails.",
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, Work)
        action, dry_run = given["action"], given.get("dryRun", False)
        options: dict[str, Any] = {name: given[name] for name in ("add", "remove", "reason") if name in given}
        if action == "import":
            items: list[Any] = given.get("items") or []
        else:
            items = list(certificates_selected(self.actor, given))
        return _asked(self, action, items, options, dry_run=dry_run)


class Renew(Endpoint):
    @operation(
        "certificate_renew_many",
        "Renew certificates",
        body=Renewal,
        answers={200: Foreseen, 202: JobDocument},
        description="Those that are named, before they are due; without any name all that are due. What holds a "
        "renewal back (the CA's limits, a recent failure) holds it back here too.",
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data if request.data else {}, Renewal)
        if "id" in given:
            given["ids"] = [*given.get("ids", []), given["id"]]
        options: dict[str, Any] = {}
        if not any(given.get(name) for name in ("ids", "filter", "all")):
            options, given["all"] = {"due": True}, True
        items = certificates_selected(self.actor, given)
        return _asked(self, "renew", items, options, dry_run=given.get("dryRun", False))


class Jobs(Endpoint):
    @listing("job_list", "List jobs", JobDocument, job_document, tag="jobs")
    def get(self, given: Given) -> QuerySet[BulkJob]:
        return selectors.jobs_visible_to(self.actor)


class JobItem(Endpoint):
    @operation(
        "job_get",
        "How far a job is",
        answers={200: JobDocument},
        tag="jobs",
        description="Until it has ended, Retry-After says when to ask again.",
    )
    def get(self, request: Request, id: UUID) -> Response:
        job = selectors.jobs_visible_to(self.actor).filter(pk=id).first()
        order = None if job else selectors.orders_visible_to(self.actor).get(pk=id)
        document = job_document(job) if job else order_job(order) if order else {}
        headers = {} if document["finishedAt"] else {"Retry-After": "2"}
        return Response(document, headers=headers)


def job_answer(document: dict[str, Any]) -> Response:
    headers = {"Location": f"/api/jobs/{document['id']}", "Retry-After": "2"}
    return Response(document, status=202, headers=headers)


def order_job(order: Order) -> dict[str, Any]:
    ended = order.finished_at is not None
    good = order.state == states.DONE
    return {
        "id": str(order.pk),
        "kind": "order",
        "state": ("done" if good else "failed") if ended else "running",
        "total": 1,
        "done": int(ended and good),
        "failed": int(ended and not good),
        "message": job_said(order.pk),
        "certificate": id_of(order.certificate),
        "results": [],
        "createdAt": order.created_at.isoformat(),
        "finishedAt": order.finished_at.isoformat() if order.finished_at else None,
    }


def _asked(endpoint: Endpoint, action: str, items: list[Any], options: dict[str, Any], *, dry_run: bool) -> Response:
    if dry_run:
        lines = bulk_preview(action, items[:FORESEEN_MOST], options=options, actor=endpoint.actor)
        failing = sum(not line.ok for line in lines)
        body = {"action": action, "total": len(items), "failing": failing, "items": [vars(line) for line in lines]}
        return Response(body)
    return job_answer(job_document(bulk_ask(action, items, options=options, actor=endpoint.actor)))
