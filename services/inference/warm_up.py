"""First inferences with made-up inputs: they load what is lazy, and show that the model works at all."""

from __future__ import annotations

import time

import numpy as np

from services.inference.backends import Array, LoadError, Model, RunError
from services.inference.backends.samples import sample, working_sizes
from services.inference.domain.signature import Signature


def warm_up(model: Model, signature: Signature, *, rows: int) -> float:
    """Infer one row twice, and a whole batch; return how long the second inference took, in seconds.

    Raises:
        LoadError: the model fails whatever the size of its free dimensions.
    """
    (free_size,) = working_sizes(model, signature)
    start = time.perf_counter()
    model.run(sample(signature, rows=1, free_size=free_size))
    elapsed = time.perf_counter() - start
    if signature.is_batchable and rows > 1:
        try:
            model.run(sample(signature, rows=rows, free_size=free_size))
        except RunError as error:
            raise LoadError(f"the model fails on a batch of {rows} rows: {error}") from error
    return elapsed


def rows_are_independent(model: Model) -> bool:
    """True when two rows give together what they give alone: only then may requests of strangers share a batch."""
    (free_size,) = working_sizes(model, model.signature)
    first, second = (sample(model.signature, rows=1, free_size=free_size, seed=seed) for seed in (1, 2))
    joined = {name: np.concatenate([first[name], second[name]]) for name in first}
    try:
        alone, together = [model.run(first), model.run(second)], model.run(joined)
    except RunError:
        return False
    return all(
        together[spec.name].shape[:1] == (2,)
        and all(_agree(together[spec.name][row : row + 1], one[spec.name]) for row, one in enumerate(alone))
        for spec in model.signature.outputs
        if spec.datatype != "BF16"  # a bit pattern: the last bits may differ, and can't be told from the others
    )


def _agree(got: Array, expected: Array) -> bool:
    if got.shape != expected.shape or got.dtype.kind != "f":
        return got.shape == expected.shape and bool((got == expected).all())
    return np.allclose(got, expected, rtol=0.02, atol=0.02, equal_nan=True)
