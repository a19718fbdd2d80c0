"""Linting of many certificates beside the rest of the work: a process lints one batch while this one stores another.

Every certificate is linted, whatever becomes of that process: what it has not answered is linted here.
"""

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.lint import Finding, Severity, lint
from certs.services import lint_worker

log = logging.getLogger("bindery.pki")
Specimen = tuple[x509.Certificate, bool]  # signed by a throw-away key; whether the rules of public CAs hold
Findings = tuple[Finding, ...]
_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60.0  # for one answer


class LintPool:
    """`begin` a batch, do something else, `end` it. The first batch is linted here: few never start a process."""

    def __init__(self) -> None:
        self._begun = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: Queue[str] = Queue()
        self._asked: list[Sequence[Specimen]] = []

    def __enter__(self) -> "LintPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def begin(self, batch: Sequence[Specimen]) -> None:
        self._asked.append(batch)
        self._begun += 1
        if self._begun == 2:
            self._start()
        if self._process is not None:
            threading.Thread(target=self._send, args=(self._process, list(batch)), daemon=True).start()

    def end(self) -> list[Findings]:
        """Of the batch that was begun first."""
        batch = self._asked.pop(0)
        first = self._begun - len(self._asked) == 1
        return [self._answer(specimen, asked=not first) for specimen in batch]

    def _answer(self, specimen: Specimen, *, asked: bool) -> Findings:
        if asked and self._process is not None:
            try:
                line = self._answers.get(timeout=_SECONDS)
                if line:
                    return tuple(Finding(Severity(severity), *rest) for severity, *rest in json.loads(line))
            except (Empty, ValueError):
                pass
            log.warning("The process that lints has ended; the rest is linted here.")
            self._stop()
        certificate, public_style = specimen
        return lint(certificate, public_style=public_style)

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", lint_worker.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
            )
        except OSError as error:
            log.warning("No process to lint with: %s", error)
            return
        threading.Thread(target=self._read, args=(self._process, self._answers), daemon=True).start()

    @staticmethod
    def _read(process: "subprocess.Popen[bytes]", answers: "Queue[str]") -> None:
        if process.stdout is not None:
            for line in process.stdout:
                answers.put(line.decode())
        answers.put("")  # nothing comes any more

    @staticmethod
    def _send(process: "subprocess.Popen[bytes]", batch: Sequence[Specimen]) -> None:
        if process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it has ended: what it has not answered is linted here
            for certificate, public_style in batch:
                der = certificate.public_bytes(Encoding.DER)
                process.stdin.write(lint_worker.HEADER.pack(len(der), public_style) + der)
            process.stdin.flush()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
