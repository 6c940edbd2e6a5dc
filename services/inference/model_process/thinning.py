"""Which quick batches are told of in full, where there are more of them in a second than anybody needs to look at."""

from __future__ import annotations

import random

from services.inference.model_process.worker import BatchReport, drawn_among

MOST_PER_SECOND = 200


class Thinning:
    """Chooses batches so that about ``MOST_PER_SECOND`` quick ones are told of, and adds up those that are not.

    One in so many, as the period before says, is chosen by chance: callers that take turns all get theirs. Quick
    batches and others are drawn apart, but at one rate, so that the chosen ones together show how all of them went.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        self._random = draw or random.Random()
        self._one_in = 1
        self._seen = 0
        self._until_quick = self._until_other = 1
        self._batches = self._requests = self._rows = self._drawn = 0
        self._input_ns = self._infer_ns = self._output_ns = 0

    def chooses_quick(self) -> bool:
        self._seen += 1
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
        self._one_in = max(1, -(-self._seen // MOST_PER_SECOND))
        self._seen = 0

    def skip(self, report: BatchReport) -> None:
        """Count a batch of which nothing else is told."""
        execution = report.execution
        self._batches += 1
        self._requests += len(report.settled)
        self._rows += report.rows
        self._drawn += drawn_among(report.settled)
        self._input_ns += execution.input_ns
        self._infer_ns += execution.infer_ns
        self._output_ns += execution.output_ns

    def take_skipped(self) -> dict[str, int]:
        """What was skipped since the last time, as attributes of the span that tells it; empty if nothing was."""
        if not self._batches:
            return {}
        skipped = {
            "penstock.skipped.batches": self._batches,
            "penstock.skipped.requests": self._requests,
            "penstock.skipped.rows": self._rows,
            "penstock.skipped.input_ns": self._input_ns,
            "penstock.skipped.infer_ns": self._infer_ns,
            "penstock.skipped.output_ns": self._output_ns,
        }
        if self._drawn:
            skipped["penstock.skipped.drawn"] = self._drawn
        self._batches = self._requests = self._rows = self._drawn = 0
        self._input_ns = self._infer_ns = self._output_ns = 0
        return skipped
