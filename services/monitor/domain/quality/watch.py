"""Whether answers are wrong more often than they used to be.

Labels are taken in lots of fifty, each of labels that took about as long: what is known early is often of another kind
than what is known late, so that a change of the mix is no change of the model. Of classes the bit is that the answer is
wrong, of numbers that it is off by more than learnt quantiles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.monitor.domain.blocks import NS
from services.monitor.domain.evidence import Budget, Floats
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Severity, Signal
from services.monitor.domain.quality.labels import Judgement
from services.monitor.domain.quality.lots import LOT_LABELS, LotStream
from services.monitor.domain.quality.tally import AGE_LIMITS_S, age_of

LEARN_LOTS = 20
LEVELS = (0.5, 0.75, 0.9)
"""Quantiles of how far numbers are off."""
_HISTORY = 300
_AGES = len(AGE_LIMITS_S) + 1


@dataclass(slots=True)
class AgeWatch:
    """Labels of one age. Bounded: what is learnt from, and some hundred lots."""

    budget: Budget
    edges: Floats | None = None
    """A loss above these is a hit; None while it is learnt."""
    stream: LotStream | None = None
    _losses: list[float] = field(default_factory=list)
    """Of the lot that is open; all until what is normal is learnt."""
    _first_ns: int = 0
    _times: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    """Of the last lots: their numbers, and when the first answer in each was given."""

    @property
    def learnt(self) -> int:
        """Labels learnt from, while it is learnt what is normal."""
        return LOT_LABELS * LEARN_LOTS if self.stream is not None else len(self._losses)

    def add(self, loss: float, *, answered_ns: int) -> bool:
        """True if it went into alarm, or came out of it."""
        self._first_ns = min(self._first_ns or answered_ns, answered_ns)
        self._losses.append(loss)
        if self.stream is None or self.edges is None:
            if len(self._losses) >= LOT_LABELS * LEARN_LOTS:
                self._learn()
            return False
        if len(self._losses) < LOT_LABELS:
            return False
        hits = (np.array(self._losses)[:, None] > self.edges).sum(axis=0)
        self._times.append((self.stream.number + 1, self._first_ns))
        self._losses, self._first_ns = [], 0
        self.stream.threshold = self.budget.threshold
        return self.stream.observe(hits.astype(np.float64))

    def _learn(self) -> None:
        losses = np.array(self._losses)
        is_class = bool(np.isin(losses, (0.0, 1.0)).all())
        self.edges = np.array([0.5]) if is_class else np.unique(np.quantile(losses, LEVELS))
        hits = (losses.reshape(LEARN_LOTS, LOT_LABELS)[:, :, None] > self.edges).sum(axis=1)
        self.stream = LotStream(hits.astype(np.float64), threshold=self.budget.threshold)
        self._losses, self._first_ns = [], 0

    def alarm(self, note: str) -> Alarm | None:
        """The alarm just raised; starts the evidence afresh."""
        stream, edges = self.stream, self.edges
        if stream is None or edges is None:
            return None
        began, at = stream.began, stream.strongest
        change_ns = dict(self._times).get(began, self._first_ns)
        _, shares = stream.since(began)
        alarm = Alarm(
            Signal.ACCURACY,
            None,
            log_evalue=stream.log_evalue,
            change_second=change_ns // NS,
            level=0,
            before=stream.rates[at : at + 1],
            after=shares[at : at + 1],
            interval=stream.interval(began, at),
            severity=Severity.PAGE,
            note=note,
        )
        stream.restart()
        return alarm

    def dump(self) -> dict[str, Any] | None:
        """None while it is being learnt."""
        if self.stream is None or self.edges is None:
            return None
        return {"edges": self.edges.tolist(), **self.stream.dump()}

    @classmethod
    def load(cls, data: Mapping[str, Any], *, budget: Budget) -> AgeWatch:
        edges = np.array(data["edges"], np.float64)
        return cls(budget, edges, LotStream.load(data, shares=len(edges), threshold=budget.threshold))


@dataclass(slots=True)
class AccuracyWatch:
    """The labels of one version, by age."""

    budget: Budget
    ages: dict[int, AgeWatch] = field(default_factory=dict)
    is_class: bool = True
    _waiting: list[Alarm | Recovery] = field(default_factory=list)

    def add(self, judgement: Judgement, *, answered_ns: int, age_s: float) -> None:
        """Take a label in that has a truth."""
        if judgement.loss is None:
            return
        self.is_class = judgement.is_class
        age = self.ages.setdefault(age_of(age_s), AgeWatch(self.budget))
        was_alarmed = self.is_alarmed
        if not age.add(judgement.loss, answered_ns=answered_ns):
            return
        if age.stream is not None and age.stream.is_alarmed:
            if (alarm := age.alarm(self._note(age))) is not None and not was_alarmed:
                self._waiting.append(alarm)
        elif not self.is_alarmed:
            self._waiting.append(Recovery(Signal.ACCURACY, None))

    def _note(self, age: AgeWatch) -> str:
        if self.is_class or age.stream is None or age.edges is None:
            return ""
        return f"{age.edges[age.stream.strongest]:.4g}"

    @property
    def is_alarmed(self) -> bool:
        return any(one.stream is not None and one.stream.is_alarmed for one in self.ages.values())

    @property
    def log_evalue(self) -> float:
        """The greatest evidence of any age, nats."""
        return max((one.stream.log_evalue for one in list(self.ages.values()) if one.stream is not None), default=0.0)

    @property
    def count(self) -> int:
        """Streams that share the budget of false alarms."""
        return len(self.ages)

    def findings(self) -> Iterator[Alarm | Recovery]:
        """What was found since the last time."""
        waiting, self._waiting = self._waiting, []
        yield from waiting

    def adopt_alarm(self) -> None:
        """Take over an alarm of before a restart, which was told: of the age that has most evidence."""
        known = [one.stream for one in self.ages.values() if one.stream is not None]
        if known and not self.is_alarmed:
            max(known, key=lambda one: one.log_evalue).adopt_alarm()

    def dump(self) -> dict[str, Any]:
        """What was learnt, and the running evidence, as plain JSON values."""
        ages = {str(number): data for number, age in self.ages.items() if (data := age.dump()) is not None}
        return {"is_class": self.is_class, "ages": ages}

    @classmethod
    def load(cls, data: Mapping[str, Any], *, budget: Budget) -> AccuracyWatch:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        ages = {int(number): AgeWatch.load(one, budget=budget) for number, one in data["ages"].items()}
        if any(not 0 <= number < _AGES for number in ages):
            raise ValueError(f"got ages {sorted(ages)}, expected 0 to {_AGES - 1}")
        return cls(budget, ages, bool(data["is_class"]))
