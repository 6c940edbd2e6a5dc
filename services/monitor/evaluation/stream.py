"""Simulated traffic of one model version: the spans that its replicas would send, second by second.

Requests come as a Poisson stream into one queue; each replica takes what waits, up to its greatest batch, as soon as it
is free, so load, batches and waits hang together as they do in life. Compute times have noise of three kinds: of each
batch, of a replica for seconds on end, and hiccups of three times the time in a hundred batches. Answers are those of a
classifier: inputs are drawn around their class' centre, and confidence goes with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.blocks import NS, STABLE, Batch, Pulse, Rejection
from services.monitor.domain.outcomes import Outcome

START_S = 1_700_000_000
"""Unix time at which all simulated traffic begins."""
FEATURES = 8
SKETCHED = 256
"""Inputs a second and replica that are sketched."""

OfTime = Callable[[float], float]
OfReplica = Callable[[float, int], float]
"""Of the seconds since the start, and the replica's number."""


def never(_at_s: float, _replica: int) -> float:
    return 0.0


def always(_at_s: float, _replica: int = 0) -> float:
    return 1.0


@dataclass(slots=True)
class Faults:
    """What goes wrong when and where: shares, unless said otherwise."""

    slowdown: OfReplica = always
    """Factor on the time in the model."""
    errors: OfReplica = never
    error_code: int = 13
    less_confident: OfReplica = never
    """Standard deviations of the logit of confidence."""
    wrong_weights: OfReplica = never
    """Above 0: another model answers."""
    nonfinite: OfReplica = never
    is_stuck: OfReplica = never
    is_dead: OfReplica = never
    is_away: OfReplica = never
    """Above 0: the replica isn't deployed; it says so when it stops."""
    input_shift: OfTime = lambda _: 0.0
    """Of all inputs, in their standard deviations; answers suffer."""
    lost_spans: float = 0.0
    late_s: OfReplica = never
    """How many seconds later a replica's spans come."""
    skew_s: OfReplica = never
    """How far a replica's clock is ahead."""


@dataclass(slots=True)
class Traffic:
    """One version, its load and its faults. Functions are of the seconds since the start."""

    rate: OfTime = lambda _: 100.0
    replicas: int = 3
    base_s: float = 0.004
    per_row_s: float = 0.0005
    max_batch: Callable[[float], int] = lambda _: 32
    prior: Callable[[float], NDArray[np.float64]] = lambda _: np.full(10, 0.1)
    """Shares of the classes."""
    constant_features: int = 0
    """Columns of the inputs that are always the same, as a bias or a padding is."""
    norm: float = 0.0
    """Size of every answer's numbers; 0 where nothing is said of it."""
    faults: Faults = field(default_factory=Faults)
    model: str = "digits"
    version: str = "1"
    arm: str = STABLE
    seed: int = 1
    name: str = "node.{replica}@1.{life:06x}"


@dataclass(slots=True)
class _Replica:
    number: int
    instance: str
    free_s: float = 0.0
    noise: float = 0.0
    batches: list[tuple[float, float, NDArray[np.float64]]] = field(default_factory=list)
    """Beginning, end and arrivals of each, until they are told."""
    held: list[tuple[float, Batch]] = field(default_factory=list)
    """Spans, and when they are sent."""
    is_here: bool = True
    stuck_since: float | None = None


Observation = Batch | Rejection | Pulse


