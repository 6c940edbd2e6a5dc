"""What is normal of many yes-or-no figures at once, and how much they waver by themselves.

Observations of a slot are no independent trials, and neither are slots: so the spread of shares between slots, and
between spells of slots, is learnt along with the rates (overdispersion, as of quasi-binomial models). Rates are bet
against from their upper confidence limits on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.monitor.domain.evidence import Floats, upper_limits

SPELLS = (1, 4, 12, 36)
"""Slots of which the spread is looked at together."""
MIN_SPELLS = 5
CLEAR = 0.75
"""A share that no wave reaches: nearly all are beyond what few were."""
UNSEEN_SLOTS = 15
"""What is learnt of the spread is multiplied by a nature's ``safety``, and by this over the slots seen on top of it."""
_LEAST_LIMIT, _GREATEST_LIMIT = 1e-6, 1 - 1e-12
"""Only for the sake of logarithms: a limit below the rate would be bet against for ever."""


@dataclass(frozen=True, slots=True)
class Nature:
    """What is known of bits before any is seen.

    ``least`` is the spread of independent trials: 1 of yes or no, which is the default, less of figures between 0 and
    1. What is found of it counts less so many ``deviations``, since the largest of several estimates would be too
    large, and is multiplied by ``safety``. Rises of the odds up to ``tolerated`` are nobody's alarm, however sure they
    are. ``weights`` are those of the bits in the average that is their evidence; all alike by default. An alarm takes
    ``slots`` at least, and ``unclear_slots`` where shares stay below :data:`CLEAR`: noise lasts for seconds as well.
    """

    least: Floats | None = None
    weights: Floats | None = None
    deviations: float = 1.0
    safety: float = 1.2
    tolerated: float = 1.1
    slots: int = 2
    unclear_slots: int = 2


WAVERING = Nature()
"""Bits of durations, which have waves of all lengths."""
PATIENT = Nature(unclear_slots=10)
"""Bits of one's durations beside others': its waves are its own."""
STEADY = Nature(deviations=2.0, safety=1.05, tolerated=1.05)
"""Bits of answers, which depend on each other far less."""


@dataclass(frozen=True, slots=True)
class BitReference:
    """What is normal of bits: their rates, the limits that are bet against, and trials per independent one."""

    rates: Floats
    limits: Floats
    spread: Floats

    @classmethod
    def fit(cls, trials: Floats, shares: Floats, nature: Nature = WAVERING, *, risk: float = 0.01) -> BitReference:
        """Of normal slots in order: ``trials`` [slots], ``shares`` [slots, bits]."""
        total = float(trials.sum())
        rates = trials @ shares / total
        spread = _spread(trials, shares, rates, nature)
        limits = upper_limits(rates, total / spread, risk=risk / len(rates))
        return cls(rates, limits, spread)

    def bet_against(self, tolerated: float) -> Floats:
        """Limits that nothing below is bet against: what isn't known of the rates, or what is nobody's alarm."""
        odds = tolerated * self.rates / np.maximum(1 - self.rates, 1e-12)
        return np.clip(np.maximum(self.limits, odds / (1 + odds)), _LEAST_LIMIT, _GREATEST_LIMIT)

    def dump(self) -> list[list[float]]:
        return [self.rates.tolist(), self.limits.tolist(), self.spread.tolist()]

    @classmethod
    def load(cls, data: list[list[float]]) -> BitReference:
        """Raises ValueError: the rows are not of equally many bits."""
        rates, limits, spread = (np.array(row, np.float64) for row in data)
        if not len(rates) == len(limits) == len(spread):
            raise ValueError("a reference's arrays differ in length")
        return cls(rates, limits, spread)


def _spread(trials: Floats, shares: Floats, rates: Floats, nature: Nature) -> Floats:
    """Pearson's dispersion of each bit, the largest over spells of slots, and at least that of independent trials."""
    least = np.ones(len(rates)) if nature.least is None else nature.least
    variance = np.maximum(rates * (1 - rates), 1.0 / max(1.0, float(trials.sum()))) * least
    surplus = np.ones(len(rates))
    for spell in SPELLS:
        spells = len(trials) // spell
        if spells < MIN_SPELLS:
            break
        used = spells * spell
        counts = trials[:used].reshape(spells, spell).sum(axis=1)
        hits = (trials[:used, None] * shares[:used]).reshape(spells, spell, -1).sum(axis=1)
        means = hits / np.maximum(counts, 1e-9)[:, None]
        found = (counts[:, None] * (means - rates) ** 2).sum(axis=0) / variance / (spells - 1)
        surplus = np.maximum(surplus, found / (1 + nature.deviations * np.sqrt(2 / (spells - 1))))
    # What is rare, or was always so, says little by itself of how it clusters.
    surplus = np.maximum(surplus, float(np.median(surplus)))
    return np.asarray(surplus * least * (nature.safety + UNSEEN_SLOTS / len(trials)))
