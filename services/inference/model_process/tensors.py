"""What a request asks of a model: its inputs, and how those of a batch are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.payloads.layout import ALIGNMENT
from services.inference.backends import Array

Bucket = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """What requests have in common that say the same of their inputs. Tuples are in the signature's order.

    Requests of equal ``bucket`` agree in names, datatypes and all dimensions but the first; None where the model is not
    batchable. ``places`` are those of the inputs within a request.
    """

    names: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...]
    shapes: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    rows: int
    bucket: Bucket | None


@dataclass(slots=True)
class Tensors:
    """A request's content; empty ``output_names`` mean all.

    ``raw`` holds the bytes of each input where all came as raw bytes of elements of a fixed size, else ``arrays`` holds
    the inputs.
    """

    request_id: str
    form: Form
    output_names: tuple[str, ...]
    raw: Sequence[bytes | memoryview] | None
    arrays: Mapping[str, Array] | None = None

    @property
    def rows(self) -> int:
        return self.form.rows

    @property
    def bucket(self) -> Bucket | None:
        return self.form.bucket

    @property
    def inputs(self) -> Mapping[str, Array]:
        """The inputs as arrays: views of the request's bytes where it has raw ones."""
        if self.raw is None:
            return self.arrays or {}
        form = self.form
        return {
            name: _elements(content, dtype).reshape(shape)
            for name, dtype, shape, content in zip(form.names, form.dtypes, form.shapes, self.raw, strict=True)
        }


def join(batch: Sequence[Tensors]) -> Mapping[str, Array]:
    """The inputs of requests of one bucket, one below the other: arrays that may be written to, as torch wants them."""
    if len(batch) == 1:
        return batch[0].inputs
    raws = [one.raw for one in batch if one.raw is not None]
    if len(raws) < len(batch):
        inputs = [one.inputs for one in batch]
        return {name: np.concatenate([one[name] for one in inputs]) for name in batch[0].form.names}
    form, rows = batch[0].form, sum([one.form.rows for one in batch])
    return {
        name: np.frombuffer(bytearray().join(contents), dtype).reshape(rows, *shape[1:])
        for name, dtype, shape, contents in zip(
            form.names, form.dtypes, form.shapes, zip(*raws, strict=True), strict=True
        )
    }


def _elements(content: bytes | memoryview, dtype: np.dtype[Any]) -> Array:
    """Elements as an array: a view, unless they lie in shared memory where vector instructions don't want them."""
    array = np.frombuffer(content, dtype)
    if isinstance(content, memoryview) and array.__array_interface__["data"][0] % ALIGNMENT:
        return array.copy()
    return array
