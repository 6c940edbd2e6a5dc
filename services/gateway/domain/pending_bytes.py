"""How much memory requests take while they come and while they are under way."""

from __future__ import annotations

import sys

from services.gateway.domain import refusals


class PendingBytes:
    """The bytes of all requests that a gateway process holds, and the most that it may."""

    __slots__ = ("held", "limit", "refused")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.held = 0
        self.refused = 0
        """Requests that came in pieces and were refused before anybody knew what they ask for."""

    def check(self, size: int, *, mine: int = 0) -> None:
        """Refuse what would be too much, beside ``mine`` that one request holds already; one alone never is.

        Raises:
            UnavailableError: others take too much now.
        """
        if self.held > mine and self.held + size > self.limit:
            raise refusals.memory_full(mine + size, held=self.held - mine, limit=self.limit)
