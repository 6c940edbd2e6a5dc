"""What the monitor is compared with: three ways to raise alarms on a version's figures of each second.

They get the figures as soon as a second's spans are there, and say neither what is at fault nor where. An alarm goes on
for half a minute after what raised it, so that one trouble isn't counted over and over; the dummy's don't.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.monitor.domain.blocks import Batch
from tests.evaluation.scenarios import CLASSES

CALM_S = 30
LEARNING_S = 60
_ADWIN = Path(__file__).with_name("adwin.py")


@dataclass(frozen=True, slots=True)
class Second:
    """Figures of a second, by the second at which they were known."""

    at_s: int
    p50_ms: float
    p99_ms: float
    error_share: float
    nonfinite_share: float
    confidence: float
    classes: tuple[float, ...]
    inputs: tuple[float, ...]

    def as_row(self) -> list[float]:
        figures = (self.p50_ms, self.p99_ms, self.error_share, self.nonfinite_share, self.confidence)
        return [*figures, *self.classes, *self.inputs]


def second_of(at_s: int, batches: Sequence[Batch]) -> Second | None:
    """Figures of what came at a second; None where nothing did."""
    if not batches:
        return None

    def joined(figure: Callable[[Batch], bytes], kind: str) -> np.ndarray:
        return np.frombuffer(b"".join(map(figure, batches)), kind)

    total = joined(lambda one: one.total_us, "<u4") / 1e3
    classes = np.bincount(joined(lambda one: one.classes, "<i4"), minlength=CLASSES)[:CLASSES]
    nonfinite = joined(lambda one: one.nonfinite, "<u4")
    rows = np.concatenate([np.frombuffer(one.sketch, "<f4").reshape(len(one.sampled) // 4, -1) for one in batches])
    return Second(
        at_s=at_s,
        p50_ms=float(np.percentile(total, 50)),
        p99_ms=float(np.percentile(total, 99)),
        error_share=float((joined(lambda one: one.status, "u1") > 0).mean()),
        nonfinite_share=float((nonfinite > 0).sum() / total.size),
        confidence=float(joined(lambda one: one.confidence, "<f4").mean()),
        classes=tuple((classes / total.size).tolist()),
        inputs=tuple(rows.mean(axis=0).tolist()),
    )


def always(seconds: Sequence[Second]) -> list[int]:
    """The dummy: an alarm each second."""
    return [one.at_s for one in seconds]


def thresholds(seconds: Sequence[Second]) -> list[int]:
    """Rules as people write them: p99 over twice that of the first minute, over 1 % of errors, over 1 % of NaN."""
    first = [one.p99_ms for one in seconds if one.at_s <= LEARNING_S]
    limit = 2 * float(np.median(first)) if first else float("inf")
    later = [one for one in seconds if one.at_s > LEARNING_S]
    return _begun(
        [one.at_s for one in later if one.p99_ms > limit],
        [one.at_s for one in later if one.error_share > 0.01],
        [one.at_s for one in later if one.nonfinite_share > 0.01],
    )


class Adwin:
    """river's ADWIN with its defaults on each figure, in a process of the Python that has river; ended with ours."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, seconds: Sequence[Second]) -> list[int]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self._python, "-I", str(_ADWIN)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([one.as_row() for one in seconds]) + "\n")
        self._process.stdin.flush()
        drifts = json.loads(self._process.stdout.readline())
        return _begun(*([seconds[place].at_s for place in places] for places in drifts))


def _begun(*reasons: Iterable[int]) -> list[int]:
    """Seconds at which alarms began, of those at which there was each reason for one."""
    begun = set[int]()
    for alarmed in reasons:
        until_s = 0
        for at_s in alarmed:
            if at_s >= until_s:
                begun.add(at_s)
            until_s = at_s + CALM_S
    return sorted(begun)


@dataclass(frozen=True, slots=True)
class Told:
    """What a rival made of a run: alarms while nothing was wrong, and the seconds until the first one after that."""

    false_alarms: int
    delay_s: float | None


def told(begun: Sequence[int], *, fault_s: float | None) -> Told:
    """``fault_s``: when the fault began; None where there was none."""
    if fault_s is None:
        return Told(len(begun), None)
    since = [at_s - fault_s for at_s in begun if at_s > fault_s]
    return Told(len(begun) - len(since), since[0] if since else None)
