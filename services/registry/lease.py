"""Which of the registries on one database writes: the one that has the right to, for as long as it answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from services.common.errors import PenstockError
from services.registry.adapters import heads
from services.registry.adapters.database import Database
from services.registry.adapters.heads import Head

_log = logging.getLogger(__name__)

_WRITER_LOOKS_S = 1.0
_READER_LOOKS_S = 0.2
_ASK_S = 1.0
LEASE_S = 3.0
"""A writer that was asked, and neither answered nor wrote for so long, has lost its right to."""


class Lease:
    """This registry's part in it. ``address`` is where the others reach it.

    The right to write is a number in the database, the term, which each writing transaction compares with its own: who
    lost it, and doesn't know yet, writes nothing. The writer answers other registries' questions in the database; as
    long as nobody asks, it costs nothing. No clock is compared with another's.
    """

    def __init__(self, database: Database, *, address: str) -> None:
        self._database = database
        self._address = address
        database.term = 0
        self.writer = ""
        """The address of the registry that writes; empty where none does."""
        self._seen: Head | None = None
        self._asked_at = self._waits_since = float("-inf")
        self._is_waiting = False

    @property
    def is_writer(self) -> bool:
        return bool(self._database.term)

    async def begin(self) -> None:
        """Take the right to write at once, if nobody has it, or this registry had it before it was started again."""
        head = await self._database.head()
        self.writer = head.writer
        if head.writer in ("", self._address):
            await self._take_over(head)

    @property
    def pause_s(self) -> float:
        """How long to wait until the next :meth:`look`."""
        return _WRITER_LOOKS_S if self.is_writer else _READER_LOOKS_S

    async def look(self, head: Head) -> bool:
        """Answer as the writer; as another, take over from one that doesn't. Whether this registry writes from now on.

        ``head`` is what the database says now.
        """
        if not self.is_writer:
            return await self._contend(head)
        await self._defend(head)
        return False

    async def release(self) -> None:
        """Leave the right to write to the others."""
        if term := self._database.term:
            self._database.term = 0
            with contextlib.suppress(PenstockError):
                await self._database.contend(heads.release, term=term)

    async def _defend(self, head: Head) -> None:
        term = self._database.term or 0
        if head.term != term:
            self._database.term, self.writer = 0, head.writer
            _log.warning("the registry at %s writes from now on, this one did not answer in time", head.writer)
        elif head.asked != head.answered:
            await self._database.contend(heads.answer, term=term)

    async def _contend(self, head: Head) -> bool:
        """Whether this registry has become the writer."""
        now, self.writer = asyncio.get_running_loop().time(), head.writer
        if not head.writer:
            return await self._take_over(head)
        if self._seen is None or _signs_of_life(head) != _signs_of_life(self._seen):
            self._seen, self._is_waiting = head, False
        if self._is_waiting and now - self._waits_since >= LEASE_S:
            return await self._take_over(head)
        if now - self._asked_at >= _ASK_S:
            await self._database.contend(heads.ask)
            self._asked_at = now
            if not self._is_waiting:
                self._is_waiting, self._waits_since = True, asyncio.get_running_loop().time()
        return False

    async def _take_over(self, seen: Head) -> bool:
        term = await self._database.contend(heads.take_over, seen=seen, address=self._address)
        if term:
            self._database.term, self.writer, self._is_waiting = term, self._address, False
            _log.info("this registry writes from now on, term %s", term)
        return bool(term)


def _signs_of_life(head: Head) -> tuple[int, int, int]:
    return head.term, head.revision, head.answered
