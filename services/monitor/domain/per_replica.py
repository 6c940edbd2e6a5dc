"""The last things that were seen of each replica."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, Protocol, TypeVar

from services.monitor.domain.replica import MAX_REPLICAS

SILENT_S = 10
"""A replica of which nothing came for so long makes room for another one."""


class Dated(Protocol):
    """What was seen at a second."""

    @property
    def second(self) -> int: ...


T = TypeVar("T", bound=Dated)


class PerReplica(Generic[T]):
    """Of at most ``MAX_REPLICAS``; of others nothing is kept while all of these are there."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        """Replicas."""
        return len(self._kept)

    def add(self, instance: str, seen: T, *, most: int) -> None:
        """Keep it, and no more than ``most`` of this replica."""
        kept = self._kept.get(instance)
        if kept is None:
            if len(self._kept) >= MAX_REPLICAS and not self._has_made_room(seen.second):
                return
            kept = self._kept[instance] = deque()
        kept.append(seen)
        while len(kept) > most:
            kept.popleft()

    def _has_made_room(self, second: int) -> bool:
        silent = min(self._kept, key=lambda instance: self._kept[instance][-1].second)
        if self._kept[silent][-1].second > second - SILENT_S:
            return False
        del self._kept[silent]
        return True

    def by_replica(self, *, since: int) -> dict[str, list[T]]:
        """What was seen from a second on, of replicas of which anything was."""
        found = {name: [one for one in kept if one.second >= since] for name, kept in self._kept.items()}
        return {name: several for name, several in found.items() if several}

    def __iter__(self) -> Iterator[T]:
        """All of it, the oldest first."""
        return iter(sorted(chain.from_iterable(self._kept.values()), key=lambda one: one.second))
