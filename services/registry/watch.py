"""How followers are kept up to date."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.common.errors import InvalidArgumentError, UnavailableError
from services.registry.adapters.database import Database
from services.registry.adapters.transaction import Transaction
from services.registry.domain.changes import Change, Mark, Snapshot

SIGN_OF_LIFE_S = 4.0
_PAGE = 256


class Watch:
    """Reads the change log for each watcher, at the watcher's own pace.

    A watcher holds at most one page of changes, or the snapshot, which those that begin at one revision share. It is
    woken when this process commits and when :meth:`advance` is told that another one did.
    """

    def __init__(self, database: Database, *, sign_of_life_s: float = SIGN_OF_LIFE_S) -> None:
        self._database = database
        self._sign_of_life_s = sign_of_life_s
        self.revision = 0
        """The database's revision as last seen."""
        self.watchers = 0
        """How many watches are open."""
        self._moved = asyncio.Event()
        self._is_closed = False
        self._snapshot: weakref.ref[Snapshot] | None = None
        self._snapshot_lock = asyncio.Lock()

    def advance(self, revision: int) -> None:
        """Wake the watchers if the database's revision is another than before."""
        if revision != self.revision:
            self.revision = revision
            self._wake()

    def close(self) -> None:
        """End all watches."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def follow(self, revision: int) -> AsyncGenerator[Change | Mark]:
        """The present state (from revision 0), then every change, in order, without gap or duplicate, for ever.

        Raises:
            OutOfRangeError: the changes after ``revision`` are no longer kept.
            UnavailableError: the registry stops, or lost its database.
        """
        if revision < 0:
            raise InvalidArgumentError(f"got revision {revision}, expected 0 or more")
        self.watchers += 1
        try:
            if revision == 0:
                snapshot = await self._take_snapshot()
                for change in snapshot.changes:
                    yield change
                revision = snapshot.revision
                del snapshot
                yield Mark(revision, is_snapshot_end=True)
            async with aclosing(self._follow_log(revision)) as events:
                async for event in events:
                    yield event
        finally:
            self.watchers -= 1

    async def _follow_log(self, revision: int) -> AsyncGenerator[Change | Mark]:
        while not self._is_closed:
            moved = self._moved  # before reading, so that no change falls in between
            changes = await self._database.read(Transaction.changes_after, revision, limit=_PAGE)
            for change in changes:
                yield change
                revision = change.revision
            if not changes and not await self._is_set_in_time(moved):
                yield Mark(revision)
        raise UnavailableError("the registry is stopping")

    async def _is_set_in_time(self, moved: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(self._sign_of_life_s):
                return await moved.wait()
        except TimeoutError:
            return False

    async def _take_snapshot(self) -> Snapshot:
        async with self._snapshot_lock:
            shared = self._snapshot() if self._snapshot else None
            if shared is None or shared.revision != self.revision:
                shared = await self._database.read(Transaction.snapshot)
                self._snapshot = weakref.ref(shared)
            return shared
