"""Made-up inputs that fit a signature: for warm-up, and to compare and measure variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from services.common.datatypes import datatype
from services.inference.backends.backend import Array, Model
from services.inference.backends.errors import LoadError, RunError
from services.inference.domain.signature import Signature

FREE_SIZES = (1, 8, 32, 224)
"""Sizes tried for free dimensions other than the batch: a file doesn't say which ones make sense."""


Examples = Mapping[str, Sequence[bytes]]
"""Contents of BYTES inputs, by name, where not all would do."""


def examples_of(model: Model) -> Examples:
    """What the model's own steps can read."""
    found: Examples = getattr(model, "examples", {})
    return found


def sample(
    signature: Signature,
    *,
    rows: int,
    free_size: int,
    seed: int = 0,
    integers_below: int = 1,
    examples: Examples | None = None,
) -> dict[str, Array]:
    """Small random numbers; integers (which often are indices) are below a limit; free dimensions as given."""
    random, arrays = np.random.default_rng(seed), {}
    for spec in signature.inputs:
        shape = [free_size if size == -1 else size for size in spec.shape]
        if signature.is_batchable:
            shape[0] = rows
        kind = datatype(spec.datatype)
        if kind.name == "BYTES":
            known = (examples or {}).get(spec.name, (b"",))
            chosen = [known[(seed + at) % len(known)] for at in range(math.prod(shape))]
            arrays[spec.name] = np.array(chosen, dtype=object).reshape(shape)
        elif kind.name == "BF16":  # the upper half of a float32
            bits = random.standard_normal(shape).astype(np.float32).view(np.uint32)
            arrays[spec.name] = (bits >> 16).astype(np.uint16)
        elif kind.dtype.kind == "f":
            arrays[spec.name] = random.standard_normal(shape).astype(kind.dtype)
        else:
            arrays[spec.name] = random.integers(0, integers_below, shape).astype(kind.dtype)
    return arrays


def working_sizes(model: Model, signature: Signature, *, limit: int = 1) -> list[int]:
    """The first sizes of free dimensions, besides the batch, that the model takes.

    Raises:
        LoadError: the model fails whatever the size.
    """
    is_free = any(-1 in spec.shape[int(signature.is_batchable) :] for spec in signature.inputs)
    sizes: list[int] = []
    failures: list[str] = []
    for size in FREE_SIZES if is_free else (1,):
        try:
            model.run(sample(signature, rows=1, free_size=size, examples=examples_of(model)))
        except RunError as error:
            failures.append(str(error))
        else:
            sizes.append(size)
        if len(sizes) == limit:
            break
    if not sizes:
        raise LoadError(f"the model fails on a first inference: {failures[0]}")
    return sizes
