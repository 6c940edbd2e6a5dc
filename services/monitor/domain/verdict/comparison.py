"""One comparison of a candidate with a baseline: takes their seconds in, in order, and says what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.monitor.domain.blocks import NS
from services.monitor.domain.detectors import LATENESS_S, SETTLING_SLOTS
from services.monitor.domain.verdict.decision import Decision, Progress, Ruling, decide
from services.monitor.domain.verdict.guardrails import Evidence, Guardrail, Kind, Standing
from services.monitor.domain.verdict.latency import LatencyMeasure
from services.monitor.domain.verdict.mix import MixMeasure
from services.monitor.domain.verdict.question import Question
from services.monitor.domain.verdict.rates import DisagreementMeasure, ShareMeasure, Stakes
from services.monitor.domain.verdict.sample import Pairs, Sample
from services.monitor.domain.verdict.split import Split
from services.monitor.domain.verdict.words import summary_of

LONELY_S = 60
"""Seconds are compared one by one; where one version has no requests they are joined with the next ones, and after so
many given up."""
MAX_PENDING_S = 120
CLOCK_STEP_S = 5
"""A clock that shows so much less than before was set back."""


class Measure(Protocol):
    """Evidence on one guardrail."""

    def observe(self, candidate: Sample, baseline: Sample, pairs: Pairs, /) -> None: ...

    def standing(self) -> Standing: ...

    def evidence(self) -> Evidence:
        """Costs more than the standing."""
        ...

    def dump(self) -> dict[str, Any]: ...

    def load(self, data: Mapping[str, Any], /) -> None: ...


@dataclass(slots=True)
class _Slot:
    """A second, or several: what both versions did."""

    candidate: Sample = field(default_factory=Sample)
    baseline: Sample = field(default_factory=Sample)
    pairs: Pairs = field(default_factory=Pairs)

    def add(self, other: _Slot) -> None:
        self.candidate.add(other.candidate)
        self.baseline.add(other.baseline)
        self.pairs += other.pairs


def measure_of(guardrail: Guardrail, stakes: Stakes) -> Measure:
    """What gathers a guardrail's evidence."""
    if guardrail.kind is Kind.LATENCY:
        return LatencyMeasure(guardrail, stakes)
    if guardrail.kind is Kind.CLASS_MIX:
        return MixMeasure(guardrail, stakes)
    if guardrail.kind is Kind.DISAGREEMENT:
        return DisagreementMeasure(guardrail, stakes)
    return ShareMeasure(guardrail, stakes)


