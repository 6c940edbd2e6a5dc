"""Watches the sources, in the registry that writes: looks, uploads what is new, and sees it through."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from services.common.errors import FailedPreconditionError, PenstockError
from services.registry import delivering, sources
from services.registry.adapters import source_rows
from services.registry.adapters.database import Clock, Database
from services.registry.bringing import Bringing
from services.registry.domain import sources as domain
from services.registry.domain.sources import Source, SourceState
from services.registry.lease import Lease
from services.registry.source_check.messages import Answer, Outcome, Question

_log = logging.getLogger(__name__)

_AT_ONCE = 2
_TICK_S = 0.5
_ANSWER_S = 20.0
"""How long a caller who asks for a look waits for what comes of it."""
_UNSETTLED_S = 1.0
"""After how long what was still being written is looked at again, the first time."""


class Looker(Protocol):
    """Looks at places."""

    async def look(self, question: Question, *, limit_s: float) -> Answer: ...


class Sourcing:
    """Owns the looks that are under way, at most one for each source. ``folder`` is for what they find."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        bringing: Bringing,
        *,
        looker: Looker,
        folder: Path,
        clock: Clock,
    ) -> None:
        self._database = database
        self._lease = lease
        self._bringing = bringing
        self._looker = looker
        self._folder = folder
        self._clock = clock
        self.on_counts: Callable[[Mapping[str, int]], None] = lambda _: None
        """Told, now and then, how many sources there are in each state."""
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._awake = asyncio.Event()
        self._moved: set[str] = set()

    def wake(self) -> None:
        """Look sooner than at the next tick for what there is to do."""
        self._awake.set()

    def note_moved(self, registered_model: str) -> None:
        """MLflow says that something happened to a registered model: look at its sources at the next tick."""
        self._moved.add(registered_model)
        self.wake()

    async def run(self) -> None:
        """Watch for ever. Cancelled, it ends the looks that are under way."""
        await asyncio.to_thread(_emptied, self._folder)
        try:
            while True:
                try:
                    if self._lease.is_writer:
                        await self._tick()
                    else:
                        self._moved.clear()
                        self._stop()
                except PenstockError as error:
                    _log.warning("watching the sources failed, it is tried again: %s", error)
                self._awake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._awake.wait()
        finally:
            looks = self._stop()
            await asyncio.gather(*looks, return_exceptions=True)

    async def check(self, name: str, *, is_forced: bool) -> None:
        """Look now, or join the look that is under way; wait for what comes of it, but not for ever.

        Raises:
            NotFoundError: there is no such source.
            FailedPreconditionError: it is paused.
        """
        source = await self._database.read(sources.get_source, name)
        if source.is_paused:
            raise FailedPreconditionError(f"{name} is paused: let it be watched first")
        if is_forced and (running := self._looks.get(source.id)) is not None:
            await asyncio.wait([running], timeout=_ANSWER_S)
        await asyncio.wait([self._begin(source, is_forced=is_forced)], timeout=_ANSWER_S)

    async def _tick(self) -> None:
        now_ns, now = self._clock(), asyncio.get_running_loop().time()
        moved, self._moved = self._moved, set()
        found = await self._database.read(source_rows.page)
        counts = Counter(one.state for one in found)
        self.on_counts({state.name.lower(): counts[state] for state in SourceState})
        for source in found:
            again_at = self._again_at.get(source.id)
            is_again = again_at is not None and now >= again_at and not source.is_paused
            if not source.is_paused and _is_of(source, moved):
                is_again = True
                if source.id in self._looks:  # which may have looked too early
                    self._moved.add(source.location.fields["registered_model"])
            if is_again or domain.is_due(source, now_ns=now_ns):
                self._begin(source, is_forced=False)
        if any(one.progress.bringing for one in found):
            await self._deliver()

    async def _deliver(self) -> None:
        """See through what was brought."""
        for source in await self._database.read(delivering.list_brought):
            await self._bringing.deliver(source)

    def _begin(self, source: Source, *, is_forced: bool) -> asyncio.Task[None]:
        if (running := self._looks.get(source.id)) is not None:
            return running
        self._again_at.pop(source.id, None)
        task = asyncio.create_task(self._look(source, is_forced=is_forced), name=f"look at {source.name}")
        self._looks[source.id] = task
        task.add_done_callback(lambda _: self._looks.pop(source.id, None))
        task.add_done_callback(_report)
        return task

    def _stop(self) -> list[asyncio.Task[None]]:
        for task in (looks := list(self._looks.values())):
            task.cancel()
        return looks

    async def _look(self, source: Source, *, is_forced: bool) -> None:
        async with self._slots:
            scratch = self._folder / secrets.token_hex(8)
            try:
                await asyncio.to_thread(scratch.mkdir)
                question = Question(
                    kind=source.location.kind,
                    fields=source.location.fields,
                    settle_s=(source.settle_ns or 0) / 1e9,
                    seen="" if is_forced else source.progress.seen,
                    scratch=str(scratch),
                )
                answer = await self._looker.look(question, limit_s=source.check_ns / 1e9)
                await self._note(source, answer, is_forced=is_forced)
            except PenstockError as error:  # the database is away, or another registry writes
                _log.warning("a look at %s was in vain: %s", source.name, error)
            except OSError as error:
                why = f"the registry can't keep what was found: {error.strerror}"
                await self._database.write(sources.note_failure, source.id, why)
            finally:
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        self.wake()

    async def _note(self, source: Source, answer: Answer, *, is_forced: bool) -> None:
        write = self._database.write
        if answer.outcome is Outcome.UNCHANGED:
            await write(sources.note_look, source.id)
        elif answer.outcome is Outcome.UNSETTLED:
            self._look_again(source)
            await write(sources.note_look, source.id, waiting=answer.text)
            return
        elif answer.outcome is Outcome.FOUND:
            await self._bringing.bring(source, answer, is_forced=is_forced)
        elif answer.outcome is Outcome.REFUSED:
            await write(
                sources.note_refusal, source.id, seen=answer.fingerprint, revision=answer.revision, why=answer.text
            )
        else:
            await write(sources.note_failure, source.id, answer.text)
        self._pauses.pop(source.id, None)

    def _look_again(self, source: Source) -> None:
        """Before its turn, but less and less so: it may be empty for days."""
        pause_s = self._pauses.get(source.id, _UNSETTLED_S)
        self._pauses[source.id] = min(2 * pause_s, source.poll_ns / 1e9)
        self._again_at[source.id] = asyncio.get_running_loop().time() + pause_s


def _is_of(source: Source, moved: set[str]) -> bool:
    return source.location.kind == "mlflow" and source.location.fields["registered_model"] in moved


def _emptied(folder: Path) -> None:
    """Remove what a registry that was killed left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("%s was broken off: %s", task.get_name(), error, exc_info=error)
