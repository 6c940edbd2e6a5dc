"""Evidence that one mean is above another, valid at any time, for values in [0, 1] and rates that move together.

Per observation (a second, or a few with little traffic) candidate and baseline give ``n`` units, each with a value in
[0, 1], and ``k`` is the sum of an arm's values. As long as a unit's mean is no higher in the candidate than in the
baseline, given what came before, all of these have a mean of at most 1, whatever that mean is and however it moves:

- ``omega^k1 / c^(k1 + k2)`` with ``w = n1 / (n1 + n2)`` and ``c = 1 + w (omega - 1)``, if units are independent given
  the past: ``E <= exp(p (n1 (omega / c - 1) - n2 (1 - 1 / c))) = exp(0)``. For single failures it is the likelihood
  ratio of "the candidate fails omega times as often" given how many failed (compare Turner, Ly, Grünwald: Safe tests
  for 2 x 2 tables, 2024). Units may be requests of which ``s`` share a fate, counted as ``requests / s``.
- ``(1 + a (1 - c1))^k1 (1 - a c1)^(n1 - k1) (1 - b (1 - c2))^k2 (1 + b c2)^(n2 - k2)`` with ``n1 a = n2 b`` and centers
  ``c1 = c2`` that were chosen before, under the same condition: ``E <= exp(n1 a (p1 - c1) - n2 b (p2 - c2))``. With
  centers near the means these are the bets for small differences of what is common, a median or a class; with
  ``c1 = c2 + d`` for "the candidate's mean is above by at most ``d``".
- ``1 + stake (k1 / n1 - k2 / n2)``, however dependent the units of an observation are.

The product over observations is an e-process, and so is an average of products over several of these bets. A
part of the money is laid aside to begin anew at each observation, so that a candidate that breaks after an hour of good
conduct is found about as soon as one that is broken from the start; that costs ``ln(1 / share)`` nats.
By Ville's inequality an e-process exceeds ``1 / alpha`` ever with probability alpha at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ODDS: Floats = np.array([3.0, 10.0, 40.0])
"""Ratios of the means that are bet on."""
EFFECTS: Floats = np.array([0.15, 0.4, 0.9])
"""Differences of the means that are bet on, over the variance of a request."""
SHARES: Floats = np.array([0.15, 0.3, 0.3, 0.08, 0.09, 0.08])
"""How the money is laid on odds and effects: most on what has to be found soonest."""
PROOF_SHARES: Floats = np.array([0.3, 0.2, 0.05, 0.15, 0.15, 0.15])
"""The same where it is to be proven that nothing is wrong: margins are small."""
STAKES: Floats = np.array([0.3, 0.95])
STAKES_SHARE = 0.2
"""Share of the money that is laid on stakes, half on each, where there are any."""
FIRST_SHARE = 0.9
"""Share of the money that is laid on the first observation, where the rest is laid on later ones."""


_TINY = 1e-9


def restored(values: Any, like: Floats) -> Floats:
    """The reverse of ``tolist``, for an array of the shape of ``like``.

    Raises:
        ValueError: it is of another shape, or of no numbers.
    """
    found = np.array(values, np.float64)
    if found.shape != like.shape:
        raise ValueError(f"got figures of shape {found.shape}, expected {like.shape}")
    return found


class Race:
    """E-processes against "the candidate's mean is at most the baseline's", one for each of ``cells`` questions."""

    def __init__(
        self,
        cells: int,
        *,
        most_at_once: float,
        allowed: Floats | float = 0.0,
        horizon: int = 0,
        with_stakes: bool = False,
        is_proof: bool = False,
    ) -> None:
        """An observation adds at most ``most_at_once`` nats: a single bad second must not decide.

        ``allowed``: by how much the candidate's mean may be above the baseline's, by cell; negative where it must be
        below. ``horizon``: observations over which a part of the money is laid; 0 lays all on the first.
        ``with_stakes`` adds the bets that need no independent units. ``is_proof``: it is laid on small differences.
        """
        self._most = most_at_once
        self._allowed = np.broadcast_to(np.asarray(allowed, np.float64), (cells,))
        self._sums, self._units = np.zeros((2, cells)), np.zeros(2)
        self._stakes = STAKES if with_stakes else STAKES[:0]
        shares, stakes = PROOF_SHARES if is_proof else SHARES, self._stakes
        if with_stakes:
            shares, stakes = shares * (1.0 - STAKES_SHARE), np.full(len(STAKES), STAKES_SHARE / len(STAKES))
        self._log_shares = np.log(np.concatenate([shares, stakes]))
        self._aside = 1.0 - FIRST_SHARE if horizon else 0.0
        self._portion = self._aside / horizon if horizon else 0.0
        self._log_m = np.tile(self._log_shares + math.log(1.0 - self._aside), (cells, 1))
        self.best: Floats = np.zeros(cells)
        """The greatest evidence there ever was, in nats."""

    @property
    def log_evalues(self) -> Floats:
        """Nats, by cell."""
        top = self._log_m.max(axis=1)
        laid = top + np.log(np.exp(self._log_m - top[:, None]).sum(axis=1))
        return laid if self._aside <= 0 else np.logaddexp(laid, math.log(self._aside))

    def observe(
        self,
        candidate: Floats,
        candidate_units: float,
        baseline: Floats,
        baseline_units: float,
        *,
        damping: float = 1.0,
    ) -> None:
        """Take the sums of an observation in, by cell; nothing is learnt where an arm has no units.

        ``damping``: observations that count as one, for the bets that need no independent units.
        """
        if candidate_units <= 0 or baseline_units <= 0:
            return
        if self._portion and self._aside > 0:
            portion = min(self._portion, self._aside)
            self._aside -= portion
            self._log_m = np.logaddexp(self._log_m, self._log_shares + math.log(portion))
        weight = candidate_units / (candidate_units + baseline_units)
        gains = [
            self._of_odds(candidate, candidate_units, baseline, baseline_units, weight),
            self._of_effects(candidate, candidate_units, baseline, baseline_units, weight),
        ]
        if len(self._stakes):
            difference = (candidate / candidate_units - baseline / baseline_units - self._allowed) / damping
            gains.append(np.log1p(self._stakes * np.maximum(difference, -1.0)[:, None]))
        self._log_m += np.minimum(np.concatenate(gains, axis=1), self._most)
        self.best = np.maximum(self.best, self.log_evalues)
        self._sums = self._sums + np.stack([candidate, baseline])
        self._units = self._units + np.array([candidate_units, baseline_units])

    def _of_odds(
        self, candidate: Floats, candidate_units: float, baseline: Floats, baseline_units: float, weight: float
    ) -> Floats:
        # A constant on top of the values keeps the bound: exp(theta) >= 1 + theta.
        first = candidate + candidate_units * np.maximum(-self._allowed, 0.0)
        second = baseline + baseline_units * np.maximum(self._allowed, 0.0)
        norm = np.log1p(weight * (ODDS - 1.0))
        return np.asarray(first[:, None] * np.log(ODDS) - (first + second)[:, None] * norm)

    def _of_effects(
        self, candidate: Floats, candidate_units: float, baseline: Floats, baseline_units: float, weight: float
    ) -> Floats:
        if not self._units.all():
            return np.zeros((len(candidate), len(EFFECTS)))
        means = (self._sums + 0.5) / (self._units + 1.0)[:, None]
        allowed = self._allowed
        low, high = np.maximum(0.0, -allowed) + _TINY, np.minimum(1.0, 1.0 - allowed) - _TINY
        second = np.clip(weight * (means[0] - allowed) + (1.0 - weight) * means[1], low, high)[:, None]
        first = second + allowed[:, None]
        more, less = EFFECTS * (1.0 - weight), EFFECTS * weight
        return np.asarray(
            candidate[:, None] * np.log1p(more * (1.0 - first))
            + (candidate_units - candidate)[:, None] * np.log1p(-more * first)
            + baseline[:, None] * np.log1p(-less * (1.0 - second))
            + (baseline_units - baseline)[:, None] * np.log1p(less * second)
        )

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "log_m": self._log_m.tolist(),
            "aside": self._aside,
            "best": self.best.tolist(),
            "sums": self._sums.tolist(),
            "units": self._units.tolist(),
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`, into a race made with the same arguments.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        log_m, best = restored(data["log_m"], self._log_m), restored(data["best"], self.best)
        self._sums, self._units = restored(data["sums"], self._sums), restored(data["units"], self._units)
        self._log_m, self.best, self._aside = log_m, best, float(data["aside"])


class Difference:
    """What is known of ``candidate's mean - baseline's``, by tests at a grid of differences, both ways.

    ``above`` against "the difference is at most this", ``below`` against "at least this".
    """

    def __init__(self, grid: Floats, *, most_at_once: float, horizon: int) -> None:
        self.grid = grid
        self.above = Race(len(grid), most_at_once=most_at_once, allowed=grid, horizon=horizon)
        self.below = Race(len(grid), most_at_once=most_at_once, allowed=-grid, is_proof=True)
        self._same = np.ones(len(grid))

    def observe(self, candidate: float, candidate_units: float, baseline: float, baseline_units: float) -> None:
        """Sums of values in [0, 1] over so many units."""
        first, second = candidate * self._same, baseline * self._same
        self.above.observe(first, candidate_units, second, baseline_units)
        self.below.observe(second, baseline_units, first, candidate_units)

    def at(self, difference: float) -> int:
        """Where in the grid a difference is that was put into it."""
        return int(np.abs(self.grid - difference).argmin())

    def interval(self, alpha: float) -> tuple[float, float]:
        """Bounds of the difference, each of which is wrong ever with probability alpha."""
        needed = math.log(1 / alpha)
        lower = self.grid[self.above.best >= needed]
        upper = self.grid[self.below.best >= needed]
        return float(lower.max(initial=-1.0)), float(upper.min(initial=1.0))

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"above": self.above.dump(), "below": self.below.dump()}

    def load(self, data: Mapping[str, Any]) -> None:
        self.above.load(data["above"])
        self.below.load(data["below"])


_STEPS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)


def grid_with(*differences: float) -> Floats:
    """The differences that are tested: steps that people count in, and those asked for."""
    return np.unique([0.0, *_STEPS, *(-step for step in _STEPS), *differences])


_LIMIT_ODDS: Floats = np.array([1.5, 3.0, 10.0, 40.0])


class Limit:
    """E-processes against "the share is at most ``limit``", and against "at least", for a limit known beforehand."""

    def __init__(self, limit: float, *, most_at_once: float) -> None:
        self._limit, self._most = limit, most_at_once
        higher = np.minimum(limit * _LIMIT_ODDS, (1.0 + limit) / 2)
        self._rates = np.stack([higher, limit / _LIMIT_ODDS])
        self._log_m = np.zeros(self._rates.shape)
        self.best: Floats = np.zeros(2)
        """The greatest evidence there ever was, in nats: that the share is above the limit, below it."""

    @property
    def log_evalues(self) -> Floats:
        """Nats: that the share is above the limit, below it."""
        return np.asarray(np.logaddexp.reduce(self._log_m, axis=1) - math.log(len(_LIMIT_ODDS)))

    def observe(self, total: float, units: float) -> None:
        gains = total * np.log(self._rates / self._limit)
        gains += (units - total) * np.log((1.0 - self._rates) / (1.0 - self._limit))
        self._log_m += np.minimum(gains, self._most)
        self.best = np.maximum(self.best, self.log_evalues)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"log_m": self._log_m.tolist(), "best": self.best.tolist()}

    def load(self, data: Mapping[str, Any]) -> None:
        self._log_m, self.best = restored(data["log_m"], self._log_m), restored(data["best"], self.best)
