"""Health as JSON. Answered before host check, log-in and redirects, so it says codes and sentences, never secrets."""

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from certs.services.health import Finding, node_findings, portal_findings
from certs.services.reachability import probe_answer
from certs.views.errors import as_expected
from portal import clock


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """This process runs; with `?probe=` also that it is this portal, which pages of another address of it may read."""
    found = {"status": "ok", "version": settings.VERSION}
    answer = probe_answer(request.GET["probe"]) if "probe" in request.GET else None
    if answer is None:
        return JsonResponse(found)
    response = JsonResponse({**found, "probe": answer, "now": clock.real().isoformat()})
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """503 only when this node cannot answer."""
    return _answer(node_findings(), "not ready")


@never_cache
@require_safe
def statusz(request: HttpRequest) -> JsonResponse:
    """503 when a person should look."""
    node = node_findings()
    if not all(finding.ok for finding in node):
        return _answer(node, "attention")
    try:
        return _answer([*node, *portal_findings()], "attention")
    except DatabaseProblem as error:  # it was there a moment ago
        return _answer(
            [Finding("database", False, f"The database cannot be used: {type(error).__name__}.")], "attention"
        )


def _answer(findings: list[Finding], otherwise: str) -> JsonResponse:
    ok = all(finding.ok for finding in findings)
    checks = [{"code": finding.code, "ok": finding.ok, "text": finding.text} for finding in findings]
    body = {"status": "ok" if ok else otherwise, "checks": checks}
    return as_expected(JsonResponse(body, status=200 if ok else 503))
