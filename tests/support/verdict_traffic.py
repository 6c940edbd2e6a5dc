"""Simulated traffic of two versions of a model, second by second, as a comparison is fed with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.blocks import NS
from services.monitor.domain.phases import Phase
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.decision import Decision
from services.monitor.domain.verdict.guardrails import SPLIT_DEFAULTS
from services.monitor.domain.verdict.question import Mode, Question
from services.monitor.domain.verdict.sample import ANY_ROWS, Sample, Tally

START_S = 1_700_000_000
QUESTION = Question(
    comparison_id="trial",
    model="digits",
    candidate="2",
    baseline="1",
    mode=Mode.SPLIT,
    weight=0.1,
    start_ns=START_S * NS,
    deadline_ns=(START_S + 3_600) * NS,
    min_requests=500,
    min_seconds=60,
    alpha=0.01,
    guardrails=SPLIT_DEFAULTS,
)

Course = Callable[[float], float]
"""A figure by the seconds since the start."""


def question(**changes: object) -> Question:
    return replace(QUESTION, **changes)


@dataclass(slots=True)
class Version:
    """How a version behaves. ``spread``: standard deviation of the durations' logarithm; ``host_noise``: that of a
    noise that lasts for seconds. A batch of several has one duration, and fails as a whole where ``fails_whole``.
    """

    error_rate: Course = lambda _: 0.001
    median_s: float = 0.02
    spread: float = 0.5
    slowdown: Course = lambda _: 1.0
    host_noise: float = 0.0
    batch: int = 1
    fails_whole: bool = False
    tail: tuple[float, float] = (0.0, 1.0)
    """Share of the batches that take so many times as long."""
    confidence: float | None = None
    classes: tuple[float, ...] = ()
    nonfinite: float | None = None
    wrong: float | None = None
    _host: float = field(default=0.0, repr=False)

    def second(
        self,
        at_s: float,
        requests: int,
        random: np.random.Generator,
        *,
        load: float = 1.0,
        pause: tuple[float, float] = (0.0, 0.0),
    ) -> Sample:
        """What it does with so many requests in a second in which everything takes ``load`` times as long, and whoever
        comes between the two instants of ``pause`` waits for the second one.
        """
        self._host = 0.8 * self._host + 0.6 * self.host_noise * random.standard_normal()
        if not requests:
            return Sample()
        full, rest = divmod(requests, self.batch)
        sizes = np.array([self.batch] * full + [rest] * (rest > 0), np.int64)
        rate = self.error_rate(at_s)
        failed = (
            int(sizes[random.random(len(sizes)) < rate].sum())
            if self.fails_whole
            else int(random.binomial(requests, rate))
        )
        logs = math.log(self.median_s) + self._host + self.spread * random.standard_normal(len(sizes))
        slow = np.where(random.random(len(sizes)) < self.tail[0], self.tail[1], 1.0)
        taken_s = np.exp(logs) * slow * self.slowdown(at_s) * load
        if pause[1]:
            came = random.random(len(sizes))
            taken_s = taken_s + np.where(came >= pause[0], np.maximum(pause[1] - came, 0.0), 0.0)
        bins = sketch.bins_of(taken_s * 1e9)
        rows = int(sizes.max()).bit_length() - 1
        sample = Sample(
            requests=requests,
            outcomes=Tally(requests, failed),
            largest=int(sizes.max()),
            durations={
                Phase.TOTAL: {ANY_ROWS: sketch.count(bins, sizes)},
                Phase.COMPUTE_INFER: {rows: sketch.count(bins)},
            },
        )
        if self.confidence is not None:
            spread = random.beta(20 * self.confidence, 20 * (1 - self.confidence), requests)
            sample.confidence = Tally(requests, float(spread.sum()))
        if self.classes:
            sample.classes = dict(enumerate(random.multinomial(requests, self.classes).tolist()))
        if self.nonfinite is not None:
            sample.nonfinite = Tally(requests, int(random.binomial(requests, self.nonfinite)))
        if self.wrong is not None:
            sample.wrong = Tally(requests, int(random.binomial(requests, self.wrong)))
        return sample


@dataclass(frozen=True, slots=True)
class Trial:
    """Two versions under a load of ``rate`` requests a second, of which the candidate gets ``weight``."""

    candidate: Version = field(default_factory=Version)
    baseline: Version = field(default_factory=Version)
    weight: float = 0.1
    rate: Course = lambda _: 200.0
    load: Course = lambda _: 1.0
    """Everything takes so many times as long."""
    shared_noise: float = 0.0
    """Of the host that both versions run on: standard deviation of a noise of seconds, of durations' logarithm."""
    pauses: tuple[float, float] = (0.0, 0.0)
    """Of that host: the probability of one in a second, and its mean length, seconds."""
    seed: int = 1

    def seconds(self, length: int) -> Iterator[tuple[int, Sample, Sample]]:
        traffic = Traffic(self)
        for at_s in range(length):
            yield (at_s, *traffic.second(at_s, self.weight))


