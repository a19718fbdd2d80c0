"""What every address of the API has in common: who asks, how often, in which form, and what is answered."""

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from certs.api.failures import problem_of
from certs.api.idempotency import idempotent
from certs.api.parsing import StrictJson, length_check
from certs.api.problems import problem_answer
from certs.api.schema import Described
from certs.api.throttling import PerCaller
from certs.domain.errors import NotAllowed
from certs.models import User
from certs.services.access import Actor, TokenActor
from certs.services.tokens import token_authenticate
from portal.middleware import OwnOrigins

SCHEME = "Bearer"


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer …` (RFC 6750). One that is unknown, revoked or expired is refused, never passed over."""

    def authenticate(self, request: Request) -> tuple[Any, TokenActor] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != SCHEME.lower().encode():
            return None
        try:
            secret = words[1].decode("ascii") if len(words) == 2 else ""
            actor = token_authenticate(secret, request.META.get("REMOTE_ADDR", ""))
        except UnicodeDecodeError as error:
            raise exceptions.AuthenticationFailed("The token cannot be read.", code="token-unknown") from error
        except NotAllowed as error:
            raise exceptions.AuthenticationFailed(error.message, code=error.code) from error
        return actor.token.owner, actor

    def authenticate_header(self, request: Request) -> str:
        return f'{SCHEME} realm="Bindery"'


class PageSession(BaseAuthentication):
    """Who is logged in on the pages, for the page that tries the API; changes want the token of its forms."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        person = getattr(request._request, "user", None)
        if not isinstance(person, User) or not person.is_active:
            return None
        check = _Reason(_never)
        check.process_request(request._request)
        reason = check.process_view(request._request, _never, (), {})
        if reason is not None:
            raise exceptions.PermissionDenied(f"The request of the page was refused: {reason}", code="csrf")
        return person, None


class _Reason(OwnOrigins):
    """Says why, instead of answering with a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _never(request: HttpRequest) -> HttpResponseBase:
    raise AssertionError("only the check is wanted")


class Known(BasePermission):
    """Somebody asks: whose rights they have on what is the services' and selectors' question."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, TokenActor) or isinstance(request.user, User)


class JsonAnswers(DefaultContentNegotiation):
    """JSON to whoever takes it. An error is told in JSON to anybody."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        return renderers  # no ?format=


class Json(JSONRenderer):
    charset = None
    ensure_ascii = False


class Endpoint(APIView):
    """A handler per method; `actor` acts. What is not theirs to see is not there: 404."""

    authentication_classes = [BearerToken, PageSession]
    permission_classes = [Known]
    throttle_classes = [PerCaller]
    parser_classes = [StrictJson]
    renderer_classes = [Json]
    content_negotiation_class = JsonAnswers
    schema = Described()
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    has_etag: ClassVar[bool] = False

    @property
    def actor(self) -> Actor:
        if isinstance(self.request.auth, TokenActor):
            return self.request.auth
        return self.request.user if isinstance(self.request.user, User) else None

    @property
    def caller(self) -> str:
        """Whose keys and whose rate it is."""
        auth = self.request.auth
        return f"token:{auth.token.pk}" if isinstance(auth, TokenActor) else f"user:{self.request.user.pk}"

    def __init_subclass__(cls, **options: Any) -> None:
        """Every POST honours Idempotency-Key."""
        super().__init_subclass__(**options)
        if "post" in vars(cls):
            cls.post = idempotent(cls.post)  # type: ignore[attr-defined]  # of the subclass

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        length_check(request._request)
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            vars(exc)["auth_header"] = self.get_authenticate_header(self.request)
        problem = problem_of(exc)
        if problem is None:
            raise exc
        return problem_answer(problem, request=self.request._request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        for name, value in getattr(request, "rate_headers", {}).items():
            answer.headers.setdefault(name, value)
        return answer
