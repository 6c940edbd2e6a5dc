"""How much more two versions differ within a second than chance allows: learnt from earlier seconds.

Of the requests that took long in a second, each version has its part by chance (the hypergeometric law), however many
there are: a pause of a host that both share moves their number alone. What is on top of that are batches, pauses and
hosts of one version's own. It is looked at in spells of several lengths, since such noise lasts, and the worst counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SPELLS = (1, 4, 16, 64)
"""Seconds that are looked at together."""
LEAST_SPELLS = 4
LEAST_SECONDS = 6
"""Seconds with something to learn from, before what was learnt is believed."""
LEAST_CHANCE = 3.0
"""What chance must have moved by then, as the variance of a count."""
LASTS_S = 5.0
"""How long noise is taken to last until spells of :data:`LONG_S` have shown it."""
LONG_S = 16
HELD_BACK = 15
"""The newest seconds are not learnt from yet: a candidate that breaks must not pass for a noisy one."""


@dataclass(slots=True)
class _Spells:
    """Sums over spells of so many seconds: of the candidate's surplus, of chance's variance, and of their products."""

    length: int
    count: int = 0
    surplus: float = 0.0
    chance: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    chance_squares: float = 0.0
    _open: tuple[int, float, float] = (0, 0.0, 0.0)

    def add(self, surplus: float, chance: float) -> None:
        seconds, first, second = self._open
        seconds, first, second = seconds + 1, first + surplus, second + chance
        if seconds < self.length:
            self._open = seconds, first, second
            return
        self._open = 0, 0.0, 0.0
        self.count += 1
        self.surplus += first
        self.chance += second
        self.squares += first * first
        self.products += first * second
        self.chance_squares += second * second

    @property
    def ratio(self) -> float:
        """Variance of the surplus over chance's, once a lasting difference of the versions is taken off."""
        if self.count < LEAST_SPELLS or self.chance <= 0:
            return 0.0
        lasting = self.surplus / self.chance
        squares = self.squares - 2 * lasting * self.products + lasting**2 * self.chance_squares
        return squares / self.chance * self.count / (self.count - 1)

    def dump(self) -> list[Any]:
        sums = [self.length, self.count, self.surplus, self.chance, self.squares, self.products, self.chance_squares]
        return [*sums, list(self._open)]

    @classmethod
    def load(cls, data: Sequence[Any]) -> _Spells:
        *sums, still_open = data
        spells = cls(*sums)
        seconds, surplus, chance = still_open
        spells._open = seconds, surplus, chance
        return spells


@dataclass(slots=True)
class Imbalance:
    """What is known of it. ``size`` is asked before a second is added."""

    _spells: tuple[_Spells, ...] = field(default_factory=lambda: tuple(map(_Spells, SPELLS)))
    _held: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def seconds(self) -> int:
        return self._spells[0].count

    @property
    def is_known(self) -> bool:
        return self.seconds >= LEAST_SECONDS and self._spells[0].chance >= LEAST_CHANCE

    def size(self, candidate: float, baseline: float) -> float:
        """Requests that count as one, where so many came of either version."""
        whole = max(1.0, 2.0 * candidate * baseline / (candidate + baseline))
        if not self.is_known:
            return whole  # a second of either version is one event
        single = self._spells[0]
        # Two deviations of what isn't known yet, of a variance of Poisson counts.
        unsure = 2.0 * math.sqrt(2.0 / single.count + 1.0 / single.chance)
        return max(single.ratio * (1.0 + unsure), self._in_the_long_run)

    @property
    def _in_the_long_run(self) -> float:
        """The variance of a spell's surplus over chance's, 1 at least."""
        single, *longer = self._spells
        is_shown = any(spells.length == LONG_S and spells.count >= LEAST_SPELLS for spells in longer)
        guessed = 1.0 if is_shown else 1.0 + LASTS_S * max(0.0, single.ratio - 1.0)
        return max(1.0, guessed, *(spells.ratio for spells in longer))

    @property
    def inflation(self) -> float:
        """Seconds that count as one."""
        return self._in_the_long_run / max(1.0, self._spells[0].ratio) if self.is_known else LASTS_S

    def add(self, totals: tuple[float, float], counts: tuple[float, float], *, is_suspicious: bool) -> None:
        """Take a second in: of ``counts`` requests ``totals`` took long, the candidate's first. But for the first
        seconds none is learnt while the candidate seems to be worse.
        """
        if is_suspicious and self.seconds >= LEAST_SECONDS:
            self._held.clear()
            return
        both, requests = sum(totals), sum(counts)
        if requests <= 1:
            return
        surplus = totals[0] - counts[0] * both / requests
        chance = counts[0] * counts[1] * both * (requests - both) / (requests**2 * (requests - 1))
        self._held.append((surplus, max(0.0, chance)))
        while len(self._held) > min(HELD_BACK, max(0, self.seconds - LEAST_SECONDS)):
            one = self._held.popleft()
            for spells in self._spells:
                spells.add(*one)

    def dump(self) -> list[Any]:
        """As plain JSON values."""
        return [[spells.dump() for spells in self._spells], list(self._held)]

    @classmethod
    def load(cls, data: Sequence[Any]) -> Imbalance:
        spells, held = data
        return cls(tuple(map(_Spells.load, spells)), deque((surplus, chance) for surplus, chance in held))