class SpanStream:
    """Spans by the second in which they arrive. ``affected`` are traces of requests that a fault touched."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.affected: set[bytes] = set()
        self.requests = 0
        self._random = np.random.default_rng(traffic.seed)
        self._replicas = [
            _Replica(number, traffic.name.format(replica=number, life=traffic.seed + number))
            for number in range(traffic.replicas)
        ]
        centres = np.random.default_rng(5).normal(size=(64, FEATURES))
        self._centres = 1.5 * centres
        self._confident = np.random.default_rng(6).uniform(1.0, 3.0, 64)
        """Mean logit of confidence by class."""
        self._waiting: NDArray[np.float64] = np.zeros(0)

    def run(self, *, until_s: int, from_s: int = 0) -> Iterator[tuple[int, list[Observation]]]:
        """What arrives, by the Unix nanosecond at which it does: each second's spans at its end, and a second later."""
        for second in range(from_s, until_s):
            self._serve(second)
            sent: list[Observation] = []
            for replica in self._replicas:
                sent += self._sent(replica, second)
            yield (START_S + second + 2) * NS, sent

    def _serve(self, second: int) -> None:
        traffic, random, faults = self.traffic, self._random, self.traffic.faults
        arrivals = second + np.sort(random.random(random.poisson(traffic.rate(second))))
        self.requests += len(arrivals)
        waiting = np.concatenate([self._waiting, arrivals])
        at, end_s = 0, second + 1.0
        serving = [one for one in self._replicas if self._takes_part(one, second)]
        while at < len(waiting) and serving:
            replica = min(serving, key=lambda one: one.free_s)
            begin = max(replica.free_s, float(waiting[at]))
            if begin >= end_s:
                break
            idle = [one for one in serving if one.free_s <= begin]
            if len(idle) > 1:  # who has waited longest is first
                replica = idle[int(random.integers(len(idle)))]
            upto = int(np.searchsorted(waiting, begin, side="right"))
            taken = waiting[at : min(max(upto, at + 1), at + traffic.max_batch(begin))]
            at += len(taken)
            replica.noise = 0.98 * replica.noise + 0.01 * random.standard_normal()
            hiccup = 3.0 if random.random() < 0.01 else 1.0
            noise = float(np.exp(0.08 * random.standard_normal() + replica.noise)) * hiccup
            took = (traffic.base_s + traffic.per_row_s * len(taken)) * noise * faults.slowdown(begin, replica.number)
            replica.free_s = begin + took
            if faults.is_stuck(begin, replica.number):
                replica.stuck_since, replica.free_s = begin, float("inf")
                serving.remove(replica)
            else:
                replica.batches.append((begin, replica.free_s, taken))
        self._waiting = waiting[at:][-100_000:]

    def _takes_part(self, replica: _Replica, second: int) -> bool:
        faults = self.traffic.faults
        if replica.stuck_since is not None and not faults.is_stuck(second, replica.number):
            replica.stuck_since, replica.free_s = None, float(second)
        is_gone = faults.is_dead(second, replica.number) or faults.is_away(second, replica.number)
        return not is_gone and replica.stuck_since is None

    def _sent(self, replica: _Replica, second: int) -> Iterator[Observation]:
        faults, now = self.traffic.faults, second + 1.0
        if faults.is_dead(now, replica.number):
            replica.batches, replica.held = [], []  # what wasn't told yet is lost
            return
        done = [one for one in replica.batches if one[1] < now]
        replica.batches = [one for one in replica.batches if one[1] >= now]
        if done:
            for batch in self._spans(replica, done):
                if self._random.random() >= faults.lost_spans:
                    replica.held.append((second + faults.late_s(now, replica.number), batch))
        for due, batch in list(replica.held):
            if due <= second:
                replica.held.remove((due, batch))
                yield batch
        is_away = bool(faults.is_away(now, replica.number))
        if replica.is_here and is_away:
            yield self._pulse(replica, now, is_stopping=True)
        if replica.stuck_since is not None and now - replica.stuck_since >= 1:
            yield self._pulse(replica, now, is_stopping=False)
        replica.is_here = not is_away

    def _pulse(self, replica: _Replica, now: float, *, is_stopping: bool) -> Pulse:
        since = now if replica.stuck_since is None else replica.stuck_since
        trace = self._random.bytes(16)
        self.affected.add(trace)
        return Pulse(
            self.traffic.model, self.traffic.version, replica.instance, trace, _unix_ns(now), is_stopping,
            int((now - since) * NS), 1,
        )  # fmt: skip

    def _spans(self, replica: _Replica, done: list[tuple[float, float, NDArray[np.float64]]]) -> Iterator[Batch]:
        """One span for all that a replica did in a second, as for quick batches; failed ones' requests in it."""
        traffic, random, number = self.traffic, self._random, replica.number
        faults, at_s = traffic.faults, done[-1][1]
        sizes = [len(arrivals) for _, _, arrivals in done]
        requests = sum(sizes)
        arrived = np.concatenate([arrivals for _, _, arrivals in done])
        begins = np.repeat([begin for begin, _, _ in done], sizes)
        ends = np.repeat([end for _, end, _ in done], sizes)
        failed = random.random(requests) < faults.errors(at_s, number)
        prior = traffic.prior(at_s)
        labels = random.choice(len(prior), requests, p=prior)
        inputs = self._centres[labels] + random.normal(size=(requests, FEATURES)) + faults.input_shift(at_s)
        logits = self._confident[labels] + 0.8 * random.normal(size=requests)
        logits -= 0.8 * faults.less_confident(at_s, number) + 0.5 * abs(faults.input_shift(at_s))
        if faults.wrong_weights(at_s, number):
            labels, logits = (labels * 3 + 1) % 7, 0.6 * random.normal(size=requests) - 0.3
        confidence = 1 / (1 + np.exp(-logits))
        entropy = -(confidence * np.log(confidence) + (1 - confidence) * np.log((1 - confidence) / 9))
        nonfinite = random.random(requests) < faults.nonfinite(at_s, number)
        sampled = np.sort(random.choice(requests, min(requests, SKETCHED), replace=False))
        sketch = np.pad(inputs[sampled], ((0, 0), (0, traffic.constant_features)), constant_values=1.0)
        trace, ids = random.bytes(16), random.bytes(16 * requests)
        if self._is_faulty(at_s, number):
            self.affected.add(trace)
            self.affected.update(ids[16 * one : 16 * (one + 1)] for one in range(requests))
        skew = faults.skew_s(at_s, number)
        yield Batch(
            traffic.model,
            traffic.version,
            replica.instance,
            trace,
            _unix_ns(at_s + skew),
            tuple(sizes),
            tuple(sizes),
            (
                (20_000,) * len(done),
                tuple(int((end - begin) * NS) for begin, end, _ in done),
                (30_000,) * len(done),
            ),
            ((begins - arrived) * 1e6).astype("<u4").tobytes(),
            ((ends - arrived) * 1e6).astype("<u4").tobytes(),
            np.where(failed, faults.error_code, 0).astype(np.uint8).tobytes(),
            ids,
            traffic.arm,
            _unix_ns(done[0][0] + skew),
            confidence=confidence.astype("<f4").tobytes(),
            classes=labels.astype("<i4").tobytes(),
            entropy=entropy.astype("<f4").tobytes(),
            norm=np.full(requests, traffic.norm, "<f4").tobytes() if traffic.norm else b"",
            nonfinite=nonfinite.astype("<u4").tobytes() if nonfinite.any() else b"",
            sampled=sampled.astype("<u4").tobytes(),
            sketch=sketch.astype("<f4").tobytes(),
        )

    def _is_faulty(self, at_s: float, number: int) -> bool:
        faults = self.traffic.faults
        return bool(
            faults.slowdown(at_s, number) > 1
            or faults.input_shift(at_s)
            or any(
                fault(at_s, number)
                for fault in (faults.errors, faults.less_confident, faults.wrong_weights, faults.nonfinite)
            )
            or not np.array_equal(self.traffic.prior(at_s), self.traffic.prior(0))
        )


def rejection(traffic: Traffic, *, at_s: float, count: int, code: int) -> Rejection:
    """Requests that the gateway settled by itself; one for each instant."""
    trace = _unix_ns(at_s).to_bytes(16)
    return Rejection(
        traffic.model, traffic.version, trace, _unix_ns(at_s), Outcome.SERVER_ERROR, count, code, traffic.arm
    )


def _unix_ns(at_s: float) -> int:
    return START_S * NS + int(at_s * NS)
