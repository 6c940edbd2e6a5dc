"""The data types of the Open Inference Protocol, in one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Datatype:
    """One data type: protocol name, bytes per element, numpy type, field of InferTensorContents, Triton config name.

    ``dtype`` is the little-endian numpy type that raw bytes are read as; BF16 is read as its 16-bit pattern (uint16),
    BYTES as objects. ``itemsize`` is 0 for BYTES, whose elements are a 4-byte little-endian length and the bytes.
    ``contents_field`` is None where the protocol has no typed field (FP16, BF16).
    """

    name: str
    itemsize: int
    dtype: np.dtype[np.generic]
    contents_field: str | None
    config_name: str

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f" or self.name == "BF16"


def _table() -> dict[str, Datatype]:
    rows = [
        ("BOOL", 1, "?", "bool_contents"),
        ("UINT8", 1, "u1", "uint_contents"),
        ("UINT16", 2, "<u2", "uint_contents"),
        ("UINT32", 4, "<u4", "uint_contents"),
        ("UINT64", 8, "<u8", "uint64_contents"),
        ("INT8", 1, "i1", "int_contents"),
        ("INT16", 2, "<i2", "int_contents"),
        ("INT32", 4, "<i4", "int_contents"),
        ("INT64", 8, "<i8", "int64_contents"),
        ("FP16", 2, "<f2", None),
        ("FP32", 4, "<f4", "fp32_contents"),
        ("FP64", 8, "<f8", "fp64_contents"),
        ("BF16", 2, "<u2", None),
        ("BYTES", 0, "O", "bytes_contents"),
    ]
    return {
        name: Datatype(name, size, np.dtype(kind), field, "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}")
        for name, size, kind, field in rows
    }


DATATYPES = _table()


def datatype(name: str) -> Datatype:
    """Look a data type up by its protocol name.

    Raises:
        InvalidArgumentError: there is no such data type.
    """
    try:
        return DATATYPES[name]
    except KeyError:
        raise InvalidArgumentError(f"unknown datatype {name!r}, expected one of {', '.join(DATATYPES)}") from None


def bfloat16_as_floats(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The numbers that BF16's bit patterns stand for: each is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def split_bytes(raw: bytes | memoryview) -> list[bytes]:
    """Split the raw form of a BYTES tensor (4-byte little-endian length + bytes, repeated) into its elements.

    Raises:
        InvalidArgumentError: the lengths do not add up to the size of ``raw``.
    """
    elements: list[bytes] = []
    at, view = 0, memoryview(raw)
    while at < len(view):
        length = int.from_bytes(view[at : at + 4], "little")
        if at + 4 > len(view) or at + 4 + length > len(view):
            raise InvalidArgumentError(
                f"malformed BYTES tensor: element {len(elements)} announces {length} bytes, "
                f"{max(0, len(view) - at - 4)} are left"
            )
        elements.append(bytes(view[at + 4 : at + 4 + length]))
        at += 4 + length
    return elements


def join_bytes(elements: list[bytes]) -> bytes:
    """The raw form of a BYTES tensor: the reverse of :func:`split_bytes`."""
    return b"".join(part for element in elements for part in (len(element).to_bytes(4, "little"), element))
