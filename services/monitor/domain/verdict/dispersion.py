"""How one version's requests and seconds move together, learnt from earlier seconds, for what is said of it alone."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LEAST_SECONDS = 6
"""Seconds before what was learnt is believed."""
LEAST_EXCEEDANCES = 5.0
HELD_BACK = 30
"""The newest seconds are not learnt from yet: a candidate that breaks must not pass for a noisy one."""
GREATEST_CORRELATION = 0.9


@dataclass(slots=True)
class Dispersion:
    """Of a share over seconds: its variance over that of independent units, and its correlation with the second before.

    ``squares``: sum of ``total ** 2 / units``; ``products`` and ``deviations``: sums of products of successive
    deviations from the mean so far, and of their squares.
    """

    seconds: int = 0
    units: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    deviations: float = 0.0
    _previous: float = 0.0
    _held: deque[tuple[float, float]] = field(default_factory=deque)

    def size(self, units: float) -> float:
        """Units that count as one, of so many in a second."""
        whole = max(units, 1.0)
        if self.seconds < LEAST_SECONDS or not LEAST_EXCEEDANCES <= self.total <= self.units - LEAST_EXCEEDANCES:
            return whole * self.inflation
        share = self.total / self.units
        excess = self.squares - self.total**2 / self.units
        ratio = excess / (self.seconds - 1) / (share * (1.0 - share))
        return min(max(1.0, ratio * (1.0 + 2.0 * math.sqrt(2.0 / self.seconds))), whole) * self.inflation

    @property
    def inflation(self) -> float:
        """Seconds that count as one: the variance of a mean over many, were noise an autoregression."""
        if self.seconds < LEAST_SECONDS or self.deviations <= 0:
            return 1.0
        correlation = min(max(self.products / self.deviations, 0.0), GREATEST_CORRELATION)
        return (1.0 + correlation) / (1.0 - correlation)

    def add(self, total: float, units: float, *, is_suspicious: bool) -> None:
        """Take a second in; but for the first, none is learnt while the candidate seems to be worse."""
        if is_suspicious and self.seconds >= LEAST_SECONDS:
            self._held.clear()
            return
        self._held.append((total, units))
        while len(self._held) > min(HELD_BACK, max(0, self.seconds - LEAST_SECONDS)):
            self._learn(*self._held.popleft())

    def _learn(self, total: float, units: float) -> None:
        deviation = total / units - self.total / self.units if self.units else 0.0
        self.products += deviation * self._previous
        self.deviations += deviation * deviation
        self._previous = deviation
        self.seconds += 1
        self.units += units
        self.total += total
        self.squares += total * total / units

    def dump(self) -> list[Any]:
        """As plain JSON values."""
        sums = [self.seconds, self.units, self.total, self.squares, self.products, self.deviations, self._previous]
        return [*sums, list(self._held)]

    @classmethod
    def load(cls, data: Sequence[Any]) -> Dispersion:
        *sums, held = data
        dispersion = cls(*sums)
        dispersion._held.extend((total, units) for total, units in held)
        return dispersion
