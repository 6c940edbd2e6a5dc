"""What a version answers, and what it is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from services.monitor.domain.answers import BINS, CLASSES, Numbers, quantile, value_of
from services.monitor.domain.content import ContentDetectors
from services.monitor.domain.drift.watched import (
    BYTES,
    NATS,
    ONE,
    Histogram,
    Learnt,
    Part,
    State,
    Watched,
    most_moved,
    state_of,
)
from services.monitor.domain.evidence import Floats
from services.monitor.domain.phases import Signal
from services.monitor.domain.watches import (
    INPUT_BINS,
    LEARN_SLOTS,
    LEARN_TRIALS,
    LEVELS,
    ClassWatch,
    InputWatch,
    ScalarWatch,
    Watch,
)

MEDIAN = 0.5
MOST_BINS = 16
_TAIL = 0.002
"""Share of values at either end that needs no bins of its own."""
_UNITS = {Signal.ENTROPY: NATS, Signal.LENGTH: BYTES}
_DONE = Learnt(LEARN_SLOTS, LEARN_SLOTS)


def content(detectors: ContentDetectors, *, since: int) -> Iterator[Watched]:
    """Of each scalar of answers, classes and inputs, as far as the version has them."""
    needed = detectors.budget.threshold
    for signal, (seconds, requests) in detectors.learning().items():
        learnt = Learnt(min(seconds, LEARN_SLOTS), LEARN_SLOTS)
        seen = f"{learnt.seconds} of {LEARN_SLOTS} seconds and {min(requests, LEARN_TRIALS)} of {LEARN_TRIALS} requests"
        reason = "requests are all alike: nothing to learn from" if detectors.is_uniform else f"{seen} seen"
        yield Watched(signal, None, State.LEARNING, learnt, reason=reason, needed=needed, unit=_UNITS.get(signal, ONE))
    for signal, watch in detectors.watches.items():
        if isinstance(watch, ScalarWatch):
            yield _scalar(watch, detectors.scalars.get(signal), detectors.since(signal, since), needed=needed)
        else:
            trials, shares = watch.stream.since(since)
            now = shares if trials else None
            parts = _classes(watch, now) if isinstance(watch, ClassWatch) else _features(watch, now, detectors.kind)
            yield _watched(watch, parts, count=int(trials), needed=needed)


def _watched(
    watch: Watch, parts: tuple[Part, ...], *, count: int, needed: float, histogram: Histogram | None = None
) -> Watched:
    """A figure whose normal and now are those of the part that says most, or of the median if it has one."""
    stream = watch.stream
    state = state_of(is_alarmed=stream.is_alarmed, learnt=_DONE, count=count)
    median = next((part for part in parts if part.label == "median"), None)
    shown = median or most_moved(parts, is_alarmed=stream.is_alarmed)
    return Watched(
        watch.signal,
        None,
        state,
        _DONE,
        reason="nothing that is like what was learnt came in the last minute" if state is State.BLIND else "",
        log_evalue=stream.log_evalue,
        needed=needed,
        unit=_UNITS.get(watch.signal, ONE),
        label=shown.label if shown else "",
        normal=shown.normal if shown else None,
        now=shown.now if shown else None,
        count=count,
        parts=parts,
        histogram=histogram,
    )


def _scalar(watch: ScalarWatch, known: Numbers | None, now: Numbers | None, *, needed: float) -> Watched:
    signal, adds, levels = watch.signal, watch.stream.contributions, _levels(known)
    parts = []
    for place, edge in enumerate(watch.edges):
        # Two bits speak of an edge: more than usual lies above it, or more does not.
        evidence = float(np.logaddexp(adds[place], adds[place + len(watch.edges)]))
        level = levels.get(int(edge), 1 - float(watch.stream.reference.rates[place]))
        label = f"p{level * 100:.3g}"
        if level == MEDIAN:  # and those of mean ranks
            label, evidence = "median", float(np.logaddexp.reduce([evidence, *adds[2 * len(watch.edges) :]]))
        after = None if now is None else quantile(signal, now, level)
        parts.append(Part(label, value_of(signal, int(edge) + 0.5), after, evidence))
    histogram = None if known is None else _merged(signal, known, now)
    count = 0 if now is None else int(now.sum())
    return _watched(watch, tuple(parts), count=count, needed=needed, histogram=histogram)


def _levels(known: Numbers | None) -> dict[int, float]:
    """By the bin in which it lies, the watched quantile that is nearest to the median."""
    levels: dict[int, float] = {}
    if known is not None:
        cumulative = np.cumsum(known, dtype=np.float64)
        for level in sorted(LEVELS, key=lambda one: abs(one - MEDIAN)):
            levels.setdefault(int(np.searchsorted(cumulative, level * cumulative[-1] * (1 - 1e-12))), level)
    return levels


def _merged(signal: Signal, known: Numbers, now: Numbers | None) -> Histogram:
    """At most ``MOST_BINS`` bins over where nearly all values lie, of the fine ones of :mod:`answers`."""
    both: list[Floats] = [counts / max(1, counts.sum()) for counts in (known, now) if counts is not None]
    cumulative = np.cumsum(np.mean(both, axis=0))
    low = int(np.searchsorted(cumulative, _TAIL))
    high = int(np.searchsorted(cumulative, (1 - _TAIL) * cumulative[-1]))
    step = math.ceil((high - low + 1) / MOST_BINS)
    ends = np.arange(low + step, high + 1, step)
    places = np.searchsorted(ends, np.arange(BINS), side="right")
    merged: list[Floats] = [np.bincount(places, share, len(ends) + 1).astype(np.float64) for share in both]
    edges = np.array([value_of(signal, float(end)) for end in ends])
    return Histogram(edges, merged[0], merged[1] if now is not None else None)


def _classes(watch: ClassWatch, now: Floats | None) -> tuple[Part, ...]:
    """Classes that come, or came."""
    rates, adds = watch.stream.reference.rates, watch.stream.contributions.copy()
    # Of those that aren't rare a second bit says that there is less of them.
    adds[watch.frequent] = np.logaddexp(adds[watch.frequent], adds[CLASSES:])
    return tuple(
        Part(f"class {number}", float(rates[number]), None if now is None else float(now[number]), float(adds[number]))
        for number in range(CLASSES)
        if rates[number] or (now is not None and now[number])
    )


def _features(watch: InputWatch, now: Floats | None, kind: str) -> tuple[Part, ...]:
    width = len(watch.edges)
    shape, bins = (width, INPUT_BINS), slice(width * INPUT_BINS)
    normal = watch.stream.reference.rates[bins].reshape(shape)
    after = None if now is None else now[bins].reshape(shape)
    # Each bin of a feature has a bit, and its mean rank two.
    adds, ranks = watch.stream.contributions[bins], watch.stream.contributions[bins.stop :]
    adds = np.logaddexp.reduce(np.concatenate([adds.reshape(shape), ranks.reshape(2, width).T], axis=1), axis=1)
    return tuple(
        Part(
            f"{kind} {number}",
            _median(edges, normal[number]),
            None if after is None else _median(edges, after[number]),
            float(adds[number]),
            Histogram(edges, normal[number], None if after is None else after[number]),
        )
        for number, edges in enumerate(watch.edges)
    )


def _median(edges: Floats, shares: Floats) -> float:
    """Median of values of which only the shares of bins are known; the outermost bins end where their edges are."""
    cumulative = np.concatenate([[0.0], np.cumsum(shares)])
    ends = np.concatenate([edges[:1], edges, edges[-1:]])
    place = int(np.searchsorted(cumulative[1:], 0.5 * cumulative[-1]))
    inside = (0.5 * cumulative[-1] - cumulative[place]) / max(float(shares[place]), 1e-12)
    return float(ends[place] + (ends[place + 1] - ends[place]) * inside)
