"""Whether a batch is slower than is normal for its version: above the 99th percentile of what was learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.monitor.domain.blocks import Batch
from services.monitor.domain.phases import Phase
from services.monitor.domain.reference import Reference
from services.monitor.domain.sketch import RELATIVE_ERROR


@dataclass(frozen=True, slots=True)
class Limits:
    """What is slow under any load that is known, in nanoseconds; ``infer_ns`` by log2 of the batch's rows."""

    infer_ns: Mapping[int, float]
    total_ns: float | None

    @classmethod
    def of(cls, reference: Reference) -> Limits:
        infer_ns: dict[int, float] = {}
        for context, normal in reference.compute.known.items():
            limit = _limit(normal[Phase.COMPUTE_INFER].quantiles_ns[-1])
            infer_ns[context.rows] = max(infer_ns.get(context.rows, 0.0), limit)
        totals = [_limit(normal[Phase.TOTAL].quantiles_ns[-1]) for normal in reference.flow.known.values()]
        return cls(infer_ns, max(totals, default=None))

    def are_exceeded(self, batch: Batch) -> bool:
        """By one of the batches, or by one of their requests."""
        for rows, infer_ns in zip(batch.rows, batch.compute_ns[1], strict=True):
            limit = self.infer_ns.get(rows.bit_length() - 1)
            if limit is not None and infer_ns > limit:
                return True
        if self.total_ns is None:
            return False
        return bool(np.frombuffer(batch.total_us, "<u4").max() * 1e3 > self.total_ns)


UNKNOWN = Limits({}, None)
"""Of a version of which nothing is learnt yet: nothing is slow."""


def _limit(quantile_ns: float) -> float:
    return quantile_ns * (1 + RELATIVE_ERROR)
