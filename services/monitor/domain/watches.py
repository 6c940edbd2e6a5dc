"""What is normal of answers and inputs, learnt from a version's own first traffic, and the bits that leave it.

A scalar is watched by whether it lies above, or not above, five quantiles, and by its mean rank among what was learnt,
which a small move of all values shows soonest, of confidence also among what was learnt of the same class; classes by
how often each comes; inputs by how often each of their features, or projections, falls into one of sixteen bins that
were equally full, and by its mean bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.answers import BINS, CLASSES, COARSE, Answers
from services.monitor.domain.bit_reference import STEADY, Nature
from services.monitor.domain.bits import BitStream
from services.monitor.domain.evidence import Floats
from services.monitor.domain.phases import Signal

LEARN_SLOTS = 60
LEARN_TRIALS = 500
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
INPUT_BINS = 16
LEAST_SHARE = 0.01
"""Classes that come more rarely can't be missed."""
_ON_RARE = 0.1
"""What is bet on those, of what is bet on the others."""
_OF_CLASSES = {"history": 120}
_OF_INPUTS = {"history": 60, "most_learnt": 128}
"""Slots that their streams keep, and learn from at most: they are large."""


class ScalarWatch:
    """Bits of one scalar. ``edges`` are the last bins that don't lie above, ``ranks`` those of each bin, 0 to 1.

    ``class_ranks`` are those of each coarse bin among the answers of its class, [CLASSES, COARSE]; only confidence has
    them. Classes differ in it, so that a small move shows sooner among a class' own.
    """

    def __init__(
        self, signal: Signal, edges: NDArray[np.int64], ranks: Floats, class_ranks: Floats | None, stream: BitStream
    ) -> None:
        self.signal = signal
        self.edges = edges
        self.ranks = ranks
        self.class_ranks = class_ranks
        self.stream = stream

    @classmethod
    def learnt(cls, signal: Signal, slots: list[Answers], *, threshold: float) -> Self:
        counts = np.stack([slot.scalars[signal] for slot in slots if signal in slot.scalars]).astype(np.float64)
        total = counts.sum(axis=0)
        cumulative = np.cumsum(total)
        edges = np.unique(np.searchsorted(cumulative, np.array(LEVELS) * cumulative[-1] * (1 - 1e-12)))
        ranks = (cumulative - total / 2) / cumulative[-1]
        class_ranks = _class_ranks(slots) if signal is Signal.CONFIDENCE else None
        trials = counts.sum(axis=1)
        shares = np.stack(
            [_shares(slot, signal, edges, ranks, class_ranks) for slot in slots if signal in slot.scalars]
        )
        nature = _of_answers(2 * len(edges), shares.shape[1] - 2 * len(edges))
        stream = BitStream.learnt(trials, shares, nature, threshold=threshold)
        return cls(signal, edges, ranks, class_ranks, stream)

    def bits(self, answers: Answers) -> tuple[float, Floats]:
        """Trials, and the share of each bit."""
        counts = answers.scalars.get(self.signal)
        if counts is None or not counts.any():
            return 0.0, self.stream.reference.rates
        return float(counts.sum()), _shares(answers, self.signal, self.edges, self.ranks, self.class_ranks)

    def dump(self) -> dict[str, Any]:
        return {
            "edges": self.edges.tolist(),
            "ranks": np.round(self.ranks, 5).tolist(),
            "class_ranks": None if self.class_ranks is None else np.round(self.class_ranks, 3).tolist(),
            **self.stream.dump(),
        }

    @classmethod
    def load(cls, signal: Signal, data: Mapping[str, Any], *, threshold: float) -> Self:
        edges, ranks = np.array(data["edges"], np.int64), np.array(data["ranks"], np.float64)
        class_ranks = data["class_ranks"]
        if class_ranks is not None:
            class_ranks = np.array(class_ranks, np.float64).reshape(CLASSES, COARSE)
        bits = 2 * len(edges), 2 if class_ranks is None else 4
        stream = BitStream.restored(data, _of_answers(*bits), bits=sum(bits), threshold=threshold)
        return cls(signal, edges, ranks, class_ranks, stream)


def _class_ranks(slots: list[Answers]) -> Floats | None:
    """Where each bin of confidence lies among those of its class, 0 to 1; half way where a class never came."""
    known = [slot.class_confidence for slot in slots if slot.class_confidence is not None]
    if not known:
        return None
    total = np.sum(known, axis=0, dtype=np.float64)
    cumulative = np.cumsum(total, axis=1)
    count = cumulative[:, -1:]
    return np.where(count > 0, (cumulative - total / 2) / np.maximum(count, 1), 0.5)


def _shares(
    answers: Answers, signal: Signal, edges: NDArray[np.int64], ranks: Floats, class_ranks: Floats | None
) -> Floats:
    """Shares above each edge, and of the rest; mean ranks, and what each lacks of 1."""
    counts = answers.scalars[signal].astype(np.float64)
    cumulative = np.cumsum(counts)
    above = 1 - cumulative[np.minimum(edges, BINS - 1)] / cumulative[-1]
    means = [float(ranks @ counts / cumulative[-1])]
    if class_ranks is not None:
        by_class = answers.class_confidence
        if by_class is None or not by_class.any():
            means.append(means[0])
        else:
            means.append(float((class_ranks * by_class).sum() / by_class.sum()))
    return np.concatenate([above, 1 - above, means, 1 - np.array(means)])


def _of_answers(bits: int, ranks: int) -> Nature:
    """So many bits, and mean ranks, which are even between 0 and 1 and get half of what is bet."""
    least = np.repeat([1.0, 1 / 3], [bits, ranks])
    weights = np.repeat([1 / bits, 1 / ranks], [bits, ranks])
    return replace(STEADY, least=least, weights=weights)


