import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_wsgi_application()
# The pages are loaded now, once, before the workers are forked: not by the first request of each of them.
get_resolver().url_patterns  # noqa: B018 - reading it imports every view
