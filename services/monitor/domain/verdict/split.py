"""The sample-ratio check: does the candidate get the share of the requests that it was given."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.monitor.domain.verdict.intervals import log_mixture

TOLERANCE = 0.1
"""Relative deviation of the smaller arm's share that is nobody's fault: requests under way, restarts."""


@dataclass(slots=True)
class Split:
    """``share``: the candidate's configured share of both versions' requests; None where nothing is configured.

    A mixture of all shares is held against the likeliest one within the tolerance, so the e-value of a sound split,
    whose requests are sent to either version independently or more evenly, exceeds 1 / alpha ever with probability
    alpha at most.
    """

    share: float | None
    candidate: int = 0
    total: int = 0
    is_broken: bool = False

    def observe(self, candidate: int, baseline: int, *, needed: float) -> None:
        self.candidate += candidate
        self.total += candidate + baseline
        self.is_broken = self.is_broken or self.log_evalue >= needed

    @property
    def seen(self) -> float:
        return self.candidate / self.total if self.total else 0.0

    @property
    def log_evalue(self) -> float:
        """Nats."""
        if self.share is None or not self.total:
            return 0.0
        slack = TOLERANCE * min(self.share, 1.0 - self.share)
        likeliest = min(max(self.seen, self.share - slack), self.share + slack)
        likelihood = self.candidate * math.log(likeliest) + (self.total - self.candidate) * math.log1p(-likeliest)
        return log_mixture(self.candidate, self.total) - likelihood
