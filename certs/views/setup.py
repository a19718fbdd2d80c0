"""First start: the page behind the one-time link that creates the first administrator, and the gate until then."""

from collections.abc import Callable
from typing import cast

from django.contrib import messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from certs.api.problems import Problem, is_for_program, problem_answer
from certs.domain.errors import NotAllowed
from certs.domain.forwarded import NOT_BELIEVED
from certs.forms.setup import SetupForm
from certs.models import User
from certs.services import addresses, links
from certs.services.events import audit_record
from certs.services.trust import browser_warning, version_answering
from certs.views.errors import as_expected

UNFINISHED = Problem(
    503,
    "setup-unfinished",
    "This portal has no administrator yet.",
    "Finish the set-up in a browser, then make a token.",
)
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class SetupGate:
    """Until an administrator exists, every page but the set-up page says how to finish the set-up."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._closed = False  # set-up closes for good, so the answer is asked for only until then

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not self._closed and links.setup_is_open():
            if is_for_program(request):
                return problem_answer(UNFINISHED, request=request)
            if not request.path_info.startswith("/setup/"):
                return as_expected(render(request, "setup/unfinished.html", status=503))
        else:
            self._closed = True
        return self.get_response(request)


@never_cache
@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "POST"])
def setup(request: HttpRequest, token: str) -> HttpResponse:
    if not links.setup_link_valid(token):
        return render(request, "setup/invalid.html", {"is_open": links.setup_is_open()}, status=410)
    form = SetupForm(request.POST if request.method == "POST" else None, initial={"public_url": here(request)})
    if form.is_valid():
        given = form.cleaned_data
        user = form.attempt(
            lambda: links.setup_link_use(
                token, email=given["email"], password=given["password"], public_url=given["public_url"]
            )
        )
        if user is not None:
            _keep_host(request, user.email)
            login(request, user, backend=BACKEND)
            return redirect("home")
    return render(request, "setup/setup.html", {"form": form, "token": token, **_secure_form(request)})


def _secure_form(request: HttpRequest) -> dict[str, str]:
    """This very link over HTTPS, by the host this browser uses, and what the browser will say there."""
    if request.is_secure() or request.META.get(NOT_BELIEVED):
        return {}
    host = addresses.host_normalize(request.get_host())
    url = addresses.https_url(host) + request.path
    return {"secure_url": url, "warning": browser_warning(version_answering(host), host)}


def here(request: HttpRequest) -> str:
    """The address of this portal as this browser knows it."""
    scheme = "https" if request.META.get(NOT_BELIEVED) else request.scheme  # the person sees it, and may correct it
    return f"{scheme}://{request.get_host()}"


def _keep_host(request: HttpRequest, email: str) -> None:
    """Who held the token reached us by this host: the next page must be seen under it too."""
    host = addresses.host_normalize(request.get_host())
    if not addresses.host_is_accepted(host):
        addresses.host_allow(host, actor=email)


@never_cache
@require_http_methods(["GET"])
def session(request: HttpRequest, token: str) -> HttpResponse:
    """Log in by a single-use link of five minutes, as made for the way to another address of this portal."""
    try:
        link = links.session_link_use(token)
    except NotAllowed as error:
        messages.warning(request, error.message)
        return redirect("account_login")
    request.session.flush()  # a session begun under this address is not carried into the new one
    user = cast(User, link.user)  # the service refuses a link without one
    login(request, user, backend=BACKEND)
    audit_record(user, "session.carry", link.target)
    return redirect(link.target or reverse("home"))