class Comparison:
    """Bounded: figures of one size for each guardrail, and the seconds that are still open."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.progress = Progress()
        self.split = Split(question.share)
        self.ruling = Ruling(Decision.CONTINUE, "nothing has been seen yet")
        stakes = question.stakes()
        self._split_needed = math.log(1 / question.alpha)
        self._measures = [measure_of(guardrail, stakes) for guardrail in question.guardrails]
        self._pending: dict[int, _Slot] = {}
        self._open = _Slot()
        self._open_since = 0
        self._first_second = question.start_ns // NS
        self._judged_second = self._first_second - 1
        self._now_s = 0.0
        self.standings: tuple[Standing, ...] = ()
        """By guardrail, as of the last ruling."""

    @property
    def is_over(self) -> bool:
        """True when nothing more is learnt."""
        return self.ruling.is_final

    def add(self, version: str, second: int, sample: Sample) -> None:
        """Take a version's second in; one that comes after it was judged is only counted."""
        slot = self._slot(second)
        if slot is not None:
            (slot.candidate if version == self.question.candidate else slot.baseline).add(sample)

    def add_pairs(self, second: int, pairs: Pairs) -> None:
        """Take a second's pairs of answers in."""
        slot = self._slot(second)
        if slot is not None:
            slot.pairs += pairs

    def _slot(self, second: int) -> _Slot | None:
        if self.is_over or second < self._first_second:
            return None
        if second <= self._judged_second or (second not in self._pending and len(self._pending) >= MAX_PENDING_S):
            self.progress.late_samples += 1
            return None
        return self._pending.setdefault(second, _Slot())

    def advance(self, now_s: float) -> bool:
        """Judge every second that is over; True if the ruling changed."""
        if self.is_over:
            return False
        is_set_back = now_s < self._now_s - CLOCK_STEP_S
        for second in sorted(self._pending):
            if is_set_back or second + 1 + LATENESS_S <= now_s:
                self._judge(second, self._pending.pop(second))
        if is_set_back:  # What follows is new, although its time has been before.
            self._judged_second = self._first_second = 0
        self._now_s = now_s
        self.standings = tuple(measure.standing() for measure in self._measures)
        before = self.ruling
        self.ruling = decide(
            self.question,
            self.progress,
            self.split,
            self.standings,
            before,
            now_s=now_s,
            summary=lambda index: summary_of(self._measures[index].evidence()),
        )
        return self.ruling != before

    def _judge(self, second: int, slot: _Slot) -> None:
        self._judged_second = second
        progress = self.progress
        for arm, sample in ((progress.candidate, slot.candidate), (progress.baseline, slot.baseline)):
            arm.requests += sample.requests
            arm.last_second = second if sample.requests else arm.last_second
            sample.close()
        if not (progress.candidate.requests and progress.baseline.requests):
            return
        progress.seconds += 1
        if progress.seconds <= SETTLING_SLOTS:  # Caches are cold, and requests under way are of one version only.
            slot.candidate.durations.clear()
            slot.baseline.durations.clear()
        else:
            counts = (
                (slot.candidate.drawn, slot.baseline.drawn)
                if self.question.is_drawn
                else (slot.candidate.requests, slot.baseline.requests)
            )
            self.split.observe(*counts, needed=self._split_needed)
        self._pool(second, slot)

    def _pool(self, second: int, slot: _Slot) -> None:
        self._open_since = self._open_since or second
        self._open.add(slot)
        age_s = abs(second - self._open_since) + 1
        if self._open.candidate.requests and self._open.baseline.requests:
            for measure in self._measures:
                measure.observe(self._open.candidate, self._open.baseline, self._open.pairs)
            self.progress.observations += 1
        elif age_s < LONELY_S:
            return
        else:
            self.progress.lonely_seconds += age_s
        self._open, self._open_since = _Slot(), 0

    def evidence(self) -> tuple[Evidence, ...]:
        """By guardrail, in the order of the question."""
        return tuple(measure.evidence() for measure in self._measures)

    def stop(self, why: str) -> None:
        """End it; a ruling that isn't a promotion or a rollback becomes a hold."""
        kept = self.ruling.decision in (Decision.PROMOTE, Decision.ROLL_BACK)
        decision = self.ruling.decision if kept else Decision.HOLD
        self.ruling = Ruling(decision, self.ruling.reason if kept else why, is_final=True)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values; seconds that are still open are left out."""
        return {
            "progress": self.progress.dump(),
            "split": [self.split.candidate, self.split.total, self.split.is_broken],
            "ruling": self.ruling.dump(),
            "judged_second": self._judged_second,
            "now_s": self._now_s,
            "measures": [measure.dump() for measure in self._measures],
        }

    @classmethod
    def load(cls, question: Question, data: Mapping[str, Any], *, now_s: float) -> Comparison:
        """The reverse of :meth:`dump`: what came since it was made is lost, and counted as unseen."""
        comparison = cls(question)
        comparison.progress = Progress.load(data["progress"])
        comparison.split.candidate, comparison.split.total, comparison.split.is_broken = data["split"]
        comparison.ruling = Ruling.load(data["ruling"])
        comparison._judged_second, comparison._now_s = data["judged_second"], data["now_s"]
        for measure, state in zip(comparison._measures, data["measures"], strict=True):
            measure.load(state)
        if not comparison.is_over:
            comparison.progress.restarts += 1
            comparison.progress.unseen_seconds += max(0, int(now_s) - max(comparison._judged_second, 0) - 1)
            comparison._judged_second = max(comparison._judged_second, int(now_s) - 1)
        return comparison
