"""What was taken from a lane and is to be acknowledged, deleted or buried."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from redis.exceptions import ResponseError

from services.common import lanes
from services.common.lanes import GROUP
from services.common.resp import Command, RespConnection, is_memory_full

_log = logging.getLogger(__name__)

EntryKey = tuple[str, bytes]
"""Stream and entry id."""


class Settlements:
    """Entries in hand, until Redis has heard that they are settled."""

    def __init__(self, dead_letters: str) -> None:
        self._dead_letters = dead_letters
        self._unsettled: set[EntryKey] = set()
        self._in_hand: set[EntryKey] = set()  # the unsettled, and those that Redis was not told of yet
        self._acks: defaultdict[str, list[bytes]] = defaultdict(list)
        self._dead: list[dict[Any, Any]] = []
        self.due = asyncio.Event()
        """Whether there is something to send."""

    def __contains__(self, entry: object) -> bool:
        return entry in self._in_hand

    def add(self, entry: EntryKey) -> None:
        self._in_hand.add(entry)
        self._unsettled.add(entry)

    def settle(self, entry: EntryKey) -> None:
        """Acknowledge and delete an entry, soon; nothing for one that is settled, or never was in a lane."""
        if entry in self._unsettled:
            self._unsettled.remove(entry)
            self._acks[entry[0]].append(entry[1])
            self.due.set()

    def bury(self, fields: Mapping[Any, Any], reason: str) -> None:
        """Copy an entry to the dead letters, soon."""
        self._dead.append({**fields, "reason": reason})
        self.due.set()

    async def send(self, connection: RespConnection, *, within_s: float) -> None:
        """Send all that gathered in one pipeline; after an error it is there for another time.

        Dead letters that Redis has no memory for are given up: what is acknowledged must not wait for them.

        Raises:
            RedisError, OSError: it may or may not be done.
        """
        acks, self._acks = self._acks, defaultdict(list)
        dead, self._dead = self._dead, []
        try:
            answers = await connection.execute(*self._commands(acks, dead), within_s=within_s, raise_on_error=False)
            for error in (answer for answer in answers if isinstance(answer, ResponseError)):
                if not is_memory_full(error):
                    raise error
                _log.error("a dead letter was dropped: %s", error)
        except BaseException:
            for stream, ids in acks.items():
                self._acks[stream] += ids
            self._dead += dead
            raise
        for stream, ids in acks.items():
            self._in_hand.difference_update((stream, entry_id) for entry_id in ids)

    def _commands(self, acks: Mapping[str, list[bytes]], dead: list[dict[Any, Any]]) -> Iterator[Command]:
        for fields in dead:
            kept = ("MAXLEN", "~", lanes.DEAD_LETTERS_KEPT, "*")
            yield ("XADD", self._dead_letters, *kept, *chain(*fields.items()))
        for stream, ids in acks.items():
            # What is deleted and not acknowledged is cleared away by others; the other way round it would stay.
            yield ("XDEL", stream, *ids)
            yield ("XACK", stream, GROUP, *ids)

    @property
    def count(self) -> int:
        """How many are in hand."""
        return len(self._in_hand)

    @property
    def is_any_in_hand(self) -> bool:
        return bool(self._in_hand)

    @property
    def is_any(self) -> bool:
        return bool(self._acks or self._dead)
