"""What model processes leave out where their batches are many (ADR 30), of simulated spans, which tell of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.inference.model_process.thinning import one_in
from services.monitor.domain.blocks import Batch, Skipped
from services.monitor.evaluation.stream import Observation

_QUICK_NS = 10_000_000
_PER_REQUEST = {
    "wait_us": 4, "total_us": 4, "status": 1, "trace_ids": 16,
    "confidence": 4, "classes": 4, "entropy": 4, "norm": 4, "length": 4, "nonfinite": 4,
}  # fmt: skip
"""Bytes of each."""
_CONTENTS = ("confidence", "classes", "entropy", "norm", "length", "nonfinite", "sampled", "sketch")

Mask = NDArray[np.bool_]


class Thinner:
    """Takes a second's spans, and gives those that would have been sent."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, 79])
        self._one_in: defaultdict[tuple[str, str], int] = defaultdict(lambda: 1)

    def thin(self, spans: Sequence[Observation]) -> Iterator[Observation]:
        for one in spans:
            if isinstance(one, Batch):
                yield from self._thin(one)
            else:
                yield one

    def _thin(self, batch: Batch) -> Iterator[Batch]:
        replica = batch.version, batch.instance
        has_failed = np.add.reduceat(np.frombuffer(batch.status, np.uint8) != 0, _starts(batch)) > 0
        is_quick = (np.array(batch.compute_ns).sum(axis=0) < _QUICK_NS) & ~has_failed
        share = self._one_in[replica]
        self._one_in[replica] = one_in(int(is_quick.sum()), int(np.array(batch.sizes)[is_quick].sum()))
        if share == 1:
            yield batch
            return
        is_chosen = self._random.random(len(batch.sizes)) < 1 / share
        is_chosen[:1] = True
        skipped = _part(batch, ~is_chosen & is_quick)
        total = Skipped(len(skipped.sizes), len(skipped.status), sum(skipped.rows), sum(map(sum, skipped.compute_ns)))
        yield replace(_part(batch, is_chosen), skipped=total)
        if (is_extra := ~is_chosen & ~is_quick).any():
            yield replace(_part(batch, is_extra), is_extra=True, **dict.fromkeys(_CONTENTS, b""))


def _starts(batch: Batch) -> NDArray[np.int64]:
    sizes = np.array(batch.sizes)
    return np.cumsum(sizes) - sizes


def _part(batch: Batch, is_in: Mask) -> Batch:
    """The same span with some of its batches only."""
    asked: Mask = np.repeat(is_in, batch.sizes)
    arrays = {
        name: np.frombuffer(given, np.uint8).reshape(-1, size)[asked].tobytes()
        for name, size in _PER_REQUEST.items()
        if (given := getattr(batch, name))
    }
    sampled = np.frombuffer(batch.sampled, "<u4")
    is_kept: Mask = asked[sampled]
    numbers = np.cumsum(asked) - 1
    return replace(
        batch,
        sizes=tuple(np.array(batch.sizes)[is_in].tolist()),
        rows=tuple(np.array(batch.rows)[is_in].tolist()),
        compute_ns=tuple(tuple(np.array(part)[is_in].tolist()) for part in batch.compute_ns),
        sampled=numbers[sampled[is_kept]].astype("<u4").tobytes(),
        sketch=np.frombuffer(batch.sketch, "<f4").reshape(len(sampled), -1)[is_kept].tobytes() if len(sampled) else b"",
        **arrays,
    )
