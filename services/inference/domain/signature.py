"""What a model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, Open Inference Protocol data type, and shape, where -1 is a free dimension.

    ``labels`` name the classes that the last dimension counts, where they are known.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's tensors in its own order.

    ``is_batchable``: the first dimension of every tensor counts rows, and rows don't influence each other.
    ``max_batch_size`` is the limit that the file itself sets, 0 where none is known. ``is_decoupled``: a request is
    answered by any number of responses, one after the other.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batchable: bool
    max_batch_size: int = 0
    is_decoupled: bool = False

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Signature:
        """Read what ``dataclasses.asdict`` gave.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """
        return cls(
            inputs=specs_from_json(fields["inputs"]),
            outputs=specs_from_json(fields["outputs"]),
            is_batchable=bool(fields["is_batchable"]),
            max_batch_size=int(fields.get("max_batch_size", 0)),
            is_decoupled=bool(fields.get("is_decoupled", False)),
        )


def specs_from_json(rows: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Read what ``dataclasses.asdict`` gave. Raises as :meth:`Signature.from_json`."""
    return tuple(
        TensorSpec(
            str(row["name"]),
            str(row["datatype"]),
            tuple(map(int, row["shape"])),
            tuple(map(str, row.get("labels", ()))),
        )
        for row in rows
    )


def has_free_first_dimension(specs: Sequence[TensorSpec]) -> bool:
    """True when every tensor could count rows in its first dimension."""
    return bool(specs) and all(spec.shape and spec.shape[0] == -1 for spec in specs)
