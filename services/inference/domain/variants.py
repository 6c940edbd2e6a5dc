"""Ways to load one and the same model, and which of those that were tried is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

ALONE = "alone."
"""Begins the options of a second copy of the model, which runs batches of a single row."""

LEAST_GAIN = 1.05
"""A variant must be so many times as fast as the original on the whole: less isn't worth another process."""
MOST_LOSS = 0.95
"""No batch size may be slower than this share of the original's speed."""
TIE = 0.05
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

    @property
    def is_compiled(self) -> bool:
        """Whether it is loaded from native code, which the node must have made of the file before."""
        return any(name.removeprefix(ALONE) == "compile" for name, _ in self.options)

    def split(self) -> tuple[Variant, Variant | None]:
        """The variant for batches, and the one for single rows where that is another."""
        alone = {name.removeprefix(ALONE): value for name, value in self.options if name.startswith(ALONE)}
        rest = {name: value for name, value in self.options if not name.startswith(ALONE)}
        return Variant.of(rest), Variant.of(alone) if alone else None

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
        return _mean(one.speedup for one in self.measurements)

    def speedup_at(self, *, is_alone: bool) -> float:
        """That of single rows only, or of batches only."""
        return _mean(one.speedup for one in self.measurements if (one.batch_rows == 1) is is_alone)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "variant": dict(self.variant.options)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Trial:
        measurements = tuple(Measurement(**one) for one in fields["measurements"])
        return cls(**{**fields, "variant": Variant.of(fields["variant"]), "measurements": measurements})


def _mean(speedups: Iterable[float]) -> float:
    given = list(speedups)
    return math.exp(math.fsum(map(math.log, given)) / len(given)) if given else 0.0


def slowness(measurements: Sequence[Measurement]) -> str:
    """Why a variant with these figures is not fast enough; empty when it is."""
    for one in measurements:
        if one.speedup < MOST_LOSS:
            return f"slower at batch {one.batch_rows}: {one.speedup:.2f} times the original's speed"
    speedup = _mean(one.speedup for one in measurements)
    return "" if speedup >= LEAST_GAIN else f"hardly faster: {speedup:.2f} times the original's speed"


def best(trials: Sequence[Trial]) -> Trial | None:
    """The fastest trial that was not refused, the earliest of equals; None when there is none."""
    fit = [trial for trial in trials if not trial.refusal]
    top = max((trial.speedup for trial in fit), default=0.0)
    return next((trial for trial in fit if trial.speedup >= top * (1 - TIE)), None)


def combined(trials: Sequence[Trial]) -> Variant | None:
    """The variant that runs single rows as the fastest at that, and batches as the fastest at those.

    None when that is nothing new. A variant that is slower elsewhere may take part; one that gave other outputs can't.
    """
    measured = [trial for trial in trials if len(trial.measurements) > 1]
    if not measured:
        return None
    alone = max(measured, key=lambda trial: trial.speedup_at(is_alone=True))
    batch = max(measured, key=lambda trial: trial.speedup_at(is_alone=False))
    many = batch.variant if batch.speedup_at(is_alone=False) >= 1.0 else ORIGINAL
    if alone.variant == many or alone.speedup_at(is_alone=True) < LEAST_GAIN:
        return None
    return Variant.of({**dict(many.options), **{ALONE + name: value for name, value in alone.variant.options}})
