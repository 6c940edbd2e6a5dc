"""The lane as the worker sees it: a port, with Redis behind it in service and memory in tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.common.lanes import Entry


@dataclass(slots=True)
class Delivery:
    """An entry that a lane gave to this process, to be settled exactly once.

    ``delivery_count`` is 1 for a first delivery. A suspect was taken over from a consumer that died with it in hand: it
    may be what killed it, and must run alone.
    """

    stream: str
    entry_id: bytes
    entry: Entry
    delivery_count: int = 1
    is_suspect: bool = False

    @property
    def attempt(self) -> int:
        """How often the request was given to a model process, this time included."""
        return self.entry.attempt + self.delivery_count - 1


class Lane(Protocol):
    """Gives out requests. What was taken and not settled is given to another consumer when this one dies."""

    async def take(self, count: int, *, wait_s: float | None) -> list[Delivery]:
        """Up to ``count`` deliveries, the most urgent first.

        Waits for the first one for ``wait_s`` seconds at most, None for a good while; what has come with it is taken
        along. May answer nothing before that time. Must not be cancelled: what was about to be delivered would be lost
        until this process ends.
        """

    def put_back(self, delivery: Delivery) -> None:
        """Let the next ``take`` give this out again, in its present state. Makes a waiting one return."""

    async def rest(self) -> list[Delivery]:
        """All that was delivered and not taken; nothing more is, after this and :meth:`wake`."""

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge and delete; returns at once, done soon and in order."""

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Copy to the dead-letter stream; the delivery still has to be settled. Returns at once, done soon."""

    def nudge(self) -> None:
        """Make a waiting ``take`` return; what it waited for comes to the next one."""

    async def wake(self) -> None:
        """Make a waiting ``take`` return, and nothing wait for it any more."""
