"""Evidence that a version fails more often than it used to, as a whole and by what is behind it.

Requests of a batch fail together, so a batch is one trial; and how failures cluster beyond that is learnt. Until enough
was seen a version is held to a rate that none should have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.monitor.domain.bit_reference import BitReference
from services.monitor.domain.bits import BitStream
from services.monitor.domain.blocks import Block
from services.monitor.domain.evidence import QUARANTINE, Budget, Floats
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.outcomes import CODES, KIND_OF_CODE, OUTCOME_OF_CODE, ErrorKind, Outcome
from services.monitor.domain.phases import Severity, Signal
from services.monitor.domain.reference import ErrorReference, Reference

_FAULTS = OUTCOME_OF_CODE[: len(CODES)] == Outcome.SERVER_ERROR
PAGE_SHARE = 0.005
"""Errors that stay below this share of requests wake nobody."""


def kinds_of(block: Block) -> Floats:
    """Server errors by :class:`ErrorKind`; those without a code are failures."""
    kinds = np.bincount(KIND_OF_CODE[_FAULTS], block.codes[_FAULTS], minlength=len(ErrorKind)).astype(np.float64)
    kinds[ErrorKind.FAILURE] += max(0.0, float(block.outcomes[Outcome.SERVER_ERROR]) - float(kinds.sum()))
    return kinds


@dataclass(slots=True)
class ErrorDetector:
    """One stream of four bits: a request failed by the server's fault, and by each kind of it."""

    budget: Budget
    reference: Reference
    stream: BitStream = field(init=False)
    _worse: BitStream | None = None
    """Evidence, after an alarm that woke nobody, that errors are more than that; None while there is no such alarm."""
    _codes: deque[tuple[int, Floats]] = field(default_factory=lambda: deque(maxlen=300))
    _unsure: deque[tuple[int, Floats]] = field(default_factory=deque)
    """Trials and shares of the last seconds, which are learnt from if they lead to no suspicion."""

    def __post_init__(self) -> None:
        self.stream = BitStream(self._bits(), threshold=self.budget.threshold)

    def judge(self, block: Block, *, may_learn: bool) -> Iterator[Alarm | Recovery]:
        failed = int(block.outcomes[Outcome.SERVER_ERROR])
        counted = failed + int(block.outcomes[Outcome.OK])
        if counted == 0:
            return
        shares = np.minimum(np.concatenate([[failed], kinds_of(block)]) / counted, 1.0)
        trials = max(1, block.executions)
        self._codes.append((block.second, block.codes * _FAULTS))
        yield from self._observe(block.second, trials, shares)
        if not may_learn or self.stream.is_suspicious:
            self._unsure.clear()
        elif not self.reference.errors.is_learnt:
            self._learn(trials, shares)
        elif not self.reference.errors.is_complete:
            self._unsure.append((trials, shares))
            if len(self._unsure) > QUARANTINE:
                self._learn(*self._unsure.popleft())

    def _observe(self, second: int, trials: int, shares: Floats) -> Iterator[Alarm | Recovery]:
        self.stream.threshold = self.budget.threshold
        if self.stream.observe(second, trials, shares):
            self._worse = None
            if not self.stream.is_alarmed:
                yield Recovery(Signal.ERROR_RATE, None)
                return
            alarm = self._alarm(self.stream)
            self._watch_on(alarm.severity)
            yield alarm
        elif self._worse is not None and self._worse.observe(second, trials, shares[:1]):
            yield self._alarm(self._worse)
            self._worse = None

    def _watch_on(self, told: Severity) -> None:
        if told is Severity.TICKET:
            limit, spread = np.array([PAGE_SHARE]), self.stream.reference.spread[:1]
            self._worse = BitStream(BitReference(limit, limit, spread), threshold=self.budget.threshold)

    def _learn(self, trials: int, shares: Floats) -> None:
        for reference, share in zip(self._references, shares, strict=True):
            reference.learn(float(share), trials)
        self.stream.refit(self._bits())

    @property
    def _references(self) -> tuple[ErrorReference, ...]:
        return self.reference.errors, *self.reference.kinds

    def _bits(self) -> BitReference:
        references = self._references
        return BitReference(
            np.array([min(one.rate, one.limit) for one in references]),
            np.array([one.limit for one in references]),
            np.array([one.spread for one in references]),
        )

    def _alarm(self, raised: BitStream) -> Alarm:
        """Of the version's stream, or of the one that watches on."""
        change = raised.change_second
        _, shares = self.stream.since(change)
        codes = np.sum([codes for second, codes in self._codes if second >= change], axis=0)
        kind = ErrorKind(int(shares[1:].argmax()))
        return raised.told(
            Signal.ERROR_RATE,
            0,
            before=self.stream.reference.limits[:1],  # of normal errors only a limit is known
            severity=Severity.PAGE if shares[0] >= PAGE_SHARE else Severity.TICKET,
            note=f"mostly {CODES[int(codes.argmax())]}: {kind.label}" if codes.any() else kind.label,
        )

    def adopt_alarm(self) -> None:
        """Take over an alarm of before a restart: as it isn't known whether it woke anybody, it may do so again."""
        self.stream.adopt_alarm()
        self._watch_on(Severity.TICKET)

    def restart(self) -> None:
        """Forget the last seconds, and the evidence in them."""
        self.stream.restart()
        self._codes.clear()
        self._unsure.clear()
        if self._worse is not None:
            self._worse.restart()

    def dump(self) -> dict[str, Any]:
        return self.stream.dump()

    def load(self, data: Mapping[str, Any]) -> None:
        self.stream.load(data)
        if self.stream.is_alarmed:
            self.adopt_alarm()
