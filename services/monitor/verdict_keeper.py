"""The comparisons under way: fed with figures, judged every second, stored, and told to everyone who watches."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator

from penstock.monitor.v1 import verdict_service_pb2 as pb
from services.common.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from services.monitor.adapters.comparison_store import ComparisonStore
from services.monitor.domain.blocks import NS, Block
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.decision import Decision
from services.monitor.domain.verdict.question import Mode, Question
from services.monitor.domain.verdict.sample import Pairs, sample_of
from services.monitor.live_comparison import LiveComparison, given_up
from services.monitor.saving import Saving

_log = logging.getLogger(__name__)

MAX_UNDER_WAY = 32
_SAVE_PERIOD_NS = 5 * NS
_SHOWN_NS = 600 * NS
"""How long one that is over is shown among the metrics: a scrape must not miss how it ended."""


class VerdictKeeper:
    """Comparisons by id. Single-threaded; ``clock`` gives Unix nanoseconds. While the database can't be written,
    changes are kept and written later.
    """

    def __init__(self, store: ComparisonStore, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._live: dict[str, LiveComparison] = {}
        self._is_changed = asyncio.Event()
        self._is_closed = False
        self._beginning = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._saving = Saving(self._save_due)
        self._is_ending = False
        self._ended: deque[tuple[int, Comparison]] = deque(maxlen=MAX_UNDER_WAY)
        """Comparisons that are over, and since when in Unix ns."""

    async def adopt(self) -> None:
        """Go on with what was under way when the monitor stopped."""
        now_s = self._clock() / NS
        for record in await asyncio.to_thread(self._store.under_way):
            try:
                self._live[record.comparison_id] = LiveComparison.load(record, now_s=now_s)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                _log.warning("what was learnt by comparison %s can't be used: %s", record.comparison_id, error)
                await asyncio.to_thread(self._store.save, given_up(record))

    def __iter__(self) -> Iterator[Comparison]:
        """Those under way, and before them those that ended of late; safe to use from another thread."""
        since_ns = self._clock() - _SHOWN_NS
        ended = [comparison for ended_ns, comparison in self._ended.copy() if ended_ns >= since_ns]
        return iter([*ended, *(live.comparison for live in list(self._live.values()))])

    async def begin(self, question: Question, fingerprint: str) -> pb.Comparison:
        """Begin a comparison, or tell how the one with this id stands.

        Raises:
            AlreadyExistsError: the id is of another question.
            ResourceExhaustedError: too many are under way.
        """
        async with self._beginning:
            known = self._live.get(question.comparison_id)
            stored = None
            if known is None:
                stored = await asyncio.to_thread(self._store.get, question.comparison_id)
            found = known or stored
            if found is not None and found.fingerprint != fingerprint:
                raise AlreadyExistsError(
                    f"comparison {question.comparison_id} is of another question; expected the same one, or another id"
                )
            if known is not None:
                return known.message()
            if stored is not None:
                return pb.Comparison.FromString(stored.report)
            if len(self._live) >= MAX_UNDER_WAY:
                raise ResourceExhaustedError(f"{len(self._live)} comparisons are under way, expected fewer; stop some")
            live = self._live[question.comparison_id] = LiveComparison(Comparison(question), fingerprint, self._clock())
            await self._save(live)
            return live.message()

    def feed(self, block: Block) -> None:
        """Take a version's second in, wherever it is compared."""
        sample = None
        for live in self._live.values():
            question = live.comparison.question
            if block.model == question.model and block.version in (question.candidate, question.baseline):
                sample = sample or sample_of(block)
                live.comparison.add(block.version, block.second, sample)

    def feed_label(self, model: str, version: str, *, answered_ns: int, is_wrong: bool) -> None:
        """Take a label in, wherever its version is compared and was when it answered."""
        for live in self._live.values():
            question = live.comparison.question
            is_of_it = model == question.model and version in (question.candidate, question.baseline)
            if is_of_it and answered_ns >= question.start_ns:
                live.comparison.add_label(version, is_wrong=is_wrong)
                live.has_news = True

    def record_pairs(self, comparison_id: str, pairs: Pairs) -> None:
        """Take pairs of answers in.

        Raises:
            NotFoundError: no such comparison is under way.
            FailedPreconditionError: the versions share the traffic.
        """
        live = self._live.get(comparison_id)
        if live is None:
            raise NotFoundError(f"there is no comparisons/{comparison_id} under way")
        if live.comparison.question.mode is not Mode.SHADOW:
            raise FailedPreconditionError(f"comparisons/{comparison_id} is none in shadow: there are no pairs")
        live.comparison.add_pairs(self._clock() // NS, pairs)

    async def judge(self) -> None:
        """Judge the seconds that are over; call it every second."""
        now_ns = self._clock()
        for live in list(self._live.values()):
            before = live.comparison.progress.observations
            is_ruled = live.comparison.advance(now_ns / NS)
            if is_ruled or live.has_news or live.comparison.progress.observations != before:
                live.has_news = False
                self._change(live)
            if is_ruled:
                self._tell(live.comparison)
            await asyncio.sleep(0)
        while self._ended and self._ended[0][0] < now_ns - _SHOWN_NS:
            self._ended.popleft()
        await self._saving.wait()

    def _change(self, live: LiveComparison) -> None:
        live.serial += 1
        live.report = None
        self._is_changed.set()
        self._is_changed = asyncio.Event()

    async def finish(self) -> None:
        """Store all that has changed, however long it takes."""
        self._is_ending = True
        await self._saving.wait(None)

    async def _save_due(self) -> None:
        while (live := next(filter(self._is_due, self._live.values()), None)) is not None:
            if not (live.is_saved or await self._save(live)):
                return
            if live.comparison.is_over and live.is_saved:
                self._end(live)

    def _is_due(self, live: LiveComparison) -> bool:
        is_fresh = 0 <= self._clock() - live.saved_ns < _SAVE_PERIOD_NS
        return live.comparison.is_over or (not live.is_saved and (self._is_ending or not is_fresh))

    async def _save(self, live: LiveComparison) -> bool:
        """Store a comparison as it is now; False if that fails, and is to be tried again."""
        async with self._writing:
            serial, record, live.saved_ns = live.serial, live.record(), self._clock()
            try:
                await asyncio.to_thread(self._store.save, record)
            except UnavailableError as error:
                _log.error("could not save comparison %s, trying again: %s", record.comparison_id, error)
                return False
            except InvalidArgumentError as error:
                _log.error("comparison %s can't be stored, ever: %s", record.comparison_id, error)
            live.saved_serial = serial
            return True

    def _end(self, live: LiveComparison) -> None:
        self._live.pop(live.comparison.question.comparison_id, None)
        self._ended.append((self._clock(), live.comparison))

    async def get(self, comparison_id: str) -> pb.Comparison:
        """How a comparison stands.

        Raises:
            NotFoundError: there is none.
        """
        if (live := self._live.get(comparison_id)) is not None:
            return live.message()
        record = await asyncio.to_thread(self._store.get, comparison_id)
        if record is None:
            raise NotFoundError(f"there is no comparisons/{comparison_id}")
        return pb.Comparison.FromString(record.report)

    async def newest(
        self, *, model: str, before: tuple[int, str] | None, limit: int
    ) -> list[tuple[int, str, pb.Comparison]]:
        """Comparisons of one model ("" for all) with their begin and id, newest first."""
        rows = await asyncio.to_thread(self._store.reports, model=model, before=before, limit=limit)
        return [
            (begin, one, self._live[one].message() if one in self._live else pb.Comparison.FromString(report))
            for begin, one, report in rows
        ]

    async def stop(self, comparison_id: str, reason: str) -> pb.Comparison:
        """End a comparison, if it goes on.

        Raises:
            NotFoundError: there is none.
        """
        live = self._live.get(comparison_id)
        if live is not None and not live.comparison.is_over:
            live.comparison.stop(f"stopped: {reason}" if reason else "stopped")
            self._change(live)
            self._tell(live.comparison)
            await self._saving.wait()
            return live.message()
        return await self.get(comparison_id)

    async def watch(self, comparison_id: str) -> AsyncGenerator[pb.Comparison]:
        """How a comparison stands, then again after every change, until it is final.

        Raises:
            NotFoundError: there is none.
            UnavailableError: the monitor stops.
        """
        live = self._live.get(comparison_id)
        if live is None:
            yield await self.get(comparison_id)
            return
        seen = 0
        while not self._is_closed:
            changed = self._is_changed
            if live.serial != seen:
                seen = live.serial
                yield live.message()
            if live.comparison.is_over and live.serial == seen:
                return
            if live.serial == seen and not self._is_closed:
                await changed.wait()
        raise UnavailableError("the monitor stops; watch again", reason="STOPPING")

    def close(self) -> None:
        """End all watches."""
        self._is_closed = True
        self._is_changed.set()

    def _tell(self, comparison: Comparison) -> None:
        question, ruling = comparison.question, comparison.ruling
        is_news = ruling.is_final or ruling.decision is not Decision.CONTINUE
        _log.log(
            logging.WARNING if is_news else logging.DEBUG,
            "comparison %s of %s %s with %s: %s: %s",
            *(question.comparison_id, question.model, question.candidate, question.baseline),
            *(ruling.decision, ruling.reason),
            extra={
                "event.kind": "event",
                "event.id": question.comparison_id,
                "event.action": f"verdict-{ruling.decision}",
                "labels": {"model": question.model, "candidate": question.candidate, "baseline": question.baseline},
            },
        )
