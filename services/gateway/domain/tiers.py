"""One priority of a lane."""

from __future__ import annotations

from services.gateway.domain.shares import Shares


class Tier:
    """The requests of one priority, which have a stream of their own: 0 where all are equal, else 1 is the most urgent.

    At priority 0 ``unsettled`` requests and their ``rows`` are not counted: it has all of the lane's that no other has.
    """

    __slots__ = ("answered", "priority", "rate", "recent", "rows", "shares", "stream", "unsettled")

    def __init__(self, priority: int, stream: str) -> None:
        self.priority = priority
        self.stream = stream
        self.unsettled = 0
        self.rows = 0
        self.shares = Shares()
        """Of their callers."""
        self.answered = 0
        """Rows that nobody has learnt from yet."""
        self.recent = 0.0
        """Rows answered lately, the older the less."""
        self.rate = 0.0
        """Rows a second by which what is as urgent or more is worked off; 0: not known."""
