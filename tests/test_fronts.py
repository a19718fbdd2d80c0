"""The web servers of the harness: they serve what they are told to, reload, and end."""

from collections.abc import Callable

import pytest
import requests

from tests.harness.apache import Apache
from tests.harness.front import Front
from tests.harness.need import need
from tests.harness.nginx import Nginx
from tests.harness.ports import free_port, is_listening, wait_until

SITES = {
    "nginx": "server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{says}'; }} }}",
    "apache2": "<VirtualHost 127.0.0.1:{port}>\nRedirect 307 / http://{says}.test/\n</VirtualHost>",
}


def _said(port: int) -> str:
    answer = requests.get(f"http://127.0.0.1:{port}/", timeout=5, allow_redirects=False)
    return answer.headers.get("Location", answer.text)


@pytest.mark.parametrize("make", [Nginx, Apache])
def test_a_front_serves_reloads_and_ends(make: Callable[..., Front]) -> None:
    port = free_port()
    front = make("", (port,))
    need(front.program)
    front.sites = SITES[front.program].format(port=port, says="one")
    with front:
        assert "one" in _said(port)
        front.use(SITES[front.program].format(port=port, says="two"))
        wait_until(lambda: "two" in _said(port), timeout=10, what="the other configuration")
        assert len(front.requests) >= 2
    assert not is_listening(port)
