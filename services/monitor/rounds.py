"""What the monitor does each second, and at its start and its end: it judges, records what it found, and stores what is
to outlive it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.analysis import Analysis, Version
from services.monitor.arrivals import Arrivals, series_of
from services.monitor.domain.blocks import NS
from services.monitor.domain.figures import PANE_S, PANES
from services.monitor.domain.foreign_incidents import is_foreign
from services.monitor.domain.incidents import Incident
from services.monitor.feedback_keeper import FeedbackKeeper
from services.monitor.journal import Journal
from services.monitor.saving import Saving
from services.monitor.verdict_keeper import VerdictKeeper

_log = logging.getLogger(__name__)

JUDGE_PERIOD_S = 1.0
_SAVE_PERIOD_S = 60.0
_LAST_SAVE_S = 8.0
_MAX_ADOPTED = 1_000
_TOLD_AGAIN_NS, _MAX_TOLD_AGAIN = 24 * 3_600 * NS, 100
"""Who was away when an incident ended, and still when the monitor stopped, would never hear of its end."""


class Rounds:
    """Single-threaded; ``clock`` gives Unix nanoseconds. No round waits long for the database."""

    def __init__(
        self,
        *,
        analysis: Analysis,
        arrivals: Arrivals,
        verdicts: VerdictKeeper,
        feedback: FeedbackKeeper,
        store: IncidentStore,
        journal: Journal,
        clock: Callable[[], int],
    ) -> None:
        self.ended: list[Incident] = []
        """The incidents that ended of late when the monitor started, or by that."""
        self._analysis = analysis
        self._arrivals = arrivals
        self._verdicts = verdicts
        self._feedback = feedback
        self._store = store
        self._journal = journal
        self._clock = clock
        self._saving = Saving(self._save_learnt)
        self._changed: set[Version] = set()
        """Versions whose incidents changed since what was learnt of them was stored."""
        self._is_all_due = False

    async def adopt(self) -> None:
        """Take over what the last run left open; what it had learnt is good as long as figures are kept.

        Raises:
            UnavailableError: the database can't be used.
        """
        now_ns = self._clock()
        references = await asyncio.to_thread(self._store.references, since_ns=now_ns - PANES * PANE_S * NS)
        left_open = await asyncio.to_thread(self._store.newest, model="", is_open=True, before="", limit=_MAX_ADOPTED)
        self._arrivals.adopt(
            open_incidents=[one for one in left_open if is_foreign(one.model)],
            references={series_of(version): data for version, data in references.items() if is_foreign(version[0])},
        )
        ours = [one for one in left_open if not is_foreign(one.model)]
        learnt = {version: data for version, data in references.items() if not is_foreign(version[0])}
        await self._journal.record(self._analysis.adopt(open_incidents=ours, references=learnt))
        self.ended = await asyncio.to_thread(self._store.ended, since_ns=now_ns - _TOLD_AGAIN_NS, limit=_MAX_TOLD_AGAIN)
        await self._verdicts.adopt()
        await self._feedback.adopt()

    async def run(self) -> None:
        """Judge every second, for ever."""
        saved_s = time.monotonic()
        while True:
            await asyncio.sleep(JUDGE_PERIOD_S)
            changed = await self._judge()
            await self._verdicts.judge()
            self._analysis.expire()
            # What made an incident is stored with it: after a kill its end would not be seen without.
            self._changed |= {(one.model, one.version) for one in changed}
            if time.monotonic() - saved_s >= _SAVE_PERIOD_S:
                self._is_all_due, saved_s = True, time.monotonic()
            if self._is_all_due or self._changed:
                await self._saving.wait()

    async def _judge(self) -> list[Incident]:
        """The incidents that changed; also those found before this is cancelled are recorded."""
        changed: list[Incident] = []
        try:
            for found in self._analysis.judge():
                changed += found
                await asyncio.sleep(0)
            changed += self._arrivals.judge()
            self._arrivals.show(changed)
        finally:
            # Once for all versions: a database that is away takes its time to say so.
            await self._journal.record(changed)
        return changed

    async def _save_learnt(self) -> None:
        """Store what was learnt: all, or of versions whose incidents changed."""
        while self._is_all_due or self._changed:
            is_all, changed = self._is_all_due, self._changed
            self._is_all_due, self._changed = False, set()
            references: dict[Version, Mapping[str, Any]] = {}
            for version, data in self._learnt() if is_all else self._analysis.learnt(changed):
                references[version] = data
                await asyncio.sleep(0)
            if references or is_all:
                await self._journal.save_references(references, now_ns=self._clock(), keeps_others=not is_all)

    def _learnt(self) -> Iterator[tuple[Version, Mapping[str, Any]]]:
        yield from self._analysis.learnt()
        yield from self._arrivals.references()

    async def finish(self) -> None:
        """Store all that is known, for ``_LAST_SAVE_S`` at most."""
        self._is_all_due = True
        saves = (self._journal.finish(), self._verdicts.finish(), self._feedback.finish(), self._saving.wait(None))
        try:
            async with asyncio.timeout(_LAST_SAVE_S):
                outcomes = await asyncio.gather(*saves, return_exceptions=True)
        except TimeoutError:
            _log.error("stopping without having stored all, as that takes longer than %g s", _LAST_SAVE_S)
            return
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
