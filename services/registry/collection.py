"""The end of content that is of no use to anybody any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from services.common.errors import PenstockError
from services.registry.adapters import artifact_rows
from services.registry.adapters.content_store import ContentStore
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.staging import Staging
from services.registry.adapters.transaction import Transaction
from services.registry.artifacts import STORING_NS
from services.registry.domain.garbage import Garbage, GarbageKind, Stored

_log = logging.getLogger(__name__)

_AT_ONCE = 8


class Collector:
    """Removes content that no version names and uploads that nobody went on with, once nobody may count on them.

    Content is given up in a writing transaction, so that a version that is being created either has it still or finds
    it missing. After that only what lies under its key is removed, and nothing else will ever have that key. A removal
    that fails, or is cut off, is repeated.
    """

    def __init__(
        self,
        staging: Staging,
        store: ContentStore,
        database: Database,
        *,
        grace_ns: int,
        clock: Clock,
        is_receiving: Callable[[str], bool],
    ) -> None:
        self._staging = staging
        self._store = store
        self._database = database
        self._grace_ns = grace_ns
        self._clock = clock
        self._is_receiving = is_receiving
        self._lock = asyncio.Lock()
        self.is_awake = False
        """True where something was deleted since the last sweep."""

    def wake(self) -> None:
        """Have it sweep soon."""
        self.is_awake = True

    async def find(self, *, grace_ns: int | None = None) -> list[Garbage]:
        """What :meth:`collect` would remove."""
        found = await self._database.read(_find, leeway_ns=self._leeway_ns(grace_ns))
        return [*map(_content, found), *await self._stale_uploads(grace_ns)]

    async def collect(self, *, grace_ns: int | None = None) -> list[Garbage]:
        """Remove what was promised to nobody, and not written to, for that long; by default for the registry's grace.

        What can't be removed, since the store is away, says so in its ``failure``, and is removed later.
        """
        async with self._lock:
            await self._database.write(_give_up, leeway_ns=self._leeway_ns(grace_ns))
            garbage = await self._remove(await self._database.read(artifact_rows.list_garbage))
            for upload in await self._stale_uploads(grace_ns):
                # Looked at again at the last moment, and in one go: nobody begins to send it in between.
                if not self._is_receiving(upload.sha256) and self._staging.abandon(upload.sha256):
                    garbage.append(upload)
            return garbage

    async def sweep(self) -> None:
        """Collect, and end what was never stored as a whole."""
        self.is_awake = False
        for one in await self.collect():
            if one.failure:
                _log.warning("could not remove content %s, it is tried again: %s", one.sha256, one.failure)
        fragments = await self._store.find_fragments(before_ns=self._clock() - STORING_NS)
        announced = await self._database.read(artifact_rows.list_announced) if fragments else set()
        for fragment in fragments:
            if fragment.key not in announced:
                await self._store.remove_fragment(fragment)

    def _leeway_ns(self, grace_ns: int | None) -> int:
        """How much earlier than promised."""
        return 0 if grace_ns is None else self._grace_ns - grace_ns

    async def _stale_uploads(self, grace_ns: int | None) -> list[Garbage]:
        before_ns = self._clock() - (self._grace_ns if grace_ns is None else grace_ns)
        stale = await asyncio.to_thread(self._staging.list_stale, before_ns=before_ns)
        return [Garbage(GarbageKind.UPLOAD, sha256, size) for sha256, size in stale if not self._is_receiving(sha256)]

    async def _remove(self, doomed: list[Stored]) -> list[Garbage]:
        garbage: list[Garbage] = []
        for at in range(0, len(doomed), _AT_ONCE):
            some = doomed[at : at + _AT_ONCE]
            outcomes = await asyncio.gather(*map(self._remove_one, some))
            gone = [one.key for one, outcome in zip(some, outcomes, strict=True) if not outcome.failure]
            await self._database.write(artifact_rows.forget_garbage, gone)
            garbage += outcomes
            if not gone:  # the store is away: it is for the next time
                return garbage + [replace(_content(one), failure="not tried") for one in doomed[at + _AT_ONCE :]]
        return garbage

    async def _remove_one(self, stored: Stored) -> Garbage:
        try:
            await self._store.remove(stored.key)
        except PenstockError as error:
            return replace(_content(stored), failure=error.message)
        except OSError as error:
            return replace(_content(stored), failure=error.strerror or str(error))
        return _content(stored)


def _content(stored: Stored) -> Garbage:
    return Garbage(GarbageKind.CONTENT, stored.sha256, stored.size_bytes)


def _find(tx: Transaction, *, leeway_ns: int) -> list[Stored]:
    unneeded = artifact_rows.list_unneeded(tx, kept_until_ns=tx.now_ns + leeway_ns)
    return [*artifact_rows.list_garbage(tx), *unneeded]


def _give_up(tx: Transaction, *, leeway_ns: int) -> None:
    artifact_rows.give_up(tx, kept_until_ns=tx.now_ns + leeway_ns)
