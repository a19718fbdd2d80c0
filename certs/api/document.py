"""/api/schema: the OpenAPI document, as JSON or YAML; /api/docs/: a page to try it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView


@extend_schema(exclude=True)
class Schema(SpectacularAPIView):
    """`?format=json` or Accept choose the form; it tells nothing of this portal, and asks for no token."""

    authentication_classes = []
    permission_classes = []
    renderer_classes = [OpenApiJsonRenderer, OpenApiYamlRenderer]


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI, from our own static files; what it sends carries the person's session."""
    return render(request, "api/docs.html")
