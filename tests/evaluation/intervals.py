"""Exact intervals of counts at 95 %, by bisection on the tails."""

from __future__ import annotations

import math
from collections.abc import Callable

_RISK = 0.025
"""Of each side."""


def of_share(count: int, total: int) -> tuple[float, float]:
    """Clopper's and Pearson's interval of a share of which ``count`` of ``total`` were seen; (0, 1) of none.

    Clopper, Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika 1934.
    """
    if not 0 <= count <= total:
        raise ValueError(f"got {count} of {total}, expected a count between 0 and the total")

    def at_most(most: int, share: float) -> float:
        if not 0 < share < 1:
            return float(share <= 0)
        chances = (
            math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
            + k * math.log(share) + (total - k) * math.log1p(-share)
            for k in range(most + 1)
        )  # fmt: skip
        return sum(map(math.exp, chances))

    low = 0.0 if not count else _root(lambda p: 1 - at_most(count - 1, p) - _RISK, 0.0, 1.0)
    high = 1.0 if count == total else _root(lambda p: _RISK - at_most(count, p), 0.0, 1.0)
    return low, high


def of_count(count: int) -> tuple[float, float]:
    """Garwood's interval of a Poisson mean of which ``count`` events were seen.

    Garwood: Fiducial limits for the Poisson distribution, Biometrika 1936.
    """
    if count < 0:
        raise ValueError(f"got {count} events, expected at least 0")
    most = 2.0 * count + 20.0

    def at_most(limit: int, mean: float) -> float:
        if mean <= 0:
            return 1.0
        return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(limit + 1))

    low = 0.0 if not count else _root(lambda m: 1 - at_most(count - 1, m) - _RISK, 0.0, most)
    return low, _root(lambda m: _RISK - at_most(count, m), 0.0, most)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
