"""Whether a version answers as it used to, and whether it is asked what it used to be asked.

Answers and inputs are watched apart, so that an alarm can say whose fault it is (``blame.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import answers as scales
from services.monitor.domain import blame
from services.monitor.domain.answers import Answers, Numbers
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Budget, levels_around
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.known import Known
from services.monitor.domain.label_shift import AskedFor
from services.monitor.domain.learners import ContentLearner
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.watches import ClassWatch, InputWatch, ScalarWatch, Watch

ADOPT_S = 600
"""Inputs that have stayed changed for so long are learnt anew: they are what is asked now."""
_RECENT = 30
_MAX = 3.4e38


class Told(NamedTuple):
    """An alarm that was told and isn't over: whose fault it was said to be, and at which second."""

    cause: Cause
    second: int


@dataclass(slots=True)
class ContentDetectors:
    """Streams of one version's answers and inputs. Bounded: what is learnt from, and half a minute's figures."""

    budget: Budget
    kind: str = "feature"
    """What a column of a sketch is."""
    _learner: ContentLearner = field(default_factory=ContentLearner)
    _known: Known = field(default_factory=Known)
    _recent: deque[tuple[int, Answers]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _places: deque[tuple[int, AskedFor]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """What was asked, while inputs are watched."""
    _waiting: dict[Signal, int] = field(default_factory=dict)
    """Seconds at which alarms were raised that aren't told yet."""
    _told: dict[Signal, Told] = field(default_factory=dict)

    @property
    def watches(self) -> Mapping[Signal, Watch]:
        """Nothing while it is being learnt what is normal."""
        return self._known.watches

    @property
    def scalars(self) -> Mapping[Signal, Numbers]:
        """Histograms as learnt."""
        return self._known.scalars

    @property
    def is_uniform(self) -> bool:
        """Whether requests were all alike so far, so that nothing was learnt."""
        return self._learner.is_uniform

    def judge(self, block: Block, *, may_learn: bool) -> Iterator[Alarm | Recovery]:
        """Judge a second, which needs what it was learnt for to be over."""
        rows, classes = _sketches_of(block)
        self.kind = block.inputs_kind.removesuffix("s") or self.kind
        if self.watches:
            self._recent.append((block.second, block.answers))
            places = np.zeros((0, 0), np.int64)
            if isinstance(watch := self.watches.get(Signal.INPUTS), InputWatch):
                places = watch.places(rows)
                self._places.append((block.second, AskedFor(len(places), places.sum(axis=0))))
            yield from self._observe(block.second, block.answers, places)
            yield from self._tell(block.second)
            yield from self._adopt(block.second)
        elif may_learn and self._learner.learn(block.answers, rows, classes):
            self._known = Known.learnt(self._learner, threshold=self.budget.threshold)
            self._learner.restart()
            self._places.clear()

    def _observe(self, second: int, answers: Answers, places: NDArray[np.int64]) -> Iterator[Recovery]:
        for signal, watch in self.watches.items():
            trials, shares = watch.bits(places) if isinstance(watch, InputWatch) else watch.bits(answers)
            watch.stream.threshold = self.budget.threshold
            if not trials or not watch.stream.observe(second, trials, shares):
                continue
            if watch.stream.is_alarmed:
                self._waiting[signal] = second
            elif self._waiting.pop(signal, None) is None:
                self._told.pop(signal, None)
                if signal is Signal.INPUTS:  # answers that haven't come back with them have another reason
                    self._told = {one: told._replace(cause=Cause.VERSION) for one, told in self._told.items()}
                yield Recovery(signal, None)

    def _tell(self, second: int) -> Iterator[Alarm]:
        """Tell of alarms whose cause is known by now, of inputs' first."""
        for signal, raised in sorted(self._waiting.items(), key=lambda one: one[0] is not Signal.INPUTS):
            cause = blame.cause_of(signal, self._witness(), waited_s=second - raised)
            if cause is None:
                continue
            del self._waiting[signal]
            alarm = self._alarm(signal, cause, second)
            self._told[signal] = Told(cause, second)
            if signal is Signal.INPUTS:  # what has changed since they did follows from them
                for other, told in self._told.items():
                    if told.second >= alarm.change_second:
                        self._told[other] = told._replace(cause=Cause.INPUTS)
            yield alarm
            # Not before: who looks for a replica at fault needs the slots.
            self.watches[signal].stream.restart()

    def _adopt(self, second: int) -> Iterator[Recovery]:
        """Learn anew what is asked, if it has stayed changed, and all that is in alarm follows from it."""
        alarmed = [signal for signal, watch in self.watches.items() if watch.stream.is_alarmed]
        are_theirs = all(signal in self._told and self._told[signal].cause is Cause.INPUTS for signal in alarmed)
        since = [self._told[one].second for one in (Signal.INPUTS, Signal.CLASS_MIX) if one in self._told]
        if are_theirs and since and second - min(since) >= ADOPT_S:
            self._known, self._waiting, self._told = Known(), {}, {}
            yield from (Recovery(signal, None, is_lost=True) for signal in alarmed)

    def _witness(self) -> blame.Witness:
        inputs, classes = self.watches.get(Signal.INPUTS), self.watches.get(Signal.CLASS_MIX)
        moved = None if inputs is None else math.inf if inputs.stream.is_alarmed else inputs.stream.log_evalue
        if classes is None or not classes.stream.is_suspicious:
            return blame.Witness(moved, is_label_shift=False)
        change = classes.stream.change_second
        answers = [one for at, one in self._recent if at >= change]
        if not blame.is_confidence_as_before(self._known.by_class, answers):
            return blame.Witness(moved, is_label_shift=False)
        asked = [one for at, one in self._places if at >= change]
        spread = 1.0 if inputs is None else float(np.median(inputs.stream.reference.spread))
        asked_for = blame.asked_for(self._known.class_inputs, answers, asked, spread=spread)
        return blame.Witness(moved, is_label_shift=True, asked_for=asked_for)

    def _alarm(self, signal: Signal, cause: Cause, second: int) -> Alarm:
        watch = self.watches[signal]
        stream = watch.stream
        # Evidence may be older than a restart of the monitor, on whose clock it is in the future.
        change, bit = min(stream.change_second, second), stream.strongest
        before, after, note = float(stream.reference.rates[bit]), float(stream.since(change)[1][bit]), ""
        interval: tuple[float, float] | None = None
        if isinstance(watch, ScalarWatch):
            before, after, interval = self._medians(signal, change, spread=float(np.median(stream.reference.spread)))
        elif isinstance(watch, ClassWatch):
            number = watch.class_of(bit)
            before, after = float(stream.reference.rates[number]), float(stream.since(change)[1][number])
            interval = stream.interval(number, change)
            note = f"class {number}"
        else:
            feature = watch.moved(change)[0]
            before, after, note = 0.0, watch.distance(change, feature), f"{self.kind} {feature}"
        return Alarm(
            signal,
            None,
            log_evalue=stream.log_evalue,
            change_second=change,
            level=0,
            before=np.array([before]),
            after=np.array([after]),
            interval=interval,
            cause=cause,
            has_inputs=Signal.INPUTS in self.watches,
            severity=Severity.TICKET if cause is Cause.INPUTS else Severity.PAGE,
            note=note,
        )

    def _medians(
        self, signal: Signal, change: int, *, spread: float
    ) -> tuple[float, float, tuple[float, float] | None]:
        """What was learnt, what is since a second, and its interval; as learnt where nothing is kept of since then."""
        before, total = scales.quantile(signal, self.scalars.get(signal, np.zeros(0)), 0.5), self.since(signal, change)
        if total is None:
            return before, before, None
        low, high = (scales.quantile(signal, total, level) for level in levels_around(float(total.sum()) / spread))
        return before, scales.quantile(signal, total, 0.5), (low, high)

    def learning(self) -> dict[Signal, tuple[int, int]]:
        """Seconds and requests learnt from so far, of what there is to learn; nothing once that is done."""
        return {} if self.watches else self._learner.progress()

    def since(self, signal: Signal, second: int) -> Numbers | None:
        """Histogram of a scalar from a second on, as far back as answers are kept; None where none came."""
        found = [one.scalars[signal] for at, one in self._recent if at >= second and signal in one.scalars]
        return np.sum(found, axis=0) if found else None

    def streams(self) -> Iterator[tuple[Signal, float]]:
        for signal, watch in list(self.watches.items()):
            yield signal, watch.stream.log_evalue

    def adopt_alarm(self, signal: Signal, *, second: int) -> None:
        """Take over an alarm of before a restart, which was told."""
        if signal in self.watches:
            self.watches[signal].stream.adopt_alarm()
            self._waiting.pop(signal, None)
            self._told.setdefault(signal, Told(Cause.INPUTS if signal is Signal.INPUTS else Cause.VERSION, second))

    def clock_was_set_back(self, second: int) -> None:
        """Forget what is in the future now; alarms that weren't told yet are raised again."""
        for signal, watch in self.watches.items():
            watch.stream.restart()
            if self._waiting.pop(signal, None) is not None:
                watch.stream.is_alarmed = False
        self._recent.clear()
        self._places.clear()
        self._told = {signal: told._replace(second=min(told.second, second)) for signal, told in self._told.items()}

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values; nothing while it is being learnt."""
        return {
            **self._known.dump(),
            "waiting": dict(self._waiting),
            "told": {signal: list(told) for signal, told in self._told.items()},
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`.

        Raises:
            ValueError, KeyError, TypeError: the data are of another make.
        """
        self._known = Known.load(data, threshold=self.budget.threshold)
        self._waiting = {Signal(name): int(second) for name, second in data["waiting"].items()}
        self._told = {Signal(name): Told(Cause(cause), int(second)) for name, (cause, second) in data["told"].items()}


def _sketches_of(block: Block) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The sketches of a second, of the width that its first has, and the classes that these requests were answered."""
    if not block.sketches:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int32)
    width = block.sketches[0].shape[1]
    fit = [at for at, one in enumerate(block.sketches) if one.shape[1] == width]
    rows = np.concatenate([block.sketches[at] for at in fit])
    classes = np.concatenate([block.sketched_classes[at] for at in fit])
    return np.nan_to_num(rows, nan=_MAX, posinf=_MAX, neginf=-_MAX), classes
