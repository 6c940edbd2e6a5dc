"""Evidence on many yes-or-no figures at once: is it above this quantile, is it this class, is it in this bin.

A slot brings ``trials`` observations and the share of each bit among them, and counts for as many independent trials
as the learnt spread leaves (``bit_reference.py``): what is bet is the likelihood ratio of so many. So how rare false
alarms are rests on a spread that isn't too low, and not, as in ``evidence.py``, on the mean alone. A slot's evidence is
capped, which only makes it weaker: no single odd second is an alarm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.bit_reference import CLEAR, WAVERING, BitReference, Nature
from services.monitor.domain.evidence import QUARANTINE, RECOVERY_SLOTS, Evidence, Floats
from services.monitor.domain.findings import Alarm
from services.monitor.domain.phases import Signal

ODDS: Floats = np.array([1.5, 2.5, 6.0, 40.0])
"""How much the odds are bet to have risen: from a slow drift to an outage."""
MOST_LEARNT = 480


class BitSlot(NamedTuple):
    """One slot of a stream of bits."""

    second: int
    trials: float
    shares: Floats


class BitStream(Evidence):
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
        bits = len(reference.rates)
        super().__init__(bits, len(ODDS), threshold=threshold, weights=nature.weights)
        self._nature = nature
        self._raised: NDArray[np.bool_] = np.ones(bits, np.bool_)
        self._slots: deque[BitSlot] = deque(maxlen=history)
        self._alarmed_second = 0
        self._learnt: list[tuple[float, NDArray[np.float32]]] | None = None
        self._refit_at, self._most_learnt = 0, MOST_LEARNT
        self.refit(reference)

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

    @classmethod
    def restored(
        cls,
        data: Mapping[str, Any],
        nature: Nature = WAVERING,
        *,
        bits: int,
        threshold: float,
        history: int = 300,
        most_learnt: int = MOST_LEARNT,
    ) -> Self:
        """With what :meth:`dump` gave. What was still being learnt goes on, from slots that are yet to come.

        Raises:
            ValueError, KeyError, TypeError: the data are not of so many bits, or of another make.
        """
        reference = BitReference.load(data["reference"])
        if len(reference.rates) != bits:
            raise ValueError(f"a reference has {len(reference.rates)} bits, expected {bits}")
        stream = cls(reference, nature, threshold=threshold, history=history)
        stream.load(data)
        if fitted := int(data["fitted"]):
            stream._learnt, stream._refit_at, stream._most_learnt = [], 2 * fitted, most_learnt
        return stream

    def refit(self, reference: BitReference) -> None:
        """Go on with another reference, whose bits are the same."""
        self.reference = reference
        limits = reference.bet_against(self._nature.tolerated)
        odds = limits[:, None] / (1 - limits[:, None]) * ODDS
        rates = odds / (1 + odds)
        self._gain = np.log(rates / limits[:, None])
        self._loss = np.log((1 - rates) / (1 - limits[:, None]))
        self._limits = limits

    def observe(self, second: int, trials: float, shares: Floats) -> bool:
        """Take a slot in; True if the stream went into alarm or came out of it."""
        self._slots.append(BitSlot(second, trials, shares))
        if self.is_alarmed:
            return self._has_recovered()
        effective = (trials / self.reference.spread)[:, None]
        share = shares[:, None]
        gained = effective * (share * self._gain + (1 - share) * self._loss)
        slots = np.where(share < CLEAR, self._nature.unclear_slots, self._nature.slots)
        if self._bet(np.minimum(gained, (self.threshold + 2.0) / slots), second):
            self._alarmed_second = second
            self._raised = self._log_m.max(axis=1) >= self._log_m.max() / 2
            return True
        if self._learnt is not None and not self.is_suspicious and len(self._slots) > QUARANTINE:
            self._learn(self._learnt, self._slots[-QUARANTINE - 1])
        return False

    def _learn(self, known: list[tuple[float, NDArray[np.float32]]], slot: BitSlot) -> None:
        known.append((slot.trials, slot.shares.astype(np.float32)))
        if len(known) >= self._refit_at:
            trials = np.array([count for count, _ in known])
            shares = np.stack([row for _, row in known]).astype(np.float64)
            self.refit(BitReference.fit(trials, shares, self._nature))
            self._refit_at *= 2
            if self._refit_at > self._most_learnt:
                self._learnt = None

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

    def told(self, signal: Signal, bit: int, **more: Any) -> Alarm:
        """The alarm just raised, as one of a bit, with ``more`` of its fields; starts the evidence afresh."""
        change = self.change_second
        alarm = Alarm(
            signal,
            None,
            log_evalue=self.log_evalue,
            change_second=change,
            level=0,
            before=np.array([self.reference.rates[bit]]),
            after=np.array([self.since(change)[1][bit]]),
            interval=self.interval(bit, change),
        )
        self.restart()
        return replace(alarm, **more)

    def restart(self) -> None:
        """Start the evidence afresh, as after an alarm that was told, and forget its slots."""
        super().restart()
        self._slots.clear()
        self._alarmed_second = 0

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
        """The running evidence, and what it is compared with, as plain JSON values."""
        fitted = 0 if self._learnt is None else self._refit_at // 2
        return {**super().dump(), "reference": self.reference.dump(), "fitted": fitted}
