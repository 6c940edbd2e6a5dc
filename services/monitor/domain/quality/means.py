"""Means with intervals that hold at all times, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.monitor.domain.verdict.intervals import share_interval

ALPHA = 0.05
_TIGHTEST_AT = 500
"""Labels at which an asymptotic interval is as narrow as it can be."""
_LEAST_LABELS = 2


@dataclass(slots=True)
class Mean:
    """Number, mean and sum of squared differences (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    def interval(self, *, is_share: bool) -> tuple[float, float]:
        """Of shares (values of 0 or 1) it holds at any number of labels.

        Of other values it is asymptotic: that of a Gaussian mixture (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas:
        Time-uniform central limit theory and asymptotic confidence sequences, 2024).
        """
        if is_share:
            return share_interval(self.count * self.mean, self.count, alpha=ALPHA)
        if self.count < _LEAST_LABELS:
            return -math.inf, math.inf
        n, rho = self.count, _RHO_SQUARED
        deviation = math.sqrt(self.squares / n)
        half = deviation * math.sqrt(2 * (n * rho + 1) / (n * n * rho) * math.log(math.sqrt(n * rho + 1) / ALPHA))
        return self.mean - half, self.mean + half

    def dump(self) -> list[float]:
        return [self.count, self.mean, self.squares]

    @classmethod
    def load(cls, data: Sequence[float]) -> Mean:
        """Raises ValueError: the data are none of a mean."""
        count, mean, squares = data
        if count < 0 or not math.isfinite(mean) or not squares >= 0:
            raise ValueError(f"got {list(data)}, expected the number, mean and squares of a mean")
        return cls(int(count), float(mean), float(squares))


def _rho_squared(count: int) -> float:
    """The mixture's variance with which the interval is narrowest at so many labels."""
    log = -2 * math.log(ALPHA)
    return (log + math.log(log + 1)) / count


_RHO_SQUARED = _rho_squared(_TIGHTEST_AT)
