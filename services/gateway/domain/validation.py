"""Checks a request against the signature of the version that it is for, so that a bad one never reaches a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

from services.common.datatypes import DATATYPES
from services.common.errors import InvalidArgumentError, UnimplementedError
from services.gateway.domain.versions import ServedVersion, TensorSpec

CONTENTS_FIELDS = tuple(dict.fromkeys(kind.contents_field for kind in DATATYPES.values() if kind.contents_field))
_RANGES = {
    name: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name.startswith("INT") else (0, (1 << bits) - 1)
    for name, bits in (("INT8", 8), ("INT16", 16), ("UINT8", 8), ("UINT16", 16))
}


class Tensor(Protocol):
    """An input of ``inference.ModelInferRequest``, or as much of it as matters here."""

    name: str
    datatype: str
    shape: Sequence[int]
    parameters: Mapping[str, Any]
    contents: Any

    def HasField(self, name: str, /) -> bool: ...


class RequestedOutput(Protocol):
    name: str
    parameters: Mapping[str, Any]


class InferRequest(Protocol):
    """``inference.ModelInferRequest``, or as much of it as matters here."""

    model_name: str
    model_version: str
    id: str
    parameters: Mapping[str, Any]
    inputs: Sequence[Tensor]
    outputs: Sequence[RequestedOutput]
    raw_input_contents: Sequence[bytes]


def check(request: InferRequest, version: ServedVersion) -> int:
    """Check inputs and requested outputs; return the rows that the request takes in a batch.

    Raises:
        InvalidArgumentError: the request does not fit; the message says what was got and what was expected.
        UnimplementedError: it asks for something that is not supported yet.
    """
    inputs, raw = request.inputs, request.raw_input_contents
    _check_names(inputs, version)
    if raw and len(raw) != len(inputs):
        raise InvalidArgumentError(
            f"got {len(raw)} raw_input_contents for {len(inputs)} inputs, expected one for each input"
        )
    for at, tensor in enumerate(inputs):
        spec = version.inputs_by_name[tensor.name]
        elements = _check_shape(tensor, spec)
        if raw:
            if tensor.HasField("contents"):
                raise InvalidArgumentError(
                    f"input '{tensor.name}' has typed contents in a request with raw_input_contents, "
                    "expected one form or the other for all inputs"
                )
            _check_raw(raw[at], spec, elements)
        else:
            _check_contents(tensor, spec, elements)
    return check_beside(request, version)


def check_beside(request: InferRequest, version: ServedVersion) -> int:
    """What is left of :func:`check` for a request that was checked against another version with the same inputs.

    Raises:
        InvalidArgumentError: as :func:`check`.
        UnimplementedError: as :func:`check`.
    """
    if request.outputs:
        _check_outputs(request.outputs, version)
    return _rows(request.inputs, version)


def _check_names(inputs: Sequence[Tensor], version: ServedVersion) -> None:
    expected = version.inputs_by_name
    names = [tensor.name for tensor in inputs]
    if len(names) == len(expected) and expected.keys() == set(names):
        return
    known = ", ".join(map(str, version.inputs))
    for at, name in enumerate(names):
        if name not in expected:
            raise InvalidArgumentError(f"got unexpected input '{name}', model '{version.model}' expects {known}")
        if name in names[:at]:
            raise InvalidArgumentError(f"got input '{name}' more than once, model '{version.model}' expects {known}")
    missing = ", ".join(f"'{name}'" for name in expected if name not in names)
    raise InvalidArgumentError(f"missing input {missing}, model '{version.model}' expects {known}")


def _check_shape(tensor: Tensor, spec: TensorSpec) -> int:
    """Check datatype and shape; return the number of elements."""
    if tensor.datatype != spec.datatype:
        raise InvalidArgumentError(f"input '{spec.name}' has datatype '{tensor.datatype}', expected {spec.datatype}")
    if tensor.parameters and "shared_memory_region" in tensor.parameters:
        raise UnimplementedError(f"input '{spec.name}' is in shared memory, which is not supported: send its bytes")
    shape = tuple(tensor.shape)
    if len(shape) != len(spec.shape) or any(
        got != want if want >= 0 else got < 0 for got, want in zip(shape, spec.shape, strict=True)
    ):
        raise InvalidArgumentError(f"input '{spec.name}' has shape {list(shape)}, expected {list(spec.shape)}")
    return prod(shape)


def _check_raw(raw: bytes, spec: TensorSpec, elements: int) -> None:
    if spec.itemsize == 0:
        _check_raw_strings(raw, spec, elements)
    elif len(raw) != elements * spec.itemsize:
        raise InvalidArgumentError(
            f"input '{spec.name}' has {len(raw)} bytes, expected {elements * spec.itemsize}: "
            f"{elements} elements of {spec.datatype}"
        )


def _check_raw_strings(raw: bytes, spec: TensorSpec, elements: int) -> None:
    found = at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if at + 4 > len(raw) or end > len(raw):
            raise InvalidArgumentError(
                f"input '{spec.name}' is no BYTES tensor: element {found} ends at byte {max(end, at + 4)}, "
                f"got {len(raw)} bytes"
            )
        found, at = found + 1, end
    if found != elements:
        raise InvalidArgumentError(f"input '{spec.name}' has {found} BYTES elements, expected {elements}")


def _check_contents(tensor: Tensor, spec: TensorSpec, elements: int) -> None:
    field = DATATYPES[spec.datatype].contents_field
    if field is None:
        raise InvalidArgumentError(
            f"input '{spec.name}' has no bytes in raw_input_contents, expected {spec.datatype} there: "
            "it has no typed contents"
        )
    for other in CONTENTS_FIELDS:
        if other != field and len(getattr(tensor.contents, other)):
            raise InvalidArgumentError(
                f"input '{spec.name}' has {other}, expected {field} for datatype {spec.datatype}"
            )
    values = getattr(tensor.contents, field)
    if len(values) != elements:
        raise InvalidArgumentError(f"input '{spec.name}' has {len(values)} elements in {field}, expected {elements}")
    limits = _RANGES.get(spec.datatype)
    if limits and elements and not limits[0] <= min(values) <= max(values) <= limits[1]:
        raise InvalidArgumentError(
            f"input '{spec.name}' has values from {min(values)} to {max(values)}, "
            f"expected {limits[0]} to {limits[1]} for {spec.datatype}"
        )


def _check_outputs(outputs: Sequence[RequestedOutput], version: ServedVersion) -> None:
    seen: set[str] = set()
    for output in outputs:
        if output.name not in version.outputs_by_name or output.name in seen:
            known = ", ".join(map(str, version.outputs))
            what = "more than once" if output.name in seen else "which the model does not have"
            raise InvalidArgumentError(f"got output '{output.name}' {what}, model '{version.model}' gives {known}")
        seen.add(output.name)
        for parameter in ("classification", "shared_memory_region"):
            if parameter in output.parameters:
                raise UnimplementedError(f"output '{output.name}' asks for {parameter}, which is not supported")


def _rows(inputs: Sequence[Tensor], version: ServedVersion) -> int:
    """Rows of the request: the common first dimension where the version has a batch dimension, else 1."""
    if version.max_batch_size == 0 or not inputs:
        return 1
    first, *others = [tensor.shape[0] for tensor in inputs]
    if any(rows != first for rows in others):
        got = ", ".join(f"'{tensor.name}' {tensor.shape[0]}" for tensor in inputs)
        raise InvalidArgumentError(f"inputs differ in their batch dimension, expected the same for all: got {got}")
    if not 1 <= first <= version.max_batch_size:
        raise InvalidArgumentError(
            f"got a batch of {first}, model '{version.model}' takes 1 to {version.max_batch_size}"
        )
    return first
