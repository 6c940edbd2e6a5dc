"""What a comparison is fed with: a version's second, and a second's pairs of answers to the same inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.answers import BINS, Answers, value_of
from services.monitor.domain.blocks import Block
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Phase, Signal
from services.monitor.domain.sketch import Counts

_CONFIDENCES = np.array([value_of(Signal.CONFIDENCE, place + 0.5) for place in range(BINS)])
ANY_ROWS = -1
"""Stratum of phases that are compared whatever the size of the batch."""


@dataclass(frozen=True, slots=True)
class Tally:
    """``total``: sum of values in [0, 1] over ``count`` requests, rows or labels."""

    count: float = 0.0
    total: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.total + other.total)


@dataclass(slots=True)
class Sample:
    """A version's figures over a second, or several. Samples of one version add up.

    ``largest`` is the most requests that may have shared a fate: those of the largest batch, or, once their second is
    over, all that the gateway refused in it. ``durations``: of requests by phase, and by log2 of the batch's rows where
    that matters, of batches then. ``confidence``, ``nonfinite`` and ``wrong``: confidence, answers that are not finite
    and wrong labels of requests.
    """

    requests: int = 0
    """All that came, whoever's fault their end was: what a split is checked by, unless a rollout draws."""
    drawn: int = 0
    """Requests that a rollout sent to the version."""
    outcomes: Tally = Tally()
    """Requests that succeeded or failed by the server's fault, and of these the latter."""
    largest: int = 1
    refused: int = 0
    """Requests that the gateway refused by the server's fault in a second that isn't over."""
    durations: dict[Phase, dict[int, Counts]] = field(default_factory=dict)
    confidence: Tally = Tally()
    nonfinite: Tally = Tally()
    classes: dict[int, int] = field(default_factory=dict)
    """Requests by predicted class."""
    wrong: Tally = Tally()
    """Labelled requests, and of these the ones with a wrong answer."""

    def add(self, other: Sample) -> None:
        self.requests += other.requests
        self.drawn += other.drawn
        self.outcomes += other.outcomes
        self.largest = max(self.largest, other.largest)
        self.refused += other.refused
        for phase, strata in other.durations.items():
            own = self.durations.setdefault(phase, {})
            for rows, counts in strata.items():
                own[rows] = own[rows] + counts if rows in own else counts
        self.confidence += other.confidence
        self.nonfinite += other.nonfinite
        for label, count in other.classes.items():
            self.classes[label] = self.classes.get(label, 0) + count
        self.wrong += other.wrong

    def close(self) -> None:
        """Its second is over: what was refused in it shared a fate, however many gateways told of it."""
        self.largest, self.refused = max(self.largest, self.refused), 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Requests that both versions answered: ``count`` in all, of which only the candidate failed, only the baseline
    failed, or both answered and differed by more than the tolerance. ``largest``: of the largest batch.
    """

    count: int = 0
    candidate_failed: int = 0
    baseline_failed: int = 0
    differing: int = 0
    largest: int = 1

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(
            self.count + other.count,
            self.candidate_failed + other.candidate_failed,
            self.baseline_failed + other.baseline_failed,
            self.differing + other.differing,
            max(self.largest, other.largest),
        )


def sample_of(block: Block) -> Sample:
    """The sample that a block of the figures holds."""
    failed, good = int(block.outcomes[Outcome.SERVER_ERROR]), int(block.outcomes[Outcome.OK])
    durations: dict[Phase, dict[int, Counts]] = {}
    for row, phase in enumerate(FLOW_PHASES):
        if block.ok_counts[row].any():
            durations[phase] = {ANY_ROWS: block.ok_counts[row]}
    for row, phase in enumerate(COMPUTE_PHASES):
        if block.compute_counts:
            durations[phase] = {rows: counts[row] for rows, counts in block.compute_counts.items()}
    sample = Sample(
        requests=block.requests,
        drawn=block.drawn,
        outcomes=Tally(failed + good, failed),
        largest=max(1, block.largest),
        refused=block.refused,
        durations=durations,
    )
    _add_answers(sample, block.answers, answered=int(block.ok_counts[FLOW_PHASES.index(Phase.TOTAL)].sum()))
    return sample


def _add_answers(sample: Sample, answers: Answers, *, answered: int) -> None:
    sample.nonfinite = Tally(answered, min(answers.nonfinite, answered))
    if answers.classes is not None:
        sample.classes = {int(label): int(answers.classes[label]) for label in np.flatnonzero(answers.classes)}
    confidence = answers.scalars.get(Signal.CONFIDENCE)
    if confidence is not None:
        sample.confidence = Tally(float(confidence.sum()), float(confidence @ _CONFIDENCES))


def no_durations() -> Counts:
    return np.zeros(sketch.BINS, np.int64)
