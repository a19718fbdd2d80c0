"""Patches what serving processes load, before they are forked. Whoever locks the file first is the one that fails."""

import fcntl
from pathlib import Path
from typing import IO, Any

from django.apps import AppConfig


class FailingConfig(AppConfig):
    name = "tests.harness.failing"
    _locked: IO[str] | None = None

    def ready(self) -> None:
        from certs.domain.errors import ServingError
        from certs.services import serving
        from portal import home

        material = serving.serving_material

        def failing(**options: Any) -> serving.ServingMaterial:
            if (home.path() / "fail").exists() and self._is_chosen(home.path() / "fail.lock"):
                raise ServingError("The test made this process fail.")
            return material(**options)

        serving.serving_material = failing

    def _is_chosen(self, file: Path) -> bool:
        if self._locked:
            return True
        stream = file.open("w")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return False
        self._locked = stream
        return True
