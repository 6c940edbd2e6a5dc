"""Evidence on many yes-or-no figures at once: is it above this quantile, is it this class, is it in this bin.

A slot brings ``trials`` observations and the share of each bit among them. Observations of a slot are no independent
trials, and neither are slots: so the spread of shares between slots, and between spells of slots, is learnt along with
the rates (overdispersion, as of quasi-binomial models), and a slot counts for as many trials as that leaves. Rates are
bet against from their upper confidence limits on, and a slot's evidence is capped, which only makes it weaker: so no
single odd second is an alarm. ``evidence.py`` says what makes it an e-detector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.evidence import Floats, upper_limits

ODDS: Floats = np.array([1.5, 2.5, 6.0, 40.0])
"""How much the odds are bet to have risen: from a slow drift to an outage."""
SPELLS = (1, 4, 12, 36)
"""Slots of which the spread is looked at together."""
MIN_SPELLS = 5
UNSEEN_SLOTS = 15
"""What is learnt of the spread is multiplied by 1, and this by the number of slots that were seen."""
QUARANTINE = 30
"""Slots after which one that led to no alarm was normal, and is learnt from too."""
MOST_LEARNT = 480
RECOVERY_SLOTS = 30
SLOTS_TO_ALARM = 2
SUSPICION = float(np.log(10))


@dataclass(frozen=True, slots=True)
class Nature:
    """What is known of bits before any is seen.

    ``least`` is the spread of independent trials: 1 of yes or no, which is the default, less of figures between 0 and
    1. What is found of it counts less so many ``deviations``, since the largest of several estimates would be too
    large, and is multiplied by ``safety``. Rises of the odds up to ``tolerated`` are nobody's alarm, however sure they
    are. ``weights`` are those of the bits in the average that is their e-value; all alike by default.
    """

    least: Floats | None = None
    weights: Floats | None = None
    deviations: float = 1.0
    safety: float = 1.2
    tolerated: float = 1.1


WAVERING = Nature()
"""Bits of durations, which have waves of all lengths."""
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
        return np.clip(np.maximum(self.limits, odds / (1 + odds)), 1e-6, 0.999)

    def dump(self) -> list[list[float]]:
        return [self.rates.tolist(), self.limits.tolist(), self.spread.tolist()]

    @classmethod
    def load(cls, data: list[list[float]]) -> BitReference:
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


class BitSlot(NamedTuple):
    """One slot of a stream of bits."""

    second: int
    trials: float
    shares: Floats


class BitStream:
    """Evidence on one set of bits. After an alarm it starts afresh, and says next that they are back."""

    def __init__(
        self,
        reference: BitReference,
        nature: Nature = WAVERING,
        *,
        threshold: float,
        history: int = 300,
    ) -> None:
        """``threshold`` in nats; ``history`` is how many slots are kept, to tell what has changed."""
        weights = np.ones(len(reference.rates)) if nature.weights is None else nature.weights
        self._log_weights = np.log(weights / weights.sum() / len(ODDS))[:, None]
        self._nature = nature
        self.reference = reference
        self.threshold = threshold
        self.is_alarmed = False
        self.log_evalue = 0.0
        self._log_m = np.zeros((len(reference.rates), len(ODDS)))
        self._began = np.zeros(self._log_m.shape, np.int64)
        self._raised: NDArray[np.bool_] = np.ones(len(reference.rates), np.bool_)
        self._slots: deque[BitSlot] = deque(maxlen=history)
        self._alarmed_second = 0
        self._learnt: list[tuple[float, NDArray[np.float32]]] | None = None
        self._refit_at = self._most_learnt = 0
        self._set(reference)

    @classmethod
    def learnt(
        cls,
        trials: Floats,
        shares: Floats,
        nature: Nature = WAVERING,
        *,
        threshold: float,
        history: int = 300,
        most_learnt: int = MOST_LEARNT,
    ) -> Self:
        """With the reference that :meth:`BitReference.fit` makes.

        It gets better, up to so many slots, and slow waves are learnt as well. Then it stays, so that a slow decline
        isn't learnt too.
        """
        stream = cls(BitReference.fit(trials, shares, nature), nature, threshold=threshold, history=history)
        stream._learnt = [(float(count), row.astype(np.float32)) for count, row in zip(trials, shares, strict=True)]
        stream._refit_at, stream._most_learnt = 2 * len(trials), most_learnt
        return stream

    def _set(self, reference: BitReference) -> None:
        self.reference = reference
        limits = reference.bet_against(self._nature.tolerated)
        odds = limits[:, None] / (1 - limits[:, None]) * ODDS
        rates = odds / (1 + odds)
        self._gain = np.log(rates / limits[:, None])
        self._loss = np.log((1 - rates) / (1 - limits[:, None]))
        self._limits = limits

    refit = _set
    """Go on with another reference, whose bits are the same."""

    @property
    def is_suspicious(self) -> bool:
        return self.is_alarmed or self.log_evalue > SUSPICION

    @property
    def limits(self) -> Floats:
        return self._limits

    def adopt_alarm(self) -> None:
        """Take over an alarm of before a restart."""
        self.is_alarmed = True

    def observe(self, second: int, trials: float, shares: Floats) -> bool:
        """Take a slot in; True if the stream went into alarm or came out of it."""
        self._slots.append(BitSlot(second, trials, shares))
        if self.is_alarmed:
            return self._has_recovered()
        effective = (trials / self.reference.spread)[:, None]
        share = shares[:, None]
        gained = np.minimum(
            effective * (share * self._gain + (1 - share) * self._loss), self.threshold / SLOTS_TO_ALARM + 1.0
        )
        self._began[self._log_m <= 0.0] = second
        self._log_m = np.maximum(self._log_m, 0.0) + gained
        self.log_evalue = self._log_average()
        self.is_alarmed = self.log_evalue >= self.threshold
        if self._learnt is not None and len(self._slots) > QUARANTINE:
            self._learn(self._slots[-QUARANTINE - 1])
        if self.is_alarmed:
            self._alarmed_second = second
            self._raised = self._log_m.max(axis=1) >= self._log_m.max() / 2
        return self.is_alarmed

    def _learn(self, slot: BitSlot) -> None:
        if self._learnt is None or self.is_alarmed:
            return
        self._learnt.append((slot.trials, slot.shares.astype(np.float32)))
        if len(self._learnt) >= self._refit_at:
            trials = np.array([count for count, _ in self._learnt])
            shares = np.stack([row for _, row in self._learnt]).astype(np.float64)
            self._set(BitReference.fit(trials, shares, self._nature))
            self._refit_at *= 2
            if self._refit_at > self._most_learnt:
                self._learnt = None

    @property
    def change_second(self) -> int:
        """When the strongest evidence began."""
        at = np.unravel_index(int(self._log_m.argmax()), self._log_m.shape)
        return int(self._began[at])

    @property
    def strongest(self) -> int:
        """The bit with the most evidence."""
        return int(self._log_m.max(axis=1).argmax())

    @property
    def contributions(self) -> Floats:
        """Logarithm of what each bit adds to the e-value."""
        return np.asarray(np.logaddexp.reduce(self._log_m + self._log_weights, axis=1))

    def _log_average(self) -> float:
        return float(np.logaddexp.reduce(self.contributions))

    def since(self, second: int) -> tuple[float, Floats]:
        """Trials, and the share of each bit among them, from a second on."""
        slots = [slot for slot in self._slots if slot.second >= second]
        total = sum(slot.trials for slot in slots)
        if not total:
            return 0.0, self.reference.rates
        return total, np.sum([slot.trials * slot.shares for slot in slots], axis=0) / total

    def interval(self, bit: int, second: int) -> tuple[float, float]:
        """95 % interval of a bit's rate from a second on (Wilson's, of the trials that are left after the spread)."""
        trials, shares = self.since(second)
        number, share, z = max(1.0, trials / float(self.reference.spread[bit])), float(shares[bit]), 1.96
        middle = (share + z * z / (2 * number)) / (1 + z * z / number)
        half = z * np.sqrt(share * (1 - share) / number + z * z / (4 * number**2)) / (1 + z * z / number)
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))

    def restart(self) -> None:
        """Start the evidence afresh, as after an alarm that was told."""
        self._log_m[:] = 0.0
        self.log_evalue = 0.0
        self._slots.clear()

    def _has_recovered(self) -> bool:
        recent = [slot for slot in self._slots if slot.second > self._alarmed_second][-RECOVERY_SLOTS:]
        if len(recent) < RECOVERY_SLOTS:
            return False
        trials = np.array([slot.trials for slot in recent])
        shares = trials @ np.stack([slot.shares for slot in recent]) / max(float(trials.sum()), 1e-9)
        # Beside the limit itself, as much as so few trials may be off by chance.
        noise = 2 * np.sqrt(self._limits * (1 - self._limits) * self.reference.spread / max(1.0, float(trials.sum())))
        self.is_alarmed = bool((shares > self._limits + noise)[self._raised].any())
        if not self.is_alarmed:
            self.restart()
        return not self.is_alarmed

    def dump(self) -> dict[str, Any]:
        """The running evidence, as plain JSON values."""
        return {
            "log_m": self._log_m.ravel().tolist(),
            "began": self._began.ravel().tolist(),
            "alarmed": self.is_alarmed,
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`; evidence on other bits is left out."""
        log_m, began = np.array(data["log_m"], np.float64), np.array(data["began"], np.int64)
        if log_m.size == began.size == self._log_m.size:
            self._log_m, self._began = log_m.reshape(self._log_m.shape), began.reshape(self._log_m.shape)
            self.log_evalue = self._log_average()
        self.is_alarmed = bool(data["alarmed"])
