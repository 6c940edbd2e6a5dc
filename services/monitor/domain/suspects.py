"""Which replica is behind what a version shows as a whole."""

from __future__ import annotations

from collections import deque
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
from services.monitor.domain.phases import COMPUTE_PHASES, Signal

_KEPT = 128
_SLOWER = 1.25
_FAR, _NEAR = 5.0, 3.0
"""Standard deviations of chance beyond which a replica is off, and within which it isn't."""
_LEAST_REQUESTS = 20


class _Seen(NamedTuple):
    second: int
    instance: str
    failed: int
    counted: int
    durations: NDArray[np.int32]
    answers: Answers


@dataclass(slots=True)
class Suspects:
    """What each replica did of late. Bounded: the last blocks of replicas."""

    _seen: deque[_Seen] = field(default_factory=lambda: deque(maxlen=_KEPT))

    _instances: set[str] = field(default_factory=set)

    def add(self, block: Block) -> None:
        if block.instance and len(self._instances) < _KEPT:
            self._instances.add(block.instance)
        if block.instance and len(self._instances) > 1:  # a lone replica is the version
            failed, ok = int(block.outcomes[Outcome.SERVER_ERROR]), int(block.outcomes[Outcome.OK])
            durations = block.counts[COMPUTE_PHASES[0] : COMPUTE_PHASES[-1] + 1].astype(np.int32)
            self._seen.append(_Seen(block.second, block.instance, failed, failed + ok, durations, block.answers))

    def guilty(self, alarm: Alarm, content: ContentDetectors) -> str:
        """The one replica that shows what an alarm is about, where the others don't; "" where there is none."""
        seen: dict[str, list[_Seen]] = {}
        for one in self._seen:
            if one.second >= alarm.change_second:
                seen.setdefault(one.instance, []).append(one)
        if len(seen) < 2:
            return ""
        if alarm.signal is Signal.ERROR_RATE:
            return _only(_error_scores(seen))
        if alarm.signal is Signal.LATENCY and alarm.phase in COMPUTE_PHASES:
            return _slower(seen, COMPUTE_PHASES.index(alarm.phase))
        if alarm.signal in content.watches:
            scores = {}
            for instance, parts in seen.items():
                total = Answers()
                for part in parts:
                    total.add(part.answers)
                scores[instance] = content.moves(alarm.signal, total, change=alarm.change_second)
            return _only(scores)
        return ""


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


def _slower(seen: dict[str, list[_Seen]], phase: int) -> str:
    """The one replica whose median is higher than any other's by a quarter, and the others' are alike."""
    medians = {
        instance: sketch.quantile(np.sum([one.durations[phase] for one in parts], axis=0), 0.5)
        for instance, parts in seen.items()
    }
    ranked = sorted(medians, key=lambda instance: -medians[instance])
    slowest, next_, fastest = medians[ranked[0]], medians[ranked[1]], medians[ranked[-1]]
    return ranked[0] if slowest > _SLOWER * next_ and next_ <= _SLOWER * max(1.0, fastest) else ""
