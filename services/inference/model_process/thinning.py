"""Which quick batches are told of in full, where there are more of them in a second than anybody needs to look at."""

from __future__ import annotations

import random
from array import array

import numpy as np

from services.inference.model_process.worker import BatchReport

MOST_PER_SECOND = 200
MOST_REQUESTS_PER_SECOND = 1_000
LEAST_PER_SECOND = 100
"""However many requests they have."""

_COUNTED = ("batches", "requests", "rows", "drawn", "input_ns", "infer_ns", "output_ns")


def one_in(batches: int, requests: int) -> int:
    """One of how many quick batches is told of, where there are so many a second, of so many requests."""
    by_requests = min(-(-requests // MOST_REQUESTS_PER_SECOND), -(-batches // LEAST_PER_SECOND))
    return max(1, -(-batches // MOST_PER_SECOND), by_requests)


class Thinning:
    """Chooses batches so that :func:`one_in` so many quick ones is told of, and adds up those that are not.

    That is by what the period before saw, and by chance: callers that take turns all get theirs. Quick batches and
    others are drawn apart, but at one rate, so that the chosen ones together show how all of them went.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        self._random = draw or random.Random()
        self._one_in = 1
        self._seen = self._seen_requests = 0
        self._until_quick = self._until_other = 1
        self._skipped = array("q")

    def chooses_quick(self, requests: int) -> bool:
        """Whether a batch of so many requests is told of."""
        self._seen += 1
        self._seen_requests += requests
        self._until_quick -= 1
        if self._until_quick > 0:
            return False
        self._until_quick = self._gap()
        return True

    def chooses_other(self) -> bool:
        self._until_other -= 1
        if self._until_other > 0:
            return False
        self._until_other = self._gap()
        return True

    def _gap(self) -> int:
        """Between two that are chosen: ``one_in`` on average."""
        return self._random.randrange(1, 2 * self._one_in)

    def period_is_over(self) -> None:
        """A second is over: what it saw is expected of the next."""
        self._one_in = one_in(self._seen, self._seen_requests)
        self._seen = self._seen_requests = 0

    def skip(self, report: BatchReport, *, drawn: int) -> None:
        """Count a batch of which nothing else is told, and of whose requests a rollout drew so many."""
        execution = report.execution
        self._skipped.extend(
            (len(report.settled), report.rows, drawn, execution.input_ns, execution.infer_ns, execution.output_ns)
        )

    def take_skipped(self) -> dict[str, int]:
        """What was skipped since the last time, as attributes of the span that tells it; empty if nothing was."""
        if not self._skipped:
            return {}
        table = np.array(self._skipped).reshape(-1, len(_COUNTED) - 1)
        self._skipped = array("q")
        found = dict(zip(_COUNTED, [len(table), *table.sum(axis=0).tolist()], strict=True))
        return {f"penstock.skipped.{name}": found[name] for name in _COUNTED if name != "drawn" or found[name]}
