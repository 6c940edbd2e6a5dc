"""Between labels, what was answered, and all that learns of both. What is told waits in the database, for days."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from services.common.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from services.monitor.adapters.prediction_store import PredictionStore
from services.monitor.domain.blocks import NS
from services.monitor.domain.quality.labels import Judgement, Label, LabelOutcome, UnfitLabelError, judged
from services.monitor.domain.quality.predictions import Prediction, Predictions, State, rows_of
from services.monitor.domain.quality.waiting import WaitingLabels

_log = logging.getLogger(__name__)

WAIT_NS = 600 * NS
"""How long a label waits for its prediction, which may come seconds later."""
MAX_CALLS = 8
_MAX_UNWRITTEN = 100_000
_MOST_AT_ONCE = 4_000
_WRITE_PERIOD_S, _EXPIRE_PERIOD_S = 0.5, 10.0
_RETRY_S = 1.0


class Verdict(NamedTuple):
    """What became of one label, and why, where it was refused."""

    outcome: LabelOutcome
    reason: str = ""


class Terms(Protocol):
    """What is known of deployments."""

    def tells_predictions(self, model: str) -> bool | None:
        """Whether answers are kept for labels; None where that isn't known."""

    def retention_ns(self, model: str) -> int: ...

    def class_names(self, model: str, version: str) -> Sequence[str]: ...


Learn = Callable[[Prediction, Label, Judgement], None]


class _Joint(NamedTuple):
    label: Label
    met: list[tuple[Prediction, Judgement]]


