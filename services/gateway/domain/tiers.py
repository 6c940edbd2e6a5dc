"""One priority of a lane."""

from __future__ import annotations

from services.gateway.domain.shares import Shares


class Tier:
    """The requests of one priority (0 or 1: the most urgent), which have a stream of their own."""

    __slots__ = ("answered", "noted", "priority", "rate", "recent", "rows", "shares", "stream", "unsettled")

    def __init__(self, priority: int, stream: str) -> None:
        self.priority = priority
        self.stream = stream
        self.unsettled = 0
        self.rows = 0
        """Of the unsettled requests."""
        self.shares = Shares()
        """Of their callers."""
        self.answered = 0
        """Rows since the gateway started."""
        self.rate = 0.0
        """Rows a second by which what is as urgent or more is worked off; 0: not known."""
        self.noted = 0
        self.recent = 0.0
