"""Python inside a portal's Django: the interpreter is loaded once, and each piece runs in a fork of its own.

A fork has nothing of the one before (no connection, no cache), as a process of its own would, and costs milliseconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.shell"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> Any:
        """What the code assigns to `result`, by JSON. Raises AssertionError with the traceback of what it raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise AssertionError("the shell of the portal ended; see standard error")
        said = json.loads(answer)
        if "error" in said:
            raise AssertionError(said["error"])
        return said["result"]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a piece prints is no answer
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as stream:
                stream.write(_run(json.loads(line)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            answer = stream.read()
        os.waitpid(pid, 0)
        answers.write((answer or json.dumps({"error": "the piece ended without a word"})) + "\n")
        answers.flush()


def _run(code: str) -> str:
    import traceback

    names: dict[str, Any] = {"result": None}
    try:
        exec(compile(code, "<shell>", "exec"), names)
        return json.dumps({"result": names["result"]}, default=str)
    except BaseException:  # told to whoever asked
        return json.dumps({"error": traceback.format_exc()})
    finally:
        from django.db import connections

        connections.close_all()


if __name__ == "__main__":
    main()