class FeedbackKeeper:
    """Belongs to one event loop; ``clock`` gives Unix ns. ``learn`` gets each label with each answer that it met."""

    def __init__(
        self,
        store: PredictionStore,
        *,
        terms: Terms,
        learn: Learn,
        max_predictions: int,
        clock: Callable[[], int],
    ) -> None:
        self.labels: Counter[str] = Counter({outcome.label: 0 for outcome in LabelOutcome} | {"expired": 0})
        """Labels by what became of them; "expired" are those that waited in vain."""
        self.predictions: Counter[str] = Counter(kept=0, ambiguous=0, dropped=0, expired=0, evicted=0)
        """Answers by what became of them; "dropped" were never written, the last two went without a label."""
        self.kept = 0
        """Answers in the database, as of the last count."""
        self._store = store
        self._terms = terms
        self._learn = learn
        self._max_predictions = max_predictions
        self._clock = clock
        self._unwritten: deque[Predictions] = deque()
        self._unwritten_rows = 0
        self._waiting = WaitingLabels()
        self._joining = asyncio.Lock()
        self._calls = 0

    @property
    def waiting(self) -> int:
        """Labels that wait for predictions."""
        return len(self._waiting)

    async def adopt(self) -> None:
        """Go on with what the last run left.

        Raises:
            UnavailableError: the database can't be used.
        """
        for label in await asyncio.to_thread(self._store.waiting):
            self._waiting.add(label)
        self.kept = await asyncio.to_thread(self._store.count)

    def take(self, told: Predictions) -> None:
        """Take answers in, to be written soon; what is too much is dropped and counted."""
        rows = len(told.keys)
        if self._unwritten_rows + rows > _MAX_UNWRITTEN:
            self.predictions["dropped"] += rows
            return
        self._unwritten.append(told)
        self._unwritten_rows += rows

    async def record(self, labels: Sequence[Label]) -> list[Verdict]:
        """Join labels to what was answered; all are noted, or none is, and that even if the caller goes away meanwhile.

        Raises:
            ResourceExhaustedError: too many calls are under way.
            UnavailableError: the database can't be used now; nothing was noted.
        """
        if self._calls >= MAX_CALLS:
            raise ResourceExhaustedError(
                f"{self._calls} calls with labels are under way, expected fewer", retry_after_s=1
            )
        self._calls += 1
        return await asyncio.shield(asyncio.create_task(self._record(labels)))

    async def _record(self, labels: Sequence[Label]) -> list[Verdict]:
        try:
            async with self._joining:
                verdicts = await self._note(labels)
        finally:
            self._calls -= 1
        self.labels.update(one.outcome.label for one in verdicts)
        return verdicts

    async def _note(self, labels: Sequence[Label]) -> list[Verdict]:
        found = await self._find(labels)
        seen: set[tuple[str, int]] = set()
        verdicts, joints, early = [], list[_Joint](), list[Label]()
        for label in labels:
            key = label.model, label.key
            if key in seen or key in self._waiting:
                verdicts.append(Verdict(LabelOutcome.DUPLICATE))
                continue
            verdict, joint = self._judge(label, found.get(key, []), beside=len(early))
            verdicts.append(verdict)
            if verdict.outcome in (LabelOutcome.JOINED, LabelOutcome.PENDING):
                seen.add(key)
            if joint is not None:
                joints.append(joint)
            elif verdict.outcome is LabelOutcome.PENDING:
                early.append(label)
        until_ns = self._clock() + WAIT_NS
        met = [prediction for joint in joints for prediction, _ in joint.met]
        if met or early:
            await asyncio.to_thread(self._store.join, met, waiting=[(one, until_ns) for one in early], met=[])
        for label in early:
            self._waiting.add(label)
        await self._tell(joints)
        return verdicts

    async def _find(self, labels: Sequence[Label]) -> dict[tuple[str, int], list[Prediction]]:
        by_model: dict[str, set[int]] = {}
        for label in labels:
            by_model.setdefault(label.model, set()).add(label.key)
        found: dict[tuple[str, int], list[Prediction]] = {}
        for model, keys in by_model.items():
            for one in await asyncio.to_thread(self._store.find, model, keys):
                found.setdefault((model, one.key), []).append(one)
        return found

    def _judge(self, label: Label, found: Sequence[Prediction], *, beside: int) -> tuple[Verdict, _Joint | None]:
        if not found:
            return self._without_prediction(label, beside=beside), None
        if any(one.state is State.LABELLED for one in found):
            return Verdict(LabelOutcome.DUPLICATE), None
        open_ones = [one for one in found if one.state is State.OPEN]
        if not open_ones:
            why = "two requests of this id were answered differently, so that nobody knows whose label it is"
            return Verdict(LabelOutcome.REFUSED, why), None
        try:
            names = self._terms.class_names
            met = [(one, judged(one, label, names(one.model, one.version))) for one in open_ones]
        except UnfitLabelError as error:
            return Verdict(LabelOutcome.REFUSED, str(error)), None
        return Verdict(LabelOutcome.JOINED), _Joint(label, met)

    def _without_prediction(self, label: Label, *, beside: int) -> Verdict:
        if self._terms.tells_predictions(label.model) is False:
            why = f"model {label.model} keeps no answers for labels: deploy it with --feedback"
            return Verdict(LabelOutcome.REFUSED, why)
        is_late = label.time_ns < self._clock() - WAIT_NS
        if is_late or not self._waiting.has_room(label.model, beside=beside):
            return Verdict(LabelOutcome.UNKNOWN)
        return Verdict(LabelOutcome.PENDING)

    async def _tell(self, joints: Sequence[_Joint]) -> None:
        for number, joint in enumerate(joints):
            for prediction, judgement in joint.met:
                self._learn(prediction, joint.label, judgement)
            if number % 100 == 99:
                await asyncio.sleep(0)  # Spans come in meanwhile.

    async def work(self) -> None:
        """Write what is told, and delete what has waited for long enough, for ever."""
        expired_s = 0.0
        while True:
            try:
                await self.write()
                if time.monotonic() - expired_s >= _EXPIRE_PERIOD_S:
                    await self.expire()
                    expired_s = time.monotonic()
            except UnavailableError as error:
                _log.error("answers can't be kept for labels now, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_WRITE_PERIOD_S)

    async def write(self) -> None:
        """Write what was told so far, and join the labels that waited for it.

        Raises:
            UnavailableError: the database can't be used now; what isn't written is kept.
        """
        while self._unwritten:
            spans, rows = list[Predictions](), 0
            while self._unwritten and rows < _MOST_AT_ONCE:
                spans.append(self._unwritten.popleft())
                rows += len(spans[-1].keys)
            try:
                async with self._joining:
                    await self._write([one for told in spans for one in rows_of(told)])
            except InvalidArgumentError as error:
                _log.error("%d answers can't be kept for labels, ever: %s", rows, error)
                self.predictions["dropped"] += rows
            except BaseException:
                self._unwritten.extendleft(reversed(spans))
                raise
            self._unwritten_rows -= rows

    async def finish(self) -> None:
        """Write what was told, if that is possible."""
        try:
            await self.write()
        except UnavailableError as error:
            _log.error("%d answers were not written for labels: %s", self._unwritten_rows, error)

    async def _write(self, predictions: list[Prediction]) -> None:
        new, ambiguous = await asyncio.to_thread(self._store.add, predictions)
        self.predictions.update(kept=new, ambiguous=ambiguous)
        self.kept += new
        if awaited := self._waiting.awaiting((one.model, one.key) for one in predictions):
            await self._join_awaited(awaited)

    async def _join_awaited(self, labels: Sequence[Label]) -> None:
        found = await self._find(labels)
        joints, ended = list[_Joint](), list[tuple[Label, Verdict]]()
        for label in labels:
            verdict, joint = self._judge(label, found.get((label.model, label.key), []), beside=0)
            if joint is not None:
                joints.append(joint)
            ended.append((label, verdict))
        met = [prediction for joint in joints for prediction, _ in joint.met]
        await asyncio.to_thread(self._store.join, met, waiting=[], met=[label for label, _ in ended])
        for label, verdict in ended:
            self._waiting.remove(label)
            self.labels[verdict.outcome.label] += 1
        await self._tell(joints)

    async def expire(self) -> None:
        """Delete what has waited for long enough, and the oldest of what is too much.

        Raises:
            UnavailableError: the database can't be used now.
        """
        now_ns = self._clock()
        async with self._joining:
            expired, evicted, gone = await asyncio.to_thread(
                self._store.expire,
                now_ns=now_ns,
                retention_ns=self._terms.retention_ns,
                most=self._max_predictions,
            )
            if gone:
                left = await asyncio.to_thread(self._store.waiting)
                self._waiting.keep_only((one.model, one.key) for one in left)
            self.kept = await asyncio.to_thread(self._store.count)
        self.predictions.update(expired=expired, evicted=evicted)
        self.labels["expired"] += gone
        if evicted:
            _log.warning(
                "%d answers gave way to newer ones before they had a label: there is no room for more", evicted
            )
