"""Python and commands inside a portal's Django: the interpreter is loaded once, and each piece is a fork of its own.

A fork has nothing of the one before (no connection, no cache), as a process of its own would, and costs milliseconds.
Several may run side by side.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 100_000  # bytes of one request


class Shell:
    """`environment` holds until it is closed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._socket, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.shell", str(there.fileno())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a piece prints is no answer
                pass_fds=[there.fileno()],
            )

    def run(self, code: str) -> Any:
        """What the code assigns to `result`, by JSON. Raises AssertionError with the traceback of what it raised."""
        said = json.loads(self._ask({"code": code}) or '{"error": "the shell or its piece ended without a word"}')
        if "error" in said:
            raise AssertionError(said["error"])
        return said["result"]

    def manage(self, words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """As manage.py of these words ends. Raises subprocess.TimeoutExpired; the command is killed then."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                answer = self._ask({"words": list(words)}, out.fileno(), err.fileno(), timeout=timeout)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(["manage.py", *words], timeout) from error
            for stream in (out, err):
                stream.seek(0)
            code = int(answer) if answer else -signal.SIGKILL
            return subprocess.CompletedProcess(["manage.py", *words], code, out.read(), err.read())

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, request: dict[str, Any], *files: int, timeout: float | None = None) -> bytes:
        """What the fork writes until it ends; its first word is its pid."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as answers:
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [writing, *files])
            except OSError:
                return b""
            finally:
                os.close(writing)
            pid = int(answers.readline() or 0)
            if not select.select([answers], [], [], timeout)[0]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise TimeoutError
            return answers.read()


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks but whoever reads their answers
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, files, _, _ = socket.recv_fds(requests, _LONGEST, 3)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(json.loads(request), *files)
        for each in files:
            os.close(each)


def _answer(request: dict[str, Any], answers: int, *files: int) -> None:
    """In the fork; does not return."""
    os.write(answers, b"%d\n" % os.getpid())
    os.set_inheritable(answers, False)
    for number, each in enumerate(files, start=1):
        os.dup2(each, number)
        os.close(each)
    text = _piece(request["code"]) if "code" in request else str(_command(request["words"]))
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(answers, "w") as stream:
        stream.write(text)
    os._exit(0)


def _piece(code: str) -> str:
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


def _command(words: Sequence[str]) -> int:
    """The exit code."""
    import manage

    sys.argv = ["manage.py", *words]
    return _code_of(manage.main)


def _code_of(act: Callable[[], int]) -> int:
    import traceback

    try:
        return act()
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # as an interpreter ends by it
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    main()
