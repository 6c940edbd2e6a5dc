"""How far a stream of responses is ahead of its caller."""

from __future__ import annotations

from collections import deque
from threading import Condition

from services.common.errors import CancelledByCallerError, PenstockError
from services.common.stream_window import BYTES, RESPONSES


class Flow:
    """One request's responses. The thread that makes them waits and adds; the others are for any thread."""

    def __init__(self) -> None:
        self.error: PenstockError | None = None
        """Why it was ended before its end."""
        self.sent = 0
        self._sizes: deque[int] = deque()
        """Of the responses that the caller has not taken."""
        self._bytes = 0
        self._changed = Condition()

    def wait(self) -> bool:
        """Wait until the next response may be made; False when nobody waits for it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.error is not None or self._has_room)
            return self.error is None

    @property
    def _has_room(self) -> bool:
        return len(self._sizes) < RESPONSES and self._bytes < BYTES

    def add(self, size: int) -> bool:
        """Count a response of so many bytes, unless nobody waits for it any more."""
        with self._changed:
            if self.error is not None:
                return False
            self.sent += 1
            self._sizes.append(size)
            self._bytes += size
            return True

    def note_taken(self, responses: int) -> None:
        """Hear how many responses the caller has taken since the first."""
        with self._changed:
            while self._sizes and self.sent - len(self._sizes) < responses:
                self._bytes -= self._sizes.popleft()
            self._changed.notify()

    def end(self, error: PenstockError | None = None) -> None:
        """Let no more responses be made: the caller left, or else because of an error."""
        with self._changed:
            self.error = self.error or error or CancelledByCallerError("the caller left")
            self._changed.notify()
