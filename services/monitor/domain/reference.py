"""What is normal for a version, learnt from its first traffic, and compared only with what is like it.

Durations depend on load, so each is judged against a *context*: the size of its batch and the request rate, both to
powers of two. A context is learnt over ``LEARN_SLOTS`` seconds of traffic and then frozen, so that a slow decline isn't
learnt too. A second in an unknown context is judged by the nearest known one with batches at least as large and a rate
at least as high, under which nothing should be faster; where there is none, the second is learnt and not judged. So a
rise of load can't look like a fault, while a fault, which never raises the rate, stays comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.evidence import Floats, upper_limit, upper_limits
from services.monitor.domain.outcomes import ErrorKind
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Phase

LEARN_SLOTS = 30
MAX_CONTEXTS = 256
LEVELS = (0.5, 0.1, 0.9, 0.99)
"""Quantiles watched: the body, the quick, the shoulder and the tail. What delays all shows among the quick first, who
didn't wait."""
LATENCY_LIMITS: Floats = np.array([upper_limit(1 - level, LEARN_SLOTS) for level in LEVELS])
"""Upper confidence limits of the shares of durations above the learnt quantiles: a second's share is one trial."""

LEAST_ERROR_LIMIT = 0.002
"""Error rates up to this are nobody's alarm."""
GREATEST_ERROR_LIMIT = 0.05
"""Error rates from this on are never taken for normal, and what is assumed before anything is learnt."""
ERROR_TRIALS = 3_000
"""Batches after which the normal error rate is known, and at least ``LEARN_SLOTS`` seconds."""
MOST_ERROR_TRIALS = 20_000
"""Batches up to which it is known better; then it stays, so that a slow decline isn't learnt too."""


class Tolerance(NamedTuple):
    """A duration counts as longer than the reference from ``ratio`` times it and ``ns`` more."""

    ratio: float
    ns: float

    def edge(self, reference_ns: float) -> int:
        """The last bin that isn't longer."""
        return sketch.bin_of(max(reference_ns * self.ratio, reference_ns + self.ns))


_COMPUTE = Tolerance(1.3, 1e6)
_FLOW = Tolerance(2.0, 20e6)
_QUICK_FLOW = Tolerance(2.0, 2e6)
TOLERANCES: Mapping[Phase, tuple[Tolerance, ...]] = {
    **dict.fromkeys(COMPUTE_PHASES, (_COMPUTE,) * len(LEVELS)),
    **dict.fromkeys(FLOW_PHASES, tuple(_QUICK_FLOW if level < 0.5 else _FLOW for level in LEVELS)),
}
"""By level. Waiting depends on load, and is noise; not that of the quick."""


class Context(NamedTuple):
    """Conditions under which durations are alike: log2 of the batch's rows, log2 of requests per second."""

    rows: int
    rate: int

    def bears(self, other: Context) -> bool:
        """True if nothing should be slower under ``other``."""
        return self.rows >= other.rows and self.rate >= other.rate


class Normal(NamedTuple):
    """Reference of one phase in one context, by ``LEVELS``: quantiles (ns), the last bin that isn't longer, and upper
    confidence limits of the share of durations that are.
    """

    quantiles_ns: Floats
    edges: NDArray[np.int64]
    limits: Floats

    @classmethod
    def of(cls, phase: Phase, shares: NDArray[np.float64]) -> Normal:
        """Of a histogram: the mean of ``LEARN_SLOTS`` seconds, each of which is one trial."""
        quantiles = sketch.quantiles(shares, LEVELS)
        edges = _edges(phase, quantiles)
        above = np.clip(sketch.shares_above(shares, edges), 0.0, 1.0)
        return cls(quantiles, edges, upper_limits(above, np.full(len(above), float(LEARN_SLOTS))))

    def dump(self) -> list[list[float]]:
        return [self.quantiles_ns.tolist(), self.limits.tolist()]

    @classmethod
    def load(cls, phase: Phase, data: list[list[float]]) -> Normal:
        """Raises ValueError: the data are of other levels."""
        quantiles, limits = (np.array(row, np.float64) for row in data)
        if not len(quantiles) == len(limits) == len(LEVELS):
            raise ValueError(f"a reference has {len(quantiles)} quantiles, expected {len(LEVELS)}")
        return cls(quantiles, _edges(phase, quantiles), limits)


def _edges(phase: Phase, quantiles_ns: Iterable[float]) -> NDArray[np.int64]:
    return np.array(
        [tolerance.edge(value) for tolerance, value in zip(TOLERANCES[phase], quantiles_ns, strict=True)], np.int64
    )


