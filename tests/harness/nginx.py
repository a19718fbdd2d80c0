"""Debian's nginx, in the foreground, with nothing but the test's own sites."""

from collections.abc import Sequence
from pathlib import Path

from tests.harness.front import Front

_FRAME = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    types {{ text/html html; text/css css; }}
    default_type text/plain;
{sites}
}}
"""


class Nginx(Front):
    """`sites` are `server` blocks, as in /etc/nginx/conf.d."""

    program = "nginx"

    def frame(self) -> str:
        return _FRAME.format(home=self.home, sites=self.sites)

    def start(self, program: Path) -> Sequence[str | Path]:
        return [program, "-p", self.home, "-c", self.configuration, "-e", "stderr"]
