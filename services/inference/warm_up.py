"""First inferences with made-up inputs: they load what is lazy, and show that the model works at all."""

from __future__ import annotations

import time

from services.inference.backends import Drained, LoadError, Model, RunError
from services.inference.backends.samples import examples_of, sample, working_sizes
from services.inference.domain.signature import Signature


def warm_up(model: Model, signature: Signature, *, rows: int) -> float:
    """Infer one row twice, and a whole batch; return how long the second inference took, in seconds.

    Of a decoupled model the first response is enough.

    Raises:
        LoadError: the model fails whatever the size of its free dimensions.
    """
    if signature.is_decoupled:
        model = Drained(model, most=1, within_s=0)
    (free_size,), examples = working_sizes(model, signature), examples_of(model)
    start = time.perf_counter()
    model.run(sample(signature, rows=1, free_size=free_size, examples=examples))
    elapsed = time.perf_counter() - start
    if signature.is_batchable and rows > 1:
        try:
            model.run(sample(signature, rows=rows, free_size=free_size, examples=examples))
        except RunError as error:
            raise LoadError(f"the model fails on a batch of {rows} rows: {error}") from error
    return elapsed
