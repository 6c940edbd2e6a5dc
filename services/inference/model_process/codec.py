"""Requests and responses of the Open Inference Protocol to arrays and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, datatype, join_bytes, split_bytes
from services.common.errors import InternalError, InvalidArgumentError
from services.inference.backends import Array
from services.inference.domain.signature import Signature, TensorSpec

Bucket = tuple[tuple[str, tuple[int, ...]], ...]

_MOST_BUCKETS_KNOWN = 1_024


@dataclass(frozen=True, slots=True)
class Tensors:
    """A request's content. Arrays are views of its bytes, where it has raw ones; empty ``output_names`` mean all.

    Requests of equal ``bucket`` agree in all dimensions but the first; None where the model is not batchable.
    """

    request_id: str
    inputs: Mapping[str, Array]
    output_names: tuple[str, ...]
    rows: int
    bucket: Bucket | None


class Codec:
    """Reads the requests and writes the responses of one model version."""

    def __init__(self, *, model: str, version: str, signature: Signature) -> None:
        self._model = model
        self._version = version
        self._signature = signature
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = {spec.name: datatype(spec.datatype) for spec in signature.outputs}
        self._known: set[Bucket] = set()

    def decode(self, content: bytes) -> Tensors:
        """Read a serialised ModelInferRequest.

        Raises:
            InvalidArgumentError: it doesn't fit the model; the message says what was got and what was expected.
        """
        try:
            request = pb.ModelInferRequest.FromString(content)
        except DecodeError as error:
            raise InvalidArgumentError(f"the request can't be parsed as a ModelInferRequest: {error}") from error
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise InvalidArgumentError(f"got {len(raw)} raw_input_contents for {len(request.inputs)} inputs")
        arrays: dict[str, Array] = {}
        for number, tensor in enumerate(request.inputs):
            spec = self._inputs.get(tensor.name)
            if spec is None or tensor.name in arrays:
                raise InvalidArgumentError(
                    f"got input {tensor.name!r}, expected each of {list(self._inputs)} once for model {self._model!r}"
                )
            arrays[tensor.name] = _read(tensor, raw[number] if raw else None, spec)
        if len(arrays) != len(self._inputs):
            missing = [name for name in self._inputs if name not in arrays]
            raise InvalidArgumentError(f"missing inputs {missing} for model {self._model!r}")
        rows = self._rows(arrays)
        return Tensors(request.id, arrays, self._output_names(request), rows, self._bucket(arrays))

    def _rows(self, arrays: Mapping[str, Array]) -> int:
        if not self._signature.is_batchable:
            return 1
        rows = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
        if len(rows) != 1 or 0 in rows:
            raise InvalidArgumentError(
                f"got first dimensions {sorted(rows)}, expected one batch size above 0 in all inputs"
            )
        limit, got = self._signature.max_batch_size, rows.pop()
        if limit and got > limit:
            raise InvalidArgumentError(f"got a batch of {got} rows, model {self._model!r} takes at most {limit}")
        return got

    def _bucket(self, arrays: Mapping[str, Array]) -> Bucket | None:
        bucket = tuple((name, arrays[name].shape[1:]) for name in self._inputs)
        if not self._signature.is_batchable or bucket not in self._known:
            for name, spec in self._inputs.items():
                _check_shape(arrays[name].shape, spec)
            if len(self._known) < _MOST_BUCKETS_KNOWN:
                self._known.add(bucket)
        return bucket if self._signature.is_batchable else None

    def _output_names(self, request: pb.ModelInferRequest) -> tuple[str, ...]:
        names = tuple(output.name for output in request.outputs)
        for name in names:
            if name not in self._outputs:
                raise InvalidArgumentError(f"got output {name!r}, expected some of {list(self._outputs)}")
        return names

    def encode(self, tensors: Tensors, outputs: Mapping[str, Array]) -> bytes:
        """A serialised ModelInferResponse with one request's share of the outputs, always as raw contents.

        Raises:
            InternalError: the model gave other outputs than its signature says.
        """
        response = pb.ModelInferResponse(model_name=self._model, model_version=self._version, id=tensors.request_id)
        for name in tensors.output_names or self._outputs:
            kind, array = self._outputs[name], outputs.get(name)
            if array is None or array.dtype != kind.dtype:
                got = "nothing" if array is None else f"numpy type {array.dtype}"
                raise InternalError(f"the model gave {got} for output {name!r}, expected {kind.name}")
            output = response.outputs.add(name=name, datatype=kind.name)
            output.shape.extend(array.shape)
            response.raw_output_contents.append(
                join_bytes(array.ravel().tolist()) if kind.name == "BYTES" else array.tobytes()
            )
        return response.SerializeToString()


def _read(tensor: Any, raw: bytes | None, spec: TensorSpec) -> Array:
    """One input as an array; the shape's product must fit the bytes or elements that came."""
    if tensor.datatype != spec.datatype:
        raise InvalidArgumentError(f"got datatype {tensor.datatype} for input {spec.name!r}, expected {spec.datatype}")
    kind, shape = DATATYPES[spec.datatype], tuple(tensor.shape)
    count = 1
    for size in shape:
        if size < 0:
            raise InvalidArgumentError(f"got shape {list(shape)} for input {spec.name!r}, expected no negative size")
        count *= size
    if raw is None:
        elements = _typed(tensor, kind.contents_field, spec)
    elif tensor.HasField("contents"):
        raise InvalidArgumentError(f"got raw and typed contents for input {spec.name!r}, expected one of them")
    elif kind.name == "BYTES":
        elements = _objects(split_bytes(raw))
    elif len(raw) != count * kind.itemsize:
        raise InvalidArgumentError(
            f"got {len(raw)} bytes for input {spec.name!r}, expected {count * kind.itemsize} "
            f"for {spec.datatype} {list(shape)}"
        )
    else:
        elements = np.frombuffer(raw, kind.dtype)
    if len(elements) != count:
        raise InvalidArgumentError(
            f"got {len(elements)} elements for input {spec.name!r}, expected {count} for shape {list(shape)}"
        )
    try:
        return elements.reshape(shape)
    except ValueError as error:  # no elements, and sizes beyond all measure beside the 0
        raise InvalidArgumentError(f"got shape {list(shape)} for input {spec.name!r}: {error}") from error


def _typed(tensor: Any, field: str | None, spec: TensorSpec) -> Array:
    if field is None:
        raise InvalidArgumentError(
            f"{spec.datatype} input {spec.name!r} has no typed contents, expected raw_input_contents"
        )
    values, kind = getattr(tensor.contents, field), DATATYPES[spec.datatype]
    if kind.name == "BYTES":
        return _objects(values)
    try:
        return np.array(values, dtype=kind.dtype)
    except OverflowError as error:
        raise InvalidArgumentError(f"input {spec.name!r} holds a value outside {spec.datatype}: {error}") from error


def _objects(values: Sequence[bytes]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    fits = len(shape) == len(spec.shape) and all(want in (-1, got) for got, want in zip(shape, spec.shape, strict=True))
    if not fits:
        raise InvalidArgumentError(f"got shape {list(shape)} for input {spec.name!r}, expected {list(spec.shape)}")
