"""What a model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, Open Inference Protocol data type, and shape, where -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's tensors in its own order.

    ``is_batchable``: the first dimension of every tensor counts rows, and rows don't influence each other.
    ``max_batch_size`` is the limit that the file itself sets, 0 where none is known.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batchable: bool
    max_batch_size: int = 0

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Signature:
        """Read what ``dataclasses.asdict`` gave.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """
        return cls(
            inputs=_specs(fields["inputs"]),
            outputs=_specs(fields["outputs"]),
            is_batchable=bool(fields["is_batchable"]),
            max_batch_size=int(fields.get("max_batch_size", 0)),
        )


def _specs(rows: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(str(row["name"]), str(row["datatype"]), tuple(int(size) for size in row["shape"])) for row in rows
    )


def has_free_first_dimension(specs: Sequence[TensorSpec]) -> bool:
    """True when every tensor could count rows in its first dimension."""
    return bool(specs) and all(spec.shape and spec.shape[0] == -1 for spec in specs)
