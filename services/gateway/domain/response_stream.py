"""The outcome of a request that may have many responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class ResponseStream(ABC):
    """Responses on their way from one model process to the caller; an :class:`Outcome`.

    All responses are of the process that gave the first one: another one that runs the request again would begin anew.
    Subclasses pass on what comes to :meth:`on_response`, :meth:`on_end` and :meth:`on_error`. The process hears how
    many were taken when there are so many responses, or bytes, of which it hasn't heard.
    """

    def __init__(self, *, most_unreported: int, most_unreported_bytes: int) -> None:
        self.source: object = None
        """The model process; None before the first response."""
        self.received = 0
        self.taken = 0
        """How many were passed on to the caller."""
        self._most_unreported = most_unreported
        self._most_unreported_bytes = most_unreported_bytes
        self._is_done = False
        self._report: Callable[[int], None] | None = None
        self._unreported = self._unreported_bytes = 0

    def begin(self, source: object, report: Callable[[int], None]) -> None:
        """Take responses of ``source``, and tell it by ``report`` how many the caller has taken."""
        self.source, self._report = source, report

    def add(self, response: bytes | memoryview) -> None:
        """Take a response after which there may be others."""
        self.received += 1
        self.on_response(response)

    def note_taken(self, size: int) -> None:
        """Note that a response of so many bytes was passed on."""
        self.taken += 1
        self._unreported += 1
        self._unreported_bytes += size
        is_due = self._unreported >= self._most_unreported or self._unreported_bytes >= self._most_unreported_bytes
        if is_due and self._report is not None and not self._is_done:
            self._unreported = self._unreported_bytes = 0
            self._report(self.taken)

    def done(self) -> bool:
        return self._is_done

    def set_result(self, response: bytes | memoryview, /) -> None:
        """Take the end: the one response of a model that is not decoupled, else nothing."""
        self._is_done = True
        self.on_end(response)

    def set_exception(self, error: Exception, /) -> None:
        self._is_done = True
        self.on_error(error)

    def leave(self) -> None:
        """Nobody waits any more."""
        self._is_done = True

    @abstractmethod
    def on_response(self, response: bytes | memoryview) -> None:
        """Pass on a response after which there may be others."""

    @abstractmethod
    def on_end(self, response: bytes | memoryview) -> None:
        """Pass on the end, with the response of a model that is not decoupled."""

    @abstractmethod
    def on_error(self, error: Exception) -> None:
        """Pass on that there will be nothing more but this error."""
