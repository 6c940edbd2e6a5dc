"""First inferences with made-up inputs: they load what is lazy, and show that the model works at all."""

from __future__ import annotations

import time
from typing import NamedTuple

from services.inference.backends import Drained, LoadError, Model, RunError
from services.inference.backends.samples import examples_of, sample, working_sizes
from services.inference.domain.signature import Signature


class WarmUp(NamedTuple):
    """What was found: a size of free dimensions, besides the batch, that the model takes; seconds for one row."""

    free_size: int
    row_s: float


def warm_up(model: Model, signature: Signature, *, rows: int) -> WarmUp:
    """Infer one row twice, the second time by the clock, and a whole batch.

    Of a decoupled model the first response is enough.

    Raises:
        LoadError: the model fails whatever the size of its free dimensions.
    """
    if signature.is_decoupled:
        model = Drained(model, most=1, within_s=0)
    (free_size,), examples = working_sizes(model, signature), examples_of(model)
    start = time.perf_counter()
    model.run(sample(signature, rows=1, free_size=free_size, examples=examples))
    row_s = time.perf_counter() - start
    if signature.is_batchable and rows > 1:
        try:
            model.run(sample(signature, rows=rows, free_size=free_size, examples=examples))
        except RunError as error:
            raise LoadError(f"the model fails on a batch of {rows} rows: {error}") from error
    return WarmUp(free_size, row_s)
