"""The name of this machine among the nodes of the portal."""

import socket

from django.conf import settings


def node_name() -> str:
    return settings.NODE or socket.gethostname()
