"""What the monitor is judged on: one table of faults in three strengths, one of what is no fault, one of null traffic.

Tests and the command read the same tables. Simulated traffic is that of ``services.monitor.evaluation.stream``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from services.monitor.evaluation.stream import Faults, OfReplica, Traffic
from tests.evaluation import floors
from tests.evaluation.alterations import Alteration, delayed, rounded, unaltered
from tests.evaluation.floors import RATE

LEARNT_S = 100
"""By when all is learnt, though not yet as well as it will be: nothing goes wrong before."""
STEADY_S = 540
"""By when detectors have learnt all that they will: faults begin then, if nothing else is said."""
QUIET_S = 160
REPLICAS = 3
CLASSES = 10
USUAL_ERRORS = 0.001

LOADS: dict[str, Callable[[float], float]] = {
    "even": lambda _: 1.0,
    "waves": lambda t: 1 + 0.5 * math.sin(2 * math.pi * t / 60),
}
"""Factors on the rate, of the seconds since the start."""


class Strength(StrEnum):
    WEAK = "weak"
    MEDIUM = "medium"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class Draw:
    """What differs from run to run: chance, the load, when the fault begins, and which replica has it."""

    seed: int
    load: str
    at_s: float
    replica: int

    @classmethod
    def of(cls, seed: int, load: str, *, learnt_s: int = LEARNT_S) -> Draw:
        random = np.random.default_rng([seed, 77])
        return cls(seed, load, learnt_s + random.random(), int(random.integers(REPLICAS)))

    def since(self, value: float, *, usual: float = 0.0) -> OfReplica:
        """A fault of all replicas, once it has begun."""
        return lambda t, _: value if t >= self.at_s else usual

    def here(self, value: float, *, usual: float = 0.0) -> OfReplica:
        """A fault of the one replica."""
        return lambda t, number: value if t >= self.at_s and number == self.replica else usual

    def traffic(self, faults: Faults | None = None, *, rate: float = RATE) -> Traffic:
        """Traffic with this load."""
        factor = LOADS[self.load]
        return Traffic(rate=lambda t: rate * factor(t), faults=faults or Faults(), seed=self.seed, replicas=REPLICAS)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an incident must say. ``is_replicas``: that it names the one replica; else it must name none.

    ``severity``: whether somebody should be woken by a medium or strong fault.
    """

    signals: frozenset[Signal]
    cause: Cause
    phase: Phase | None = None
    severity: Severity = Severity.PAGE
    is_replicas: bool = False


Made = tuple[Traffic, Alteration]


