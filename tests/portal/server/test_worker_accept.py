"""Taking connections from a listener: what befell one that waited must not end the worker and all the others."""

import errno
import os

import pytest

from portal.server.worker import ThreadWorker


class Listener:
    def __init__(self, number: int) -> None:
        self.number = number

    def accept(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.EPERM])
def test_a_connection_that_is_gone_already_is_passed_over(number: int) -> None:
    ThreadWorker.accept(object.__new__(ThreadWorker), Listener(number))


def test_a_listener_that_is_broken_is_no_secret() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        ThreadWorker.accept(object.__new__(ThreadWorker), Listener(errno.EBADF))
