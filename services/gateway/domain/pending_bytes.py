"""How much memory requests take while they are under way."""

from __future__ import annotations

from services.gateway.domain import refusals


class PendingBytes:
    """The bytes of all requests that a gateway process holds, and the most that it may."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def check(self, size: int) -> None:
        """Refuse what would be too much; one request alone never is.

        Raises:
            UnavailableError: others take too much now.
        """
        if self.held and self.held + size > self.limit:
            raise refusals.memory_full(size, held=self.held, limit=self.limit)
