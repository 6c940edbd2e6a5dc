"""Whether a version answers as it used to, and whether it is asked what it used to be asked.

Answers and inputs are watched apart, so that an alarm can say whose fault it is: where inputs have moved, answers
follow them; where only answers have, it is the version's. ``label_shift.py`` tells what another mix of classes means.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import answers as scales
from services.monitor.domain.answers import CLASSES, COARSE, SCALARS, Answers, Numbers
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import Budget, levels_around
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.label_shift import SAME_CONFIDENCE, SURE, AskedFor, ClassInputs, confidence_shift, joined
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.watches import (
    AnswerLearner,
    ClassWatch,
    InputLearner,
    InputWatch,
    ScalarWatch,
    Watch,
)

MOVED = math.log(100)
"""Evidence from which on inputs are said to have moved along with answers."""
STAYED, WAIT_SLOTS = 1.0, 2
"""Seconds that an alarm on answers waits for what inputs say, unless their evidence is still below the first."""
WAIT_FOR_LABELS_SLOTS = 15
"""The same where classes have moved and nothing else, until inputs say whether they were asked for."""
ADOPT_S = 600
"""Inputs that have stayed changed for so long are learnt anew: they are what is asked now."""
_RECENT = 30
_MAX = 3.4e38


@dataclass(slots=True)
class ContentDetectors:
    """Streams of one version's answers and inputs. Bounded: what is kept while learning, and a minute's histograms."""

    budget: Budget
    watches: dict[Signal, Watch] = field(default_factory=dict)
    has_sketches: bool = False
    kind: str = "feature"
    """What a column of a sketch is."""
    _learner: AnswerLearner = field(default_factory=AnswerLearner)
    _inputs: InputLearner = field(default_factory=InputLearner)
    _by_class: Numbers | None = None
    """Confidence by class, as learnt."""
    _class_inputs: ClassInputs | None = None
    _recent: deque[tuple[int, Answers]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _asked: deque[tuple[int, AskedFor]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _waiting: dict[Signal, int] = field(default_factory=dict)
    """Seconds at which alarms were raised that aren't told yet."""
    _moved_second: int = 0
    """When inputs were said to have changed; 0 while they haven't."""
    scalars: dict[Signal, Numbers] = field(default_factory=dict)
    """Histograms as learnt."""
    is_uniform: bool = False
    """Requests were all alike so far, so that nothing was learnt."""

    def judge(self, block: Block, *, may_learn: bool) -> Iterator[Alarm | Recovery]:
        """Judge a second, which needs what it was learnt for to be over."""
        rows, classes = _asked(block)
        self.has_sketches |= len(rows) > 0
        self.kind = block.inputs_kind.removesuffix("s") or self.kind
        answers = block.answers
        if self.watches:
            self._recent.append((block.second, answers))
            if isinstance(asked := self.watches.get(Signal.INPUTS), InputWatch):
                self._asked.append((block.second, AskedFor.of(rows, asked.edges)))
            yield from self._observe(block.second, answers, rows)
        elif may_learn:
            self._learn(block, rows, classes)

    def _learn(self, block: Block, rows: NDArray[np.float32], classes: NDArray[np.int32]) -> None:
        answered = max((int(counts.sum()) for counts in block.answers.scalars.values()), default=0)
        if answered:
            self._learner.learn(block.answers, answered)
        if len(rows):
            self._inputs.learn(rows, classes)
        is_answering, is_asked = self._learner.seconds > 0, self.has_sketches
        if not (self._learner.is_done or (not is_answering and is_asked)) or (is_asked and not self._inputs.is_done):
            return
        self.is_uniform = is_asked and not self._inputs.is_diverse
        if self.is_uniform:
            self._learner, self._inputs = AnswerLearner(), InputLearner()
            return
        self._know()

    def _know(self) -> None:
        threshold, slots = self.budget.threshold, self._learner.slots
        total = Answers()
        for slot in slots:
            total.add(slot)
        for signal in SCALARS:
            if signal in total.scalars:
                self.watches[signal] = ScalarWatch.learnt(signal, slots, threshold=threshold)
        self.scalars = total.scalars
        if total.classes is not None:
            self.watches[Signal.CLASS_MIX] = ClassWatch.learnt(slots, threshold=threshold)
            self._by_class = total.class_confidence
        if self._inputs.slots:
            watch = self.watches[Signal.INPUTS] = InputWatch.learnt(self._inputs.slots, threshold=threshold)
            rows, classes = np.concatenate(self._inputs.slots), np.concatenate(self._inputs.classes)
            self._class_inputs = ClassInputs.learnt(rows, classes, watch.edges)
            self._asked.clear()
        self._learner, self._inputs = AnswerLearner(), InputLearner()

    def _observe(self, second: int, answers: Answers, rows: NDArray[np.float32]) -> Iterator[Alarm | Recovery]:
        # Inputs first: what they say decides on what answers mean.
        for signal in sorted(self.watches, key=lambda one: one is not Signal.INPUTS):
            watch = self.watches[signal]
            trials, shares = watch.bits(rows) if isinstance(watch, InputWatch) else watch.bits(answers)
            watch.stream.threshold = self.budget.threshold
            if not trials or not watch.stream.observe(second, trials, shares):
                continue
            if watch.stream.is_alarmed:
                self._waiting[signal] = second
            elif self._waiting.pop(signal, None) is None:
                yield Recovery(signal, None)
        for signal, raised in list(self._waiting.items()):
            cause = self._cause(signal, waited=second - raised)
            if cause is not None:
                del self._waiting[signal]
                if cause is Cause.INPUTS:
                    self._moved_second = self._moved_second or second
                yield self._alarm(signal, cause)
                self.watches[signal].stream.restart()
        alarmed = [signal for signal, watch in self.watches.items() if watch.stream.is_alarmed]
        if not alarmed:
            self._moved_second = 0
        elif self._moved_second and second - self._moved_second >= ADOPT_S:
            self._moved_second, self.watches, self._waiting = 0, {}, {}
            yield from (Recovery(signal, None, is_lost=True) for signal in alarmed)

    def _cause(self, signal: Signal, *, waited: int) -> Cause | None:
        """Whose fault it is; None where that isn't known yet."""
        if signal is Signal.INPUTS or self._inputs_moved():
            return Cause.INPUTS
        is_label_shift = self._is_label_shift()
        if Signal.INPUTS not in self.watches:
            return Cause.INPUTS if is_label_shift else Cause.VERSION
        if not is_label_shift:
            is_sure = self.watches[Signal.INPUTS].stream.log_evalue < STAYED
            return Cause.VERSION if is_sure or waited >= WAIT_SLOTS else None
        evidence = self._asked_for()
        if abs(evidence) < SURE and waited < WAIT_FOR_LABELS_SLOTS:
            return None
        return Cause.INPUTS if evidence > 0 else Cause.VERSION

    def _inputs_moved(self) -> bool:
        watch = self.watches.get(Signal.INPUTS)
        return watch is not None and (watch.stream.is_alarmed or watch.stream.log_evalue >= MOVED)

    def _is_label_shift(self) -> bool:
        """Whether classes moved, and confidence given the class is as before."""
        watch = self.watches.get(Signal.CLASS_MIX)
        if watch is None or self._by_class is None or not (watch.stream.is_suspicious):
            return False
        change = watch.stream.change_second
        found = [one.class_confidence for at, one in self._recent if at >= change and one.class_confidence is not None]
        if not found:
            return False
        return confidence_shift(self._by_class, np.sum(found, axis=0)) < SAME_CONFIDENCE

    def _asked_for(self) -> float:
        """Evidence from inputs that the classes that came were asked for, nats."""
        change = self.watches[Signal.CLASS_MIX].stream.change_second
        classes = [one.classes for at, one in self._recent if at >= change and one.classes is not None]
        asked = [one for at, one in self._asked if at >= change]
        if self._class_inputs is None or not classes or not asked:
            return 0.0
        counts = np.sum(classes, axis=0)
        spread = float(np.median(self.watches[Signal.INPUTS].stream.reference.spread))
        return self._class_inputs.evidence(counts / counts.sum(), joined(asked)) / spread

    def _alarm(self, signal: Signal, cause: Cause) -> Alarm:
        watch = self.watches[signal]
        stream = watch.stream
        change, bit = stream.change_second, stream.strongest
        before, after, interval = float(stream.reference.rates[bit]), float(stream.since(change)[1][bit]), None
        if isinstance(watch, ScalarWatch):
            before, after, interval = self._medians(signal, change, spread=float(np.median(stream.reference.spread)))
            note = ""
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

    def _medians(self, signal: Signal, change: int, *, spread: float) -> tuple[float, float, tuple[float, float]]:
        """What was learnt, what is since a second, and its interval."""
        now = [one.scalars[signal] for second, one in self._recent if second >= change and signal in one.scalars]
        known = self.scalars.get(signal, np.zeros(0))
        total = np.sum(now, axis=0)
        low, high = (scales.quantile(signal, total, level) for level in levels_around(float(total.sum()) / spread))
        return scales.quantile(signal, known, 0.5), scales.quantile(signal, total, 0.5), (low, high)

    def moves(self, signal: Signal, answers: Answers, *, change: int) -> float:
        """How far some of the answers are off where the version's are most, in standard deviations of chance."""
        watch = self.watches.get(signal)
        if watch is None or isinstance(watch, InputWatch):
            return 0.0
        trials, shares = watch.bits(answers)
        if not trials:
            return 0.0
        reference = watch.stream.reference
        _, moved = watch.stream.since(change)
        bit = int(
            np.argmax((moved - reference.rates) / np.sqrt(np.maximum(reference.rates * (1 - reference.rates), 1e-4)))
        )
        rate = min(max(float(reference.rates[bit]), 1e-3), 1 - 1e-3)
        return float((shares[bit] - rate) / math.sqrt(rate * (1 - rate) * float(reference.spread[bit]) / trials))

    def learning(self) -> dict[Signal, tuple[int, int]]:
        """Seconds and requests learnt from so far, of what there is to learn; nothing once that is done."""
        if self.watches:
            return {}
        answers, slots = (self._learner.seconds, self._learner.trials), self._learner.slots
        signals = [signal for signal in SCALARS if any(signal in slot.scalars for slot in slots)]
        if any(slot.classes is not None for slot in slots):
            signals.append(Signal.CLASS_MIX)
        asked = {Signal.INPUTS: (self._inputs.seconds, self._inputs.trials)} if self.has_sketches else {}
        return dict.fromkeys(signals, answers) | asked

    def since(self, signal: Signal, second: int) -> Numbers | None:
        """Histogram of a scalar from a second on, as far back as answers are kept; None where none came."""
        found = [one.scalars[signal] for at, one in self._recent if at >= second and signal in one.scalars]
        return np.sum(found, axis=0) if found else None

    def streams(self) -> Iterator[tuple[Signal, float]]:
        for signal, watch in list(self.watches.items()):
            yield signal, watch.stream.log_evalue

    def adopt_alarm(self, signal: Signal) -> None:
        if signal in self.watches:
            self.watches[signal].stream.adopt_alarm()

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values; nothing while it is being learnt."""
        by_class = None if self._by_class is None else self._by_class.tolist()
        return {
            "watches": {signal: watch.dump() for signal, watch in self.watches.items()},
            "by_class": by_class,
            "class_inputs": None if self._class_inputs is None else self._class_inputs.dump(),
            "scalars": {signal: counts.tolist() for signal, counts in self.scalars.items()},
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`."""
        threshold = self.budget.threshold
        for name, one in data.get("watches", {}).items():
            signal = Signal(name)
            if signal is Signal.CLASS_MIX:
                self.watches[signal] = ClassWatch.load(one, threshold=threshold)
            elif signal is Signal.INPUTS:
                self.watches[signal] = InputWatch.load(one, threshold=threshold)
            else:
                self.watches[signal] = ScalarWatch.load(signal, one, threshold=threshold)
        if (by_class := data.get("by_class")) is not None:
            self._by_class = np.array(by_class, np.int64).reshape(CLASSES, COARSE)
        if (class_inputs := data.get("class_inputs")) is not None:
            self._class_inputs = ClassInputs.load(class_inputs)
        self.scalars = {Signal(name): np.array(row, np.int64) for name, row in data.get("scalars", {}).items()}


def _asked(block: Block) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The sketches of a second, of the width that its first has, and the classes that these requests were answered."""
    if not block.sketches:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int32)
    width = block.sketches[0].shape[1]
    fit = [at for at, one in enumerate(block.sketches) if one.shape[1] == width]
    rows = np.concatenate([block.sketches[at] for at in fit])
    classes = np.concatenate([block.sketched_classes[at] for at in fit])
    return np.nan_to_num(rows, nan=_MAX, posinf=_MAX, neginf=-_MAX), classes
