"""A node that is given another role at its next start."""

from pathlib import Path

import pytest

from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e

WHERE = """
from certs.models import Listener
from certs.services.addresses import https_url
result = [https_url(), sorted(Listener.objects.values_list("port", "managed"))]
"""


def test_what_a_node_served_at_is_no_address_once_it_only_works(tmp_path: Path) -> None:
    with Portal(home=tmp_path, arguments=["--role", "web"]) as served:
        served.run(
            "from certs.models import Listener, Rebind\n"
            "from certs.services.nodes import node_name\n"
            "Listener.objects.filter(protocol='https').update(port=9443, source='page')\n"
            "Listener.objects.create(node='another', protocol='https', addresses=['0.0.0.0'], port=443)\n"
        )
        assert ":9443" in served.run(WHERE)[0]
    with Portal(home=tmp_path, arguments=["--role", "worker"]) as works:
        url, rows = works.run(WHERE)
        assert rows == sorted([[443, True], [served.http_port, False], [9443, False]])
        assert ":9443" in url  # nobody serves
        works.run(
            "from certs.models import NodeProcess\nfrom portal import clock\n"
            "NodeProcess.objects.create(node='another', pid=1, seen_at=clock.real())"
        )
        assert ":9443" not in works.run(WHERE)[0]
