"""A model's answer in little, by which replicas on other machines are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.inference.domain.agreement import TOLERANCES, as_floats
from services.inference.domain.signature import Signature

Array = NDArray[Any]
Floats = NDArray[np.float64]

MOST_VALUES = 256
"""Of all floating-point outputs together. Outputs beyond so many are left out."""
SIBLING_SLACK = 10.0
"""Times the tolerance of an element: processors of other makes sum up in another order, layer after layer."""
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class AnswerDigest:
    """``exact`` is the SHA-256 of names, types and shapes, and of the elements of all types that must be equal.

    ``values`` are elements of the floating-point outputs, or weighted means over blocks of them; ``slack`` is how far
    each may be from another replica's.
    """

    exact: str
    values: Floats
    slack: Floats


def digest_of(outputs: Mapping[str, Array], signature: Signature) -> AnswerDigest:
    """Every element counts: those of blocks with weights of 0.5 to 1, so that their order does too.

    Outputs are in the numpy types of their v2 datatypes, and all there.
    """
    exact = hashlib.sha256()
    floats = [spec for spec in signature.outputs if spec.datatype in TOLERANCES][:MOST_VALUES]
    values, slack = [], []
    for spec in signature.outputs:
        array = outputs[spec.name]
        exact.update(f"{spec.name}\0{spec.datatype}\0{list(array.shape)}\n".encode())
        if spec.datatype not in TOLERANCES:
            exact.update(_content(array))
    for spec in floats:
        flat = as_floats(outputs[spec.name], spec.datatype).ravel()
        blocks = _blocks(flat, MOST_VALUES // len(floats))
        scale = float(np.abs(flat[np.isfinite(flat)]).max(initial=0.0))
        values.append(blocks)
        slack.append(np.full(len(blocks), SIBLING_SLACK * TOLERANCES[spec.datatype] * scale))
    none = np.zeros(0)
    return AnswerDigest(exact.hexdigest(), np.concatenate([none, *values]), np.concatenate([none, *slack]))


def _blocks(flat: Floats, most: int) -> Floats:
    """Elements, or means over so many blocks of them. What is infinite or no number makes its block so."""
    if len(flat) <= most:
        return flat
    weights = 0.5 + (np.arange(len(flat)) * _GOLDEN_RATIO % 1.0) / 2
    starts = np.arange(most) * len(flat) // most
    lengths = np.diff(np.append(starts, len(flat)))
    with np.errstate(invalid="ignore", over="ignore"):
        means: Floats = np.add.reduceat(flat * weights, starts) / lengths
    return means


def _content(array: Array) -> bytes:
    """Bytes that differ where elements do."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array).tobytes()
    elements = [one if isinstance(one, bytes) else str(one).encode() for one in array.ravel()]
    return b"".join([len(one).to_bytes(8, "little") + one for one in elements])
