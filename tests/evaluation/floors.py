"""How soon any detector at all could know: no detector is on average faster at the same rate of false alarms.

Lorden (Procedures for reacting to a change in distribution, Annals of Mathematical Statistics 42, 1971): with one false
alarm in ``run_length`` observations, the mean delay in the worst case is at least about ``ln(run_length) / KL``, where
KL is the Kullback-Leibler divergence of the law before from the law after, nats per observation. It holds for a
detector that knows both laws, which ours does not.

Here an observation is a request, so the monitor's run length, which counts seconds, is taken times the requests of one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.monitor.domain.evidence import Budget

RATE = 60.0
"""Requests a second of the scenarios that have a floor."""
NATS = Budget(false_alarms_per_week=1.0, series=200).threshold + math.log(RATE)
"""Logarithm of the run length that the monitor's default budget gives each detector, in requests."""


def of_share(before: float, after: float) -> float:
    """Requests, for a share of requests that goes from ``before`` to ``after``, both inside (0, 1)."""
    return of_mix([before, 1 - before], [after, 1 - after])


def of_mix(before: ArrayLike, after: ArrayLike) -> float:
    """Requests, for the shares of several kinds; of those before none is 0."""
    old, new = _shares(before), _shares(after)
    seen = new > 0
    return NATS / float((new[seen] * np.log(new[seen] / old[seen])).sum())


def of_shift(deviations: float) -> float:
    """Requests, for a normal figure whose mean moves by so many of its standard deviations."""
    return NATS / (deviations**2 / 2)


def _shares(values: ArrayLike) -> NDArray[np.float64]:
    shares = np.asarray(values, np.float64)
    if shares.ndim != 1 or (shares < 0).any() or not math.isclose(float(shares.sum()), 1.0, abs_tol=1e-9):
        raise ValueError(f"got shares {shares.tolist()}, expected non-negative ones that add up to 1")
    return shares
