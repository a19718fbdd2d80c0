"""The portal's gunicorn configuration, with one worker of three that cannot load what is bound from now on.

The worker that was born second fails while the file that BINDERY_TEST_FAIL names exists.
"""

import os
from pathlib import Path
from typing import Any

from portal.server.gunicorn_conf import *  # noqa: F403 - the whole configuration, then one hook

_SECOND = 2


def post_worker_init(worker: Any) -> None:
    if worker.age != _SECOND:
        return
    from certs.domain.errors import ServingError
    from certs.services import serving

    material = serving.serving_material
    flag = Path(os.environ["BINDERY_TEST_FAIL"])

    def failing(**options: Any) -> serving.ServingMaterial:
        if flag.exists():
            raise ServingError("The test made this process fail.")
        return material(**options)

    serving.serving_material = failing
