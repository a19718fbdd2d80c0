"""What a notification channel must do, and what it is given.

A channel knows nothing of alarms' rows and sees no database. The same message may be given twice: a process killed
after the sending cannot know that it was sent (at least once, never lost). `Message.id` is the same then.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from certs.domain.alarms import Message
from certs.domain.errors import Unavailable
from certs.domain.options import NoOptions


@dataclass(frozen=True)
class Site:
    """What a channel may know of the portal around it. `allow_private`: the operator said that it may be on a
    loopback or private address."""

    version: str = ""
    allow_private: bool = False


class Undelivered(Unavailable):
    """It did not get through. `answer` is what the server said, `retry_at` when it wants to hear from us again."""

    code = "undelivered"

    def __init__(self, message: str, *, advice: str = "", answer: str = "", retry_at: datetime | None = None) -> None:
        super().__init__(message, advice=advice)
        self.answer = answer
        self.retry_at = retry_at


class Channel(ABC):
    """Made for one delivery with its options."""

    Options: ClassVar[type[Any]] = NoOptions
    label: ClassVar[str]

    def __init__(self, options: Any = None, site: Site | None = None) -> None:
        self.options = options if options is not None else self.Options()
        self.site = site or Site()

    @abstractmethod
    def send(self, message: Message) -> str:
        """Deliver it; network, a minute at most. Returns the server's own answer, to be shown to people.

        Raises Undelivered, InputError where the options cannot work.
        """
