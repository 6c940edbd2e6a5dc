"""Ways to load one and the same model, and which of those that were tried is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

LEAST_GAIN = 1.05
"""A variant must be so many times as fast as the original on the whole: less isn't worth another process."""
MOST_LOSS = 0.95
"""No batch size may be slower than this share of the original's speed."""
TIE = 0.02
"""Variants whose speed-ups differ by less are equally fast: the one that was tried first wins."""


class Level(IntEnum):
    """How far a search goes; the numbers are those of OptimizationLevel."""

    OFF = 1
    FAST = 2
    FULL = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """The options that a backend loads a model with, sorted by name. Without any it is the original."""

    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Variant:
        return cls(tuple(sorted(options.items())))

    def with_option(self, name: str, value: str) -> Variant:
        return Variant.of({**dict(self.options), name: value})

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.options) or "original"


ORIGINAL = Variant()


@dataclass(frozen=True, slots=True)
class Measurement:
    """The speed of a variant at one batch size, measured in turns with the original."""

    batch_rows: int
    rows_per_second: float
    original_rows_per_second: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Trial:
    """How a variant fared. ``refusal`` says why it can't be chosen, empty when it can."""

    variant: Variant
    refusal: str = ""
    measurements: tuple[Measurement, ...] = ()
    relative_error: float = 0.0
    top_agreement: float = 1.0

    @property
    def speedup(self) -> float:
        """The geometric mean over the batch sizes; 0 when it was not measured."""
        if not self.measurements:
            return 0.0
        return math.exp(math.fsum(math.log(one.speedup) for one in self.measurements) / len(self.measurements))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "variant": dict(self.variant.options)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Trial:
        measurements = tuple(Measurement(**one) for one in fields["measurements"])
        return cls(**{**fields, "variant": Variant.of(fields["variant"]), "measurements": measurements})


def slowness(measurements: Iterable[Measurement]) -> str:
    """Why a variant with these figures is not fast enough; empty when it is."""
    for one in measurements:
        if one.speedup < MOST_LOSS:
            return f"slower at batch {one.batch_rows}: {one.speedup:.2f} times the original's speed"
    speedup = Trial(ORIGINAL, measurements=tuple(measurements)).speedup
    return "" if speedup >= LEAST_GAIN else f"hardly faster: {speedup:.2f} times the original's speed"


def best(trials: Sequence[Trial]) -> Trial | None:
    """The fastest trial that was not refused, the earliest of equals; None when there is none."""
    fit = [trial for trial in trials if not trial.refusal]
    top = max((trial.speedup for trial in fit), default=0.0)
    return next((trial for trial in fit if trial.speedup >= top * (1 - TIE)), None)