class ClassWatch:
    """Bits of the classes: each one's share, and of those that are not rare also of all but it."""

    signal = Signal.CLASS_MIX

    def __init__(self, frequent: NDArray[np.int64], stream: BitStream) -> None:
        self.frequent = frequent
        self.stream = stream

    @classmethod
    def learnt(cls, slots: list[Answers], *, threshold: float) -> Self:
        counts = np.stack([slot.classes for slot in slots if slot.classes is not None]).astype(np.float64)
        total = counts.sum(axis=0)
        frequent = np.flatnonzero(total >= LEAST_SHARE * total.sum())
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        shares = np.concatenate([shares, 1 - shares[:, frequent]], axis=1)
        trials = counts.sum(axis=1)
        stream = BitStream.learnt(trials, shares, cls._nature(frequent), threshold=threshold, **_OF_CLASSES)
        return cls(frequent, stream)

    @staticmethod
    def _nature(frequent: NDArray[np.int64]) -> Nature:
        """Most is bet on classes that aren't rare, of which there are few."""
        rare = np.setdiff1d(np.arange(CLASSES), frequent)
        weights = np.full(CLASSES + len(frequent), 1 / max(1, 2 * len(frequent)))
        weights[rare] = _ON_RARE / max(1, len(rare))
        return replace(STEADY, weights=weights)

    def bits(self, answers: Answers) -> tuple[float, Floats]:
        """Trials, and the share of each bit."""
        counts = answers.classes
        if counts is None or not counts.any():
            return 0.0, self.stream.reference.rates
        shares = counts / counts.sum()
        return float(counts.sum()), np.concatenate([shares, 1 - shares[self.frequent]])

    def class_of(self, bit: int) -> int:
        return bit if bit < CLASSES else int(self.frequent[bit - CLASSES])

    def dump(self) -> dict[str, Any]:
        return {"frequent": self.frequent.tolist(), **self.stream.dump()}

    @classmethod
    def load(cls, data: Mapping[str, Any], *, threshold: float) -> Self:
        frequent = np.array(data["frequent"], np.int64)
        bits, nature = CLASSES + len(frequent), cls._nature(frequent)
        return cls(frequent, BitStream.restored(data, nature, bits=bits, threshold=threshold, **_OF_CLASSES))


class InputWatch:
    """Bits of inputs: each bin of each feature. ``edges`` are [width, bins - 1]; a bin ends with its edge."""

    signal = Signal.INPUTS

    def __init__(self, edges: Floats, stream: BitStream) -> None:
        self.edges = edges
        self.stream = stream

    @classmethod
    def learnt(cls, slots: list[NDArray[np.float32]], *, threshold: float) -> Self:
        rows = np.concatenate(slots)
        levels = np.arange(1, INPUT_BINS) / INPUT_BINS
        edges = np.quantile(rows, levels, axis=0, method="inverted_cdf").T.astype(np.float64)
        trials = np.array([len(slot) for slot in slots], np.float64)
        shares = np.stack([_occupancy(_places(slot, edges)) for slot in slots])
        nature = _of_answers(INPUT_BINS * len(edges), 2 * len(edges))
        stream = BitStream.learnt(trials, shares, nature, threshold=threshold, **_OF_INPUTS)
        return cls(edges, stream)

    def places(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Which bin each feature is in, [requests, width]; nothing of requests of another width."""
        if not len(rows) or rows.shape[1] != len(self.edges):
            return np.zeros((0, len(self.edges)), np.int64)
        return _places(rows, self.edges)

    def bits(self, places: NDArray[np.int64]) -> tuple[float, Floats]:
        """Trials, and the share of each bin of each feature."""
        if not len(places):
            return 0.0, self.stream.reference.rates
        return float(len(places)), _occupancy(places)

    def moved(self, second: int) -> list[int]:
        """Features, the one that moved most first."""
        _, shares = self.stream.since(second)
        moved = np.abs(shares - self.stream.reference.rates)[: INPUT_BINS * len(self.edges)]
        distance = moved.reshape(len(self.edges), INPUT_BINS).sum(axis=1) / 2
        return [int(at) for at in np.argsort(-distance)]

    def distance(self, second: int, feature: int) -> float:
        """Total variation distance of a feature's bins since a second from what they were."""
        _, shares = self.stream.since(second)
        part = slice(feature * INPUT_BINS, (feature + 1) * INPUT_BINS)
        return float(np.abs(shares - self.stream.reference.rates)[part].sum() / 2)

    def dump(self) -> dict[str, Any]:
        return {"edges": self.edges.tolist(), **self.stream.dump()}

    @classmethod
    def load(cls, data: Mapping[str, Any], *, threshold: float) -> Self:
        edges = np.array(data["edges"], np.float64).reshape(-1, INPUT_BINS - 1)
        bits = INPUT_BINS * len(edges), 2 * len(edges)
        nature = _of_answers(*bits)
        return cls(edges, BitStream.restored(data, nature, bits=sum(bits), threshold=threshold, **_OF_INPUTS))


def _places(rows: NDArray[np.float32], edges: Floats) -> NDArray[np.int64]:
    return np.asarray((rows[:, :, None] > edges[None, :, :]).sum(axis=2), np.int64)


def _occupancy(places: NDArray[np.int64]) -> Floats:
    """Share of rows in each bin of each feature, [width x bins]; mean bins, 0 to 1, and what they lack of 1."""
    number, width = places.shape
    flat = (places + np.arange(width) * INPUT_BINS).ravel()
    ranks = places.mean(axis=0) / (INPUT_BINS - 1)
    return np.concatenate([np.bincount(flat, minlength=width * INPUT_BINS) / number, ranks, 1 - ranks])


Watch = ScalarWatch | ClassWatch | InputWatch
