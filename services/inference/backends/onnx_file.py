"""Reads the few facts about an ONNX file that must be known before any library touches it.

A walk over the protobuf wire format by field numbers (onnx.proto); weights are skipped, not copied. ONNX has no magic
number, so this is also how a file is known to be ONNX.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MAX_DEPTH = 64

# Fields that lead to tensors: message → field number → message of that field.
_PATHS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


class MalformedProtoError(ValueError):
    """The bytes are no such message."""


@dataclass(slots=True)
class OnnxFacts:
    """``opsets``: version by operator domain ("" is ONNX's own); ``locations``: where weights lie, in other files."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    has_graph: bool = False
    locations: set[str] = field(default_factory=set)


def facts_of(path: Path) -> OnnxFacts:
    """What a file says of itself.

    Raises:
        MalformedProtoError: it isn't an ONNX model.
    """
    if not path.stat().st_size:
        raise MalformedProtoError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return read_facts(content)


def read_facts(content: mmap.mmap | bytes) -> OnnxFacts:
    """Walk the whole model once.

    Raises:
        MalformedProtoError: it isn't an ONNX model.
    """
    facts = OnnxFacts()
    with memoryview(content) as view:
        for number, value in _fields(view):
            if number == 1 and isinstance(value, int):
                facts.ir_version = value
            elif number == 8 and isinstance(value, memoryview):
                _read_opset(value, facts)
            elif isinstance(value, memoryview) and number in _PATHS["Model"]:
                facts.has_graph |= number == 7
                _walk(value, _PATHS["Model"][number], facts, 0)
            if isinstance(value, memoryview):
                value.release()
    if not (facts.ir_version and facts.has_graph and facts.opsets):
        raise MalformedProtoError("it lacks an IR version, a graph or an opset")
    return facts


def _read_opset(view: memoryview, facts: OnnxFacts) -> None:
    domain, version = "", 1
    for number, value in _fields(view):
        if number == 1 and isinstance(value, memoryview):
            domain = bytes(value).decode("utf-8", "replace")
        elif number == 2 and isinstance(value, int):
            version = value
    facts.opsets["" if domain == "ai.onnx" else domain] = version


def _walk(view: memoryview, message: str, facts: OnnxFacts, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise MalformedProtoError(f"graphs are nested deeper than {_MAX_DEPTH} levels")
    if message == "Tensor":
        for number, value in _fields(view):
            if number == _EXTERNAL_DATA and isinstance(value, memoryview):
                _read_entry(value, facts)
        return
    for number, value in _fields(view):
        if isinstance(value, memoryview):
            if number in _PATHS[message]:
                _walk(value, _PATHS[message][number], facts, depth + 1)
            value.release()


def _read_entry(view: memoryview, facts: OnnxFacts) -> None:
    entry = {number: bytes(value) for number, value in _fields(view) if isinstance(value, memoryview)}
    if entry.get(_ENTRY_KEY) == b"location":
        facts.locations.add(entry.get(_ENTRY_VALUE, b"").decode("utf-8", "replace"))


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value: an int for a number, a view for bytes, strings and messages."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedProtoError(f"byte {at} begins no field")
        if wire_type == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire_type == 2:
            size, at = _varint(view, at)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise MalformedProtoError(f"byte {at} has the unknown wire type {wire_type}")
        if at + size > len(view):
            raise MalformedProtoError(f"field {number} announces {size} bytes, {len(view) - at} are left")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedProtoError(f"byte {at} ends within a number")
