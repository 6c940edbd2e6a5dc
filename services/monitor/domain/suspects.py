"""Which replica is behind what a version shows as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.answers import Answers
from services.monitor.domain.blocks import Block
from services.monitor.domain.content import ContentDetectors
from services.monitor.domain.findings import Alarm
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.per_replica import PerReplica
from services.monitor.domain.phases import COMPUTE_PHASES, Signal
from services.monitor.domain.watches import ClassWatch, InputWatch, ScalarWatch

_KEPT, _KEPT_OF_ONE = 2_048, 64
"""Blocks: of all replicas together, and of one of them."""
_SLOWER = 1.25
_FAR, _NEAR = 5.0, 3.0
"""Standard deviations of chance beyond which a replica is off, and within which it isn't."""
_LEAST_REQUESTS = 20


class _Seen(NamedTuple):
    second: int
    failed: int
    counted: int
    durations: NDArray[np.int32]
    answers: Answers


@dataclass(slots=True)
class Suspects:
    """What each replica did of late. Bounded: the last blocks of each."""

    _seen: PerReplica[_Seen] = field(default_factory=PerReplica)

    def add(self, block: Block) -> None:
        if block.instance:
            failed, ok = int(block.outcomes[Outcome.SERVER_ERROR]), int(block.outcomes[Outcome.OK])
            durations = block.counts[COMPUTE_PHASES[0] : COMPUTE_PHASES[-1] + 1].astype(np.int32)
            seen = _Seen(block.second, failed, failed + ok, durations, block.answers)
            # A lone replica is the version: it is enough to know that it is there.
            replicas = len(self._seen)
            most = 1 if replicas < 2 else min(_KEPT_OF_ONE, _KEPT // replicas)
            self._seen.add(block.instance, seen, most=most)

    def guilty(self, alarm: Alarm, content: ContentDetectors) -> str:
        """The one replica that shows what an alarm is about, where the others don't; "" where there is none."""
        seen = self._seen.by_replica(since=alarm.change_second)
        if len(seen) < 2:
            return ""
        if alarm.signal is Signal.ERROR_RATE:
            return _only(_error_scores(seen))
        if alarm.signal is Signal.LATENCY and alarm.phase in COMPUTE_PHASES:
            return _slower(seen, COMPUTE_PHASES.index(alarm.phase))
        watch = content.watches.get(alarm.signal)
        if watch is None or isinstance(watch, InputWatch):
            return ""
        return _only({name: _answer_score(watch, parts, since=alarm.change_second) for name, parts in seen.items()})


def _only(scores: dict[str, float]) -> str:
    far = [instance for instance, score in scores.items() if score > _FAR]
    near = [instance for instance, score in scores.items() if score < _NEAR]
    return far[0] if len(far) == 1 and len(near) == len(scores) - 1 else ""


def _error_scores(seen: dict[str, list[_Seen]]) -> dict[str, float]:
    """How far each replica's share of errors is above that of the others."""
    failed = {instance: sum(one.failed for one in parts) for instance, parts in seen.items()}
    counted = {instance: sum(one.counted for one in parts) for instance, parts in seen.items()}
    scores = {}
    for instance in seen:
        if counted[instance] < _LEAST_REQUESTS:
            continue
        others = max(1, sum(counted.values()) - counted[instance])
        rest = (sum(failed.values()) - failed[instance] + 0.5) / (others + 1)
        share = failed[instance] / counted[instance]
        scores[instance] = float((share - rest) / np.sqrt(rest * (1 - min(rest, 0.999)) / counted[instance]))
    return scores


def _answer_score(watch: ScalarWatch | ClassWatch, parts: list[_Seen], *, since: int) -> float:
    """How far a replica's answers are off where the version's are most, in standard deviations of chance."""
    total = Answers()
    for part in parts:
        total.add(part.answers)
    trials, shares = watch.bits(total)
    if not trials:
        return 0.0
    reference = watch.stream.reference
    _, moved = watch.stream.since(since)
    usual = np.sqrt(np.maximum(reference.rates * (1 - reference.rates), 1e-4))
    bit = int(np.argmax((moved - reference.rates) / usual))
    rate = min(max(float(reference.rates[bit]), 1e-3), 1 - 1e-3)
    return float((shares[bit] - rate) / math.sqrt(rate * (1 - rate) * float(reference.spread[bit]) / trials))


def _slower(seen: dict[str, list[_Seen]], phase: int) -> str:
    """The one replica whose median is higher than any other's by a quarter, and the others' are alike."""
    medians = {
        instance: sketch.quantile(np.sum([one.durations[phase] for one in parts], axis=0), 0.5)
        for instance, parts in seen.items()
    }
    ranked = sorted(medians, key=lambda instance: -medians[instance])
    slowest, next_, fastest = medians[ranked[0]], medians[ranked[1]], medians[ranked[-1]]
    return ranked[0] if slowest > _SLOWER * next_ and next_ <= _SLOWER * max(1.0, fastest) else ""
