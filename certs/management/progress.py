"""A bar for work on many things: on standard error, so that standard output holds the result alone; none where nobody
watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_FEW = 3  # are done before anybody could read it

Tell = Callable[[int, int], None]  # how many are done, and of how many


@contextmanager
def progress_bar(what: str) -> Iterator[Tell]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, visible=False)
        yield lambda done, total: shown.update(task, completed=done, total=total, visible=total > _FEW)