@dataclass(slots=True)
class LatencyReference:
    """Normal durations of some phases by context. Bounded to ``MAX_CONTEXTS``."""

    phases: tuple[Phase, ...]
    known: dict[Context, dict[Phase, Normal]] = field(default_factory=dict)
    _learning: dict[Context, tuple[int, Floats]] = field(default_factory=dict)
    _nearest: dict[Context, dict[Phase, Normal] | None] = field(default_factory=dict)

    def normal(self, context: Context) -> dict[Phase, Normal] | None:
        """What to compare with; None where nothing comparable is known yet."""
        if context not in self._nearest:
            bearing = [known for known in self.known if known.bears(context)]
            nearest = min(bearing, key=lambda known: (sum(known) - sum(context), known), default=None)
            if len(self._nearest) >= MAX_CONTEXTS:
                self._nearest.clear()
            self._nearest[context] = None if nearest is None else self.known[nearest]
        return self._nearest[context]

    def learn(self, context: Context, counts: NDArray[np.int64]) -> None:
        """Take a second's histograms (one row per phase) in; each second weighs the same."""
        if context in self.known or (context not in self._learning and self._is_full()):
            return
        slots, shares = self._learning.get(context, (0, np.zeros(counts.shape)))
        slots, shares = slots + 1, shares + counts / counts.sum(axis=1, keepdims=True)
        self._learning[context] = slots, shares
        if slots >= LEARN_SLOTS:
            self.know(context, [Normal.of(phase, row) for phase, row in zip(self.phases, shares, strict=True)])

    @property
    def learnt_slots(self) -> int:
        """Seconds seen of the context that is known next, or ``LEARN_SLOTS`` where one is known."""
        return LEARN_SLOTS if self.known else max((slots for slots, _ in self._learning.values()), default=0)

    def know(self, context: Context, normals: Iterable[Normal]) -> None:
        """What is normal in a context, by phase."""
        self._learning.pop(context, None)
        self.known[context] = dict(zip(self.phases, normals, strict=True))
        self._nearest.clear()

    def _is_full(self) -> bool:
        return len(self.known) + len(self._learning) >= MAX_CONTEXTS


@dataclass(slots=True)
class ErrorReference:
    """The normal error rate. A batch is one trial, since its requests fail together."""

    slots: int = 0
    trials: int = 0
    errors: float = 0.0
    squares: float = 0.0
    """Sum of the squares of the slots' shares, by trials."""

    @property
    def rate(self) -> float:
        return self.errors / self.trials if self.trials else 0.0

    @property
    def is_learnt(self) -> bool:
        return self.slots >= LEARN_SLOTS and self.trials >= ERROR_TRIALS

    @property
    def is_complete(self) -> bool:
        return self.slots >= LEARN_SLOTS and self.trials >= MOST_ERROR_TRIALS

    @property
    def limit(self) -> float:
        """Upper confidence limit of the normal rate, by what has been seen so far."""
        limit = upper_limit(self.rate, self.trials / self.spread)
        return min(max(limit, LEAST_ERROR_LIMIT), GREATEST_ERROR_LIMIT)

    @property
    def spread(self) -> float:
        """How many trials are worth an independent one (Pearson's dispersion over slots)."""
        variance = self.rate * (1 - self.rate)
        if self.slots < 2 or variance <= 0:
            return 1.0
        return max(1.0, (self.squares - self.trials * self.rate**2) / variance / (self.slots - 1))

    def learn(self, share: float, trials: int) -> None:
        if not self.is_complete:
            self.slots += 1
            self.trials += trials
            self.errors += share * trials
            self.squares += share * share * trials

    def dump(self) -> list[float]:
        return [self.slots, self.trials, self.errors, self.squares]


@dataclass(slots=True)
class Reference:
    """All that is normal for a version. ``kinds`` are errors by :class:`ErrorKind`."""

    errors: ErrorReference = field(default_factory=ErrorReference)
    kinds: tuple[ErrorReference, ...] = field(default_factory=lambda: tuple(ErrorReference() for _ in ErrorKind))
    compute: LatencyReference = field(default_factory=lambda: LatencyReference(COMPUTE_PHASES))
    flow: LatencyReference = field(default_factory=lambda: LatencyReference(FLOW_PHASES))

    def dump(self) -> dict[str, Any]:
        """As plain JSON values; contexts that are still being learnt are left out."""
        return {
            "errors": self.errors.dump(),
            "kinds": [kind.dump() for kind in self.kinds],
            **{
                group: [
                    [*context, [normal.dump() for normal in by_phase.values()]]
                    for context, by_phase in reference.known.items()
                ]
                for group, reference in (("compute", self.compute), ("flow", self.flow))
            },
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Reference:
        """The reverse of :meth:`dump`."""
        reference = cls(errors=ErrorReference(*data["errors"]))
        if "kinds" in data:
            reference.kinds = tuple(ErrorReference(*kind) for kind in data["kinds"])
        for group in ("compute", "flow"):
            known: LatencyReference = getattr(reference, group)
            for rows, rate, by_phase in data[group]:
                normals = [Normal.load(phase, one) for phase, one in zip(known.phases, by_phase, strict=True)]
                known.know(Context(rows, rate), normals)
        return reference
