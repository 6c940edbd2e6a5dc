"""How often two versions answered alike, added up until it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Pairs of one comparison: requests that both versions got.

    ``largest_batch`` is the most of them that were answered together, and so may have been in one batch.
    """

    pairs: int = 0
    candidate_failed: int = 0
    baseline_failed: int = 0
    differing: int = 0
    largest_batch: int = 1

    def add(self, outcome: str, *, together: int) -> None:
        """Count a pair, by its name in the metrics."""
        self.pairs += 1
        self.largest_batch = max(self.largest_batch, together)
        self.candidate_failed += outcome == CANDIDATE_FAILED
        self.baseline_failed += outcome == BASELINE_FAILED
        self.differing += outcome == DIFFERED


AGREED = "agreed"
DIFFERED = "differed"
CANDIDATE_FAILED = "candidate_failed"
BASELINE_FAILED = "baseline_failed"
BOTH_FAILED = "both_failed"

EXPIRED = "expired"
"""The candidate did not answer in time, or nobody ran it: no pair."""
SKIPPED = "skipped"
"""No copy was made: too many are under way, or nobody serves the candidate."""
DROPPED = "dropped"
"""The copy was given up: the gateway stops, or the candidate is no longer deployed."""