@dataclass(slots=True)
class Traffic:
    """A trial under way."""

    trial: Trial
    random: np.random.Generator = field(init=False)
    _noise: float = 0.0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.trial.seed)

    def second(self, at_s: int, weight: float) -> tuple[Sample, Sample]:
        """What both do in the next second, of which the candidate draws such a share."""
        trial, random = self.trial, self.random
        requests = int(random.poisson(trial.rate(at_s)))
        for_candidate = int(random.binomial(requests, weight))
        load = trial.load(at_s)
        if trial.shared_noise:
            self._noise = 0.8 * self._noise + 0.6 * trial.shared_noise * random.standard_normal()
            load *= math.exp(self._noise)
        pause = (0.0, 0.0)
        if trial.pauses[0] and random.random() < trial.pauses[0]:
            begin_s = float(random.random())
            pause = begin_s, begin_s + float(random.exponential(trial.pauses[1]))
        candidate = trial.candidate.second(at_s, for_candidate, random, load=load, pause=pause)
        baseline = trial.baseline.second(at_s, requests - for_candidate, random, load=load, pause=pause)
        candidate.drawn, baseline.drawn = candidate.requests, baseline.requests
        return candidate, baseline


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial went: the decisions that were made, in order, the seconds and the candidate's requests until the last
    of them, and the comparison.
    """

    decisions: tuple[Decision, ...]
    seconds: int
    requests: int
    comparison: Comparison

    @property
    def decision(self) -> Decision:
        return self.comparison.ruling.decision


def feed(comparison: Comparison, at_s: int, candidate: Sample, baseline: Sample) -> None:
    """Give a second of both versions, and let it be judged at once."""
    second = START_S + at_s
    for version, sample in ((comparison.question.candidate, candidate), (comparison.question.baseline, baseline)):
        if sample.requests:
            comparison.add(version, second, sample)


def run(trial: Trial, length: int, *, asked: Question = QUESTION, goes_on: bool = False) -> Outcome:
    """Let a trial go on until there is a decision, or with ``goes_on`` to the end, looking after every second."""
    comparison = Comparison(asked)
    decisions: list[Decision] = []
    at_s = decided_s = requests = 0
    for at_s, candidate, baseline in trial.seconds(length):
        feed(comparison, at_s, candidate, baseline)
        comparison.advance(START_S + at_s + 4)  # when the second is over, and late spans have come
        if comparison.ruling.decision not in (Decision.CONTINUE, *decisions[-1:]):
            decisions.append(comparison.ruling.decision)
            decided_s, requests = at_s + 1, comparison.progress.candidate.requests
            if not goes_on:
                break
    if not decisions:
        decided_s, requests = at_s + 1, comparison.progress.candidate.requests
    return Outcome(tuple(decisions), decided_s, requests, comparison)
