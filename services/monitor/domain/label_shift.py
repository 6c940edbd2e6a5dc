"""Whether another mix of classes is the world's doing or the version's.

Where callers ask for other classes than before, which is a shift of labels, two things stay: confidence given the
class, and inputs given the class. So inputs must move just as the mix says. Where a version answers wrongly, they stay
where they were. Which of the two is so takes few inputs to tell, since both say where they are to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.answers import CLASSES, COARSE, Numbers
from services.monitor.domain.evidence import Floats

SAME_CONFIDENCE = 0.25
"""Shift of confidence given the class, in its standard deviations, up to which it is as before."""
SURE = math.log(20)
"""Evidence, in nats, from which on inputs decide."""
_LEAST_OF_CLASS = 20
_OFF, _FAR = 3.0, 4.0
"""Standard deviations of chance: of the shift of all classes together, and of the sum of squares of each one's own."""
_RIDGE = 0.05
"""Share of the variance of inputs that is taken for noise of their own: columns may repeat each other."""


@dataclass(slots=True)
class AskedFor:
    """Inputs of some requests: how many, and the sums of the places of their features among those learnt."""

    number: int
    sums: Floats


@dataclass(frozen=True, slots=True)
class ClassInputs:
    """Inputs by the class that was answered, as learnt. ``means`` [CLASSES, width]; NaN where a class hardly came."""

    mix: Floats
    means: Floats
    precision: Floats
    """Inverse of the covariance of inputs, [width, width]."""

    @classmethod
    def learnt(cls, places: NDArray[np.int64], classes: NDArray[np.int32]) -> Self | None:
        """Of requests with both; None where too few have a class, or no two classes came.

        ``places`` [requests, width] are bins that features are in: as telling as values, and no outlier is far away.
        """
        is_class = classes >= 0
        places, found = places[is_class], classes[is_class] % CLASSES
        counts = np.bincount(found, minlength=CLASSES)
        is_known = counts >= _LEAST_OF_CLASS
        if is_known.sum() < 2:
            return None
        sums = np.zeros((CLASSES, places.shape[1]))
        np.add.at(sums, found, places)
        means = np.full(sums.shape, np.nan)
        means[is_known] = sums[is_known] / counts[is_known, None]
        covariance = np.atleast_2d(np.cov(places, rowvar=False))
        covariance += np.diag(_RIDGE * np.maximum(np.diag(covariance), 1.0))
        return cls(counts / counts.sum(), means, np.linalg.inv(covariance).astype(np.float64))

    def evidence(self, mix: Floats, asked: AskedFor) -> float:
        """Logarithm of how much likelier these inputs are if the classes were asked for than if none else were.

        ``mix`` are the classes' shares now. Both hypotheses say where the inputs' mean is; it is taken for normal.
        """
        if not asked.number:
            return 0.0
        is_known = ~np.isnan(self.means[:, 0])
        before, now = self.mix * is_known, mix * is_known
        if not now.sum():
            return 0.0
        means = np.nan_to_num(self.means)
        usual = before @ means / before.sum()
        moved = now @ means / now.sum() - usual
        direction = self.precision @ moved
        return float(asked.number * (direction @ (asked.sums / asked.number - usual - moved / 2)))

    def dump(self) -> dict[str, Any]:
        is_known = ~np.isnan(self.means[:, 0])
        return {
            "mix": self.mix.tolist(),
            "known": np.flatnonzero(is_known).tolist(),
            "means": np.round(self.means[is_known], 3).tolist(),
            "precision": self.precision.tolist(),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        precision = np.array(data["precision"], np.float64)
        means = np.full((CLASSES, len(precision)), np.nan)
        means[data["known"]] = np.array(data["means"], np.float64)
        return cls(np.array(data["mix"], np.float64), means, precision)


def confidence_shift(before: Numbers, after: Numbers) -> float:
    """How far confidence given the class has moved, in its standard deviations; 0 where that can't be told from chance.

    Both are histograms of confidence by class. Each class' own shift counts, so that opposite ones don't make up for
    each other. Infinite where most answers are of classes that were hardly seen before.
    """
    seen = before.sum(axis=1) >= _LEAST_OF_CLASS
    now = after[seen].sum(axis=1).astype(np.float64)
    number = float(now.sum())
    if number < 0.7 * after.sum() or number < 1:
        return math.inf
    places = np.arange(COARSE)
    known, total = before[seen], before[seen].sum(axis=1)
    means = known @ places / total
    variances = np.maximum(known @ places**2 / total - means**2, 0.1)
    moves, came = after[seen] @ places - now * means, now > 0
    squares = moves[came] ** 2 / now[came]
    # Chance is in what was learnt, too.
    by_chance = variances[came] * (1 + now[came] / total[came])
    together = abs(float(moves.sum())) / number
    apart = math.sqrt(max(0.0, float((squares - by_chance).sum())) / number)
    classes = int(came.sum())
    is_one_off = float((squares / by_chance).sum()) >= classes + _FAR * math.sqrt(2 * classes)
    are_all_off = together >= _OFF * math.sqrt(float(now[came] @ by_chance)) / number
    if not (is_one_off or are_all_off):
        return 0.0
    return max(together, apart) / math.sqrt(float(now @ variances) / number)


def joined(parts: Sequence[AskedFor]) -> AskedFor:
    """All of them together; at least one."""
    return AskedFor(sum(one.number for one in parts), np.sum([one.sums for one in parts], axis=0))
