"""So many requests in a window for each caller; counted in the database, which all nodes share."""

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from certs.models import ApiToken, User
from certs.services.access import TokenActor


class PerCaller(BaseThrottle):
    """BINDERY_API_RATE, and the headers of draft-ietf-httpapi-ratelimit-headers on every answer."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        limit, seconds = settings.API_RATE
        if not limit:
            return True
        now = time.time()
        window = int(now // seconds)
        self._left = seconds - now % seconds
        used = _count(view.caller, window, seconds, request)  # type: ignore[attr-defined]  # of our Endpoint
        request.rate_headers = {  # type: ignore[attr-defined]  # read by Endpoint.finalize_response
            "RateLimit-Policy": f'"caller";q={limit};w={seconds}',
            "RateLimit": f'"caller";r={max(0, limit - used)};t={int(self._left) + 1}',
        }
        return used <= limit

    def wait(self) -> float:
        return self._left


def _count(caller: str, window: int, seconds: int, request: Request) -> int:
    """One more, and how many that makes. The caller's own row is the lock: two requests at once both count."""
    with transaction.atomic():
        owner: Any = request.auth.token if isinstance(request.auth, TokenActor) else request.user
        kind = ApiToken if isinstance(owner, ApiToken) else User
        kind._default_manager.select_for_update().filter(pk=owner.pk).values_list("pk").first()
        key = f"api-rate:{caller}"
        known_window, count = cache.get(key) or (window, 0)
        count = count + 1 if known_window == window else 1
        cache.set(key, (window, count), seconds)
    return count
