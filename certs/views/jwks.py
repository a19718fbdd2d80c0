"""/.well-known/jwks.json: for everybody, on any site, and briefly in caches."""

import hashlib

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from certs.domain.jwk import MEDIA_TYPE
from certs.services.jwks import jwks_document

KEEP_SECONDS = 300  # far below any overlap


@require_safe
def jwks(request: HttpRequest) -> HttpResponse:
    """Nothing in it is secret, so that any page may read it (CORS); who has it already gets 304."""
    body = jwks_document()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": f"public, max-age={KEEP_SECONDS}",
        "Access-Control-Allow-Origin": "*",
    }
    if etag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(body, content_type=MEDIA_TYPE, headers=headers)