@dataclass(frozen=True, slots=True)
class Fault:
    """``values``: weak, medium and strong, told as ``unit`` says. ``floor``: requests, of a value."""

    name: str
    unit: str
    values: tuple[float, float, float]
    make: Callable[[Draw, float], Made]
    expected: Expected
    horizon_s: int = 60
    """What isn't found by then counts as missed."""
    floor: Callable[[float], float] | None = None
    only: str = ""
    """What it takes to find it, if not this: then it is shown, and not counted."""

    def value(self, strength: Strength) -> float:
        return self.values[list(Strength).index(strength)]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Traffic that nobody is to be woken for; each part begins at a second."""

    name: str
    make: Callable[[Draw], tuple[tuple[int, Traffic], ...]]
    restart_s: int | None = None
    until_s: int = QUIET_S


def _only(make: Callable[[Draw, float], Traffic]) -> Callable[[Draw, float], Made]:
    return lambda draw, value: (make(draw, value), unaltered)


def _mix(weight: float) -> NDArray[np.float64]:
    weights = np.ones(CLASSES)
    weights[3] = weight
    return np.asarray(weights / weights.sum())


def _shifted(draw: Draw, weight: float) -> Traffic:
    traffic = draw.traffic()
    traffic.prior = lambda t: _mix(weight if t >= draw.at_s else 1.0)
    return traffic


CAPACITY = 2 / 0.0045
"""Requests a second that two replicas without batches can serve."""


def _surge(draw: Draw, times: float) -> Traffic:
    usual = draw.traffic()
    return Traffic(
        rate=lambda t: times * CAPACITY if t >= draw.at_s else usual.rate(t),
        replicas=2,
        max_batch=lambda _: 1,
        seed=draw.seed,
    )


def _creeping(draw: Draw, percent: float) -> Traffic:
    return draw.traffic(Faults(slowdown=lambda t, _: 1 + percent / 6_000 * max(0.0, t - draw.at_s)))


def _signals(*signals: Signal) -> frozenset[Signal]:
    return frozenset(signals)


ANSWERS = _signals(Signal.CONFIDENCE, Signal.ENTROPY, Signal.CLASS_MIX)
SLOW = _signals(Signal.LATENCY)
_INPUTS = Expected(ANSWERS | {Signal.INPUTS}, Cause.INPUTS, severity=Severity.TICKET)
_BY_RATE = (15.0, 60.0, 200.0)

FAULTS: tuple[Fault, ...] = (
    Fault(
        "slow replica", "{:g} times as slow", (1.2, 1.5, 3.0),
        _only(lambda draw, times: draw.traffic(Faults(slowdown=draw.here(times, usual=1.0)))),
        Expected(SLOW, Cause.REPLICA, Phase.COMPUTE_INFER, is_replicas=True),
    ),
    Fault(
        "stuck replica", "at {:g} requests/s", _BY_RATE,
        _only(lambda draw, rate: draw.traffic(Faults(is_stuck=draw.here(1.0)), rate=rate)),
        Expected(_signals(Signal.STUCK), Cause.REPLICA, is_replicas=True), 30,
    ),
    Fault(
        "dead replica", "at {:g} requests/s", _BY_RATE,
        _only(lambda draw, rate: draw.traffic(Faults(is_dead=draw.here(1.0)), rate=rate)),
        Expected(_signals(Signal.DEAD), Cause.REPLICA, severity=Severity.TICKET, is_replicas=True), 40,
    ),
    Fault(
        "surge", "{:g} times what can be served", (1.5, 2.0, 5.0), _only(_surge),
        Expected(_signals(Signal.QUEUEING), Cause.ARRIVALS, Phase.QUEUE), 40,
    ),
    Fault(
        "wrong weights", "at {:g} requests/s", _BY_RATE,
        _only(lambda draw, rate: draw.traffic(Faults(wrong_weights=draw.since(1.0)), rate=rate)),
        Expected(ANSWERS, Cause.VERSION),
    ),
    Fault(
        "label shift", "a class in ten {:g} times as often", (2.0, 3.0, 5.0), _only(_shifted), _INPUTS,
        floor=lambda weight: floors.of_mix(_mix(1.0), _mix(weight)),
    ),
    Fault(
        "NaN", "{:g} % of answers", (0.1, 1.0, 100.0),
        _only(lambda draw, percent: draw.traffic(Faults(nonfinite=draw.since(percent / 100)))),
        Expected(_signals(Signal.NONFINITE), Cause.VERSION), 40,
    ),
    Fault(
        "precision loss", "noise of {:g} on logits", (0.001, 0.01, 0.1),
        lambda draw, noise: (draw.traffic(), rounded(draw.at_s, noise, seed=draw.seed)),
        Expected(ANSWERS, Cause.VERSION), 40, only="golden probes",
    ),
    Fault(
        "stale preprocessing", "inputs off by {:g} deviations", (0.5, 1.0, 2.0),
        _only(lambda draw, shift: draw.traffic(Faults(input_shift=lambda t: shift if t >= draw.at_s else 0.0))),
        _INPUTS,
    ),
    Fault(
        "less confidence", "by {:g} deviations", (0.2, 0.5, 1.0),
        _only(lambda draw, deviations: draw.traffic(Faults(less_confident=draw.since(deviations)))),
        Expected(_signals(Signal.CONFIDENCE, Signal.ENTROPY), Cause.VERSION),
        floor=floors.of_shift,
    ),
    Fault(
        "error burst", "0.1 % to {:g} %", (1.0, 5.0, 30.0),
        _only(lambda draw, percent: draw.traffic(Faults(errors=draw.since(percent / 100, usual=USUAL_ERRORS)))),
        Expected(_signals(Signal.ERROR_RATE), Cause.VERSION), 90,
        floor=lambda percent: floors.of_share(USUAL_ERRORS, percent / 100),
    ),
    Fault(
        "creeping slowness", "{:+g} % a minute", (10.0, 30.0, 100.0), _only(_creeping),
        Expected(SLOW, Cause.VERSION, Phase.COMPUTE_INFER), 150,
    ),
    Fault(
        "slow network", "{:+g} ms before the queue", (5.0, 20.0, 100.0),
        lambda draw, more_ms: (draw.traffic(), delayed(draw.at_s, more_ms)),
        Expected(SLOW, Cause.VERSION, Phase.QUEUE), 40,
    ),
)  # fmt: skip


def _alone(make: Callable[[Draw], Traffic]) -> Callable[[Draw], tuple[tuple[int, Traffic], ...]]:
    return lambda draw: ((0, make(draw)),)


def _stepped(draw: Draw, before: float, after: float) -> Traffic:
    return Traffic(rate=lambda t: before if t < draw.at_s else after, seed=draw.seed)


def _batched(draw: Draw, before: int, after: int) -> Traffic:
    traffic = draw.traffic()
    traffic.max_batch = lambda t: before if t < draw.at_s else after
    return traffic


def _identical(draw: Draw) -> tuple[tuple[int, Traffic], ...]:
    """A version that does the same takes over half of the load."""
    old, new = draw.traffic(), draw.traffic()
    new.version, new.seed, new.rate = "2", draw.seed + 500_000, lambda t: RATE / 2 * LOADS[draw.load](t)
    old.rate = lambda t: RATE * LOADS[draw.load](t) / (1 if t < LEARNT_S else 2)
    return (0, old), (LEARNT_S, new)


BENIGN: tuple[Quiet, ...] = (
    Quiet("an identical version takes half of the load", _identical),
    Quiet(
        "2 replicas, 3, and 2 again",
        _alone(lambda draw: draw.traffic(Faults(is_away=lambda t, n: float(n == 2 and not 90 <= t < 130)))),
    ),
    Quiet("larger batches are allowed", _alone(lambda draw: _batched(draw, 2, 32))),
    Quiet(
        "a cold start",
        _alone(lambda draw: draw.traffic(Faults(slowdown=lambda t, _: 1 + 20 * max(0.0, 1 - t / 3)))),
    ),
    Quiet("load doubles inside what can be served", _alone(lambda draw: _stepped(draw, 25, 50))),
    Quiet("load falls to a tenth", _alone(lambda draw: _stepped(draw, 60, 6))),
    Quiet("callers ask for one class half as often again", _alone(lambda draw: _shifted(draw, 1.5))),
    Quiet("the monitor is restarted", _alone(lambda draw: draw.traffic()), restart_s=LEARNT_S + 10),
    Quiet("a tenth of the spans is lost", _alone(lambda draw: draw.traffic(Faults(lost_spans=0.1)))),
    Quiet(
        "spans of a replica come 30 s late",
        _alone(lambda draw: draw.traffic(Faults(late_s=draw.here(30.0)))),
        None,
        170,
    ),
    Quiet(
        "a clock is ahead by 200 ms",
        _alone(lambda draw: draw.traffic(Faults(skew_s=lambda _, n: 0.2 * (n == draw.replica)))),
    ),
)


def _constant(traffic: Traffic) -> Traffic:
    """With what is always the same in many models: a feature, and the size of answers that are scaled."""
    traffic.constant_features, traffic.norm = 1, 1.0
    return traffic


def _busy(draw: Draw) -> Traffic:
    return Traffic(rate=lambda t: 2_000 * LOADS[draw.load](t), base_s=0.001, per_row_s=0.0002, seed=draw.seed)


NULL: tuple[Quiet, ...] = (
    Quiet("2,000 requests/s", _alone(lambda draw: _constant(_busy(draw))), until_s=250),
    Quiet(f"{RATE:g} requests/s", _alone(lambda draw: _constant(draw.traffic())), until_s=600),
)
