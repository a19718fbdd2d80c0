"""Linting of many certificates beside the rest of the work: processes lint one batch while this one stores another.

Every certificate is linted, whatever becomes of those processes: what they have not answered is linted here.
"""

import contextlib
import json
import logging
import os
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
# Linting takes longer than all else together, so there is one for each core; each holds some 60 MB.
_PROCESSES = min(4, os.cpu_count() or 1)


class LintPool:
    """`begin` a batch, do something else, `end` it. The first batch is linted here: few never start a process."""

    def __init__(self) -> None:
        self._begun = 0
        self._linters: list[_Linter] = []
        self._asked: list[Sequence[Specimen]] = []

    def __enter__(self) -> "LintPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for linter in self._linters:
            linter.stop()

    def begin(self, batch: Sequence[Specimen]) -> None:
        self._asked.append(batch)
        self._begun += 1
        if self._begun == 2:
            self._linters = [_Linter() for _ in range(_PROCESSES)]
        for number, linter in enumerate(self._linters):
            linter.ask(batch[number :: len(self._linters)])

    def end(self) -> list[Findings]:
        """Of the batch that was begun first."""
        batch = self._asked.pop(0)
        if self._begun - len(self._asked) == 1:
            return [_lint(specimen) for specimen in batch]
        count = len(self._linters)
        return [self._linters[place % count].answer(specimen) for place, specimen in enumerate(batch)]


def _lint(specimen: Specimen) -> Findings:
    certificate, public_style = specimen
    return lint(certificate, public_style=public_style)


class _Linter:
    """One process; it answers in the order in which it was asked, and says which bytes each answer is about."""

    def __init__(self) -> None:
        self._questions: Queue[bytes] = Queue()
        self._answers: Queue[str] = Queue()
        self._process = self._start()

    def ask(self, specimens: Sequence[Specimen]) -> None:
        for certificate, public_style in specimens:
            self._questions.put(lint_worker.question(_der(certificate), public_style=public_style))

    def answer(self, specimen: Specimen) -> Findings:
        """To the first question that is open, which was about this one; from here where the process is gone."""
        if self._process is not None:
            try:
                of, found = json.loads(self._answers.get(timeout=_SECONDS))
                if of == lint_worker.name_of(_der(specimen[0])):
                    return tuple(Finding(Severity(severity), *rest) for severity, *rest in found)
            except (Empty, ValueError):
                pass
            log.warning("A process that lints has ended; what it had is linted here.")
            self.stop()
        return _lint(specimen)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._questions.put(_END)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def _start(self) -> "subprocess.Popen[bytes] | None":
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", lint_worker.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
            )
        except OSError as error:
            log.warning("No process to lint with: %s", error)
            return None
        for work in (self._read, self._write):
            threading.Thread(target=work, args=(process,), daemon=True).start()
        return process

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout or ():
                self._answers.put(line.decode())
        self._answers.put("")  # nothing comes any more

    def _write(self, process: "subprocess.Popen[bytes]") -> None:
        """One thread for all: two would mix their questions up. It has ended: what is unanswered is linted here."""
        if process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            while question := self._questions.get():
                process.stdin.write(question)
                if self._questions.empty():
                    process.stdin.flush()


_END = b""


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
