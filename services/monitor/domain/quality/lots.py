"""Evidence that shares have risen over what they were in a reference of limited size.

Labels are few, and to bet against an upper confidence limit of what was learnt, as is done for requests, would waste
most of them. So each lot of new labels is paired with lots of the reference of its own, and both are compared as two
samples: with ``k1`` hits of ``n1`` new labels and ``k2`` of ``n2`` old ones the bet wins ``omega^k1 / c^(k1 + k2)``,
``c = 1 + (omega - 1) n1 / (n1 + n2)``, whose mean is at most 1 while the share is no higher than it was, at any height
(``verdict/betting.py``). The reference is dealt out to as many places as a window has lots, so that no evidence of a
window rests on an old lot twice. By Ville's inequality, and as a window may begin at any lot, a false alarm comes
within ``T`` lots with probability ``T / A`` at most; each time that the reference has grown this begins anew.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from services.monitor.domain.bit_reference import STEADY, BitReference
from services.monitor.domain.evidence import QUARANTINE, RECOVERY_SLOTS, SUSPICION, Floats

LOT_LABELS = 50
WINDOWS = (40, 160)
"""Lots: a window is as long as the evidence of a change may take to gather."""
MOST_LEARNT = 480
ODDS: Floats = np.array([1.5, 2.0, 4.0, 20.0])
"""Rises of a share that are bet on."""
ODDS_SHARES: Floats = np.array([0.3, 0.4, 0.2, 0.1])
"""How the money is laid on them: most on losses that nobody would notice by other means."""
LEAST_LOTS = 2
"""Lots that an alarm takes."""


class LotStream:
    """Evidence on some shares, each of which must not rise. After an alarm it says next that they are back.

    ``reference`` holds the hits of normal lots, [lots, shares].
    """

    def __init__(self, reference: Floats, *, threshold: float, number: int = 0, is_learning: bool = True) -> None:
        self.threshold = threshold
        self.is_alarmed = False
        self.log_evalue = 0.0
        self.number = number
        """Of the last lot."""
        self._is_learning = is_learning
        self._known: list[Floats] = list(reference)
        self._known_to = number
        """The last lot that is in the reference, or will be."""
        self._lots: deque[tuple[int, Floats]] = deque(maxlen=max(WINDOWS))
        """Lots that aren't in the reference."""
        self._began = self.strongest = 0
        self._alarmed_at = 0
        self._refer(reference)

    def _refer(self, reference: Floats) -> None:
        self.reference = reference
        trials = np.full(len(reference), float(LOT_LABELS))
        fitted = BitReference.fit(trials, reference / LOT_LABELS, STEADY)
        self.rates, self.spread = fitted.rates, fitted.spread
        self._dealt = [self._deal(window) for window in WINDOWS]

    def _deal(self, window: int) -> tuple[Floats, Floats]:
        """By place in a window: hits of the reference's lots there, [places, shares], and how many labels they have."""
        places = min(window, len(self.reference))
        bounds = np.arange(places + 1) * len(self.reference) // places
        hits = np.add.reduceat(self.reference, bounds[:-1], axis=0)
        return hits, np.diff(bounds) * float(LOT_LABELS)

    def observe(self, hits: Floats) -> bool:
        """Take a lot in; True if the stream went into alarm or came out of it."""
        self.number += 1
        self._lots.append((self.number, hits))
        if self.is_alarmed:
            return self._has_recovered()
        log_evalues = self._log_evalues()
        place = int(log_evalues.argmax())
        self.log_evalue, self._began = float(log_evalues[place]), self._lots[place][0]
        if self.log_evalue >= self.threshold:
            self.is_alarmed, self._alarmed_at = True, self.number
            return True
        if self._is_learning and self.log_evalue <= SUSPICION and len(self._lots) > QUARANTINE:
            self._learn()
        return False

    def _log_evalues(self) -> Floats:
        """Nats, by the lot with which the evidence begins."""
        numbers = np.array([number for number, _ in self._lots])
        hits = np.stack([one for _, one in self._lots])
        weights = np.log(ODDS_SHARES / hits.shape[1] / len(WINDOWS))
        found = np.full(len(numbers), -np.inf)
        for old_hits, old_labels in self._dealt:
            some = slice(max(0, len(numbers) - len(old_labels)), None)
            at = numbers[some] % len(old_labels)
            share = LOT_LABELS / (LOT_LABELS + old_labels[at])
            norm = np.log1p(share[:, None] * (ODDS - 1.0))
            new, old = hits[some][:, :, None], old_hits[at][:, :, None]
            gains = (new * np.log(ODDS) - (new + old) * norm[:, None, :]) / self.spread[:, None]
            gains = np.minimum(gains, (self.threshold + 2.0) / LEAST_LOTS)
            sums = np.cumsum(gains[::-1], axis=0)[::-1] + weights
            self.strongest = int(sums.max(axis=(0, 2)).argmax())
            found[some] = np.logaddexp(found[some], np.logaddexp.reduce(sums.reshape(len(sums), -1), axis=1))
        return found

    def _learn(self) -> None:
        """Lots that led to no suspicion for long were normal; whenever they have doubled the reference is made anew."""
        until = self.number - QUARANTINE
        self._known += [one for number, one in self._lots if self._known_to < number <= until]
        self._known_to = until
        if len(self._known) < min(2 * len(self.reference), MOST_LEARNT):
            return
        self._refer(np.stack(self._known[:MOST_LEARNT]))
        self._known = list(self.reference)
        while self._lots and self._lots[0][0] <= until:
            self._lots.popleft()
        self._is_learning = len(self.reference) < MOST_LEARNT

    def _has_recovered(self) -> bool:
        recent = [hits for number, hits in self._lots if number > self._alarmed_at][-RECOVERY_SLOTS:]
        if len(recent) < RECOVERY_SLOTS:
            return False
        labels, old = len(recent) * LOT_LABELS, len(self.reference) * LOT_LABELS
        shares = np.sum(recent, axis=0) / labels
        noise = 2 * np.sqrt(np.maximum(self.rates * (1 - self.rates), 1 / old) * self.spread * (1 / labels + 1 / old))
        self.is_alarmed = bool((shares > self.rates + noise).any())
        if not self.is_alarmed:
            self.restart()
        return not self.is_alarmed

    def adopt_alarm(self) -> None:
        """Take over an alarm of before a restart."""
        self.is_alarmed, self._alarmed_at = True, self.number

    def restart(self) -> None:
        """Start the evidence afresh, as after an alarm that was told, and forget its lots."""
        self._lots.clear()
        self._known, self._known_to = list(self.reference), self.number
        self.log_evalue = 0.0

    @property
    def began(self) -> int:
        """The lot with which the evidence begins."""
        return self._began

    def since(self, number: int) -> tuple[int, Floats]:
        """Labels from a lot on, and the shares among them; those of the reference where there are none."""
        lots = [hits for at, hits in self._lots if at >= number]
        if not lots:
            return 0, self.rates
        labels = len(lots) * LOT_LABELS
        return labels, np.asarray(np.sum(lots, axis=0) / labels)

    def interval(self, number: int, share: int) -> tuple[float, float]:
        """95 % interval of a share from a lot on (Wilson's, of the labels that are left after the spread)."""
        labels, shares = self.since(number)
        count, mean, z = max(1.0, labels / float(self.spread[share])), float(shares[share]), 1.96
        middle = (mean + z * z / (2 * count)) / (1 + z * z / count)
        half = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count**2)) / (1 + z * z / count)
        return max(0.0, middle - half), min(1.0, middle + half)

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "reference": self.reference.tolist(),
            "lots": [[number, hits.tolist()] for number, hits in self._lots],
            "number": self.number,
            "learning": self._is_learning,
            "alarmed_at": self._alarmed_at if self.is_alarmed else None,
            "evidence": self.log_evalue,
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], *, shares: int, threshold: float) -> LotStream:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        reference = np.array(data["reference"], np.float64)
        if reference.ndim != 2 or not len(reference) or reference.shape[1] != shares:
            raise ValueError(f"got a reference of shape {reference.shape}, expected lots of {shares} shares")
        stream = cls(reference, threshold=threshold, number=int(data["number"]), is_learning=bool(data["learning"]))
        for number, hits in data["lots"]:
            stream._lots.append((int(number), np.array(hits, np.float64).reshape(shares)))
        # What was being learnt goes on with lots that are yet to come.
        stream._known_to = stream.number
        stream.log_evalue = float(data["evidence"])
        if data["alarmed_at"] is not None:
            stream.is_alarmed, stream._alarmed_at = True, int(data["alarmed_at"])
        return stream
