"""Requests of the Open Inference Protocol to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, datatype, split_bytes
from services.common.errors import InvalidArgumentError
from services.common.forms import KnownForms, form_of
from services.inference.backends import Array
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.tensors import Form, Tensors

_MOST_KNOWN = 1_024
_LONGEST_KNOWN = 1_024
_END = slice(None)


class Decoder:
    """Reads the requests of one model version.

    Checks nothing twice: what was found of a request's inputs without their contents (names, datatypes, shapes, sizes)
    holds for all requests that say the same.
    """

    def __init__(self, *, model: str, signature: Signature) -> None:
        self._model = model
        self._signature = signature
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = [spec.name for spec in signature.outputs]
        self._is_fixed = all(datatype(spec.datatype).itemsize for spec in signature.inputs)
        self._known: KnownForms[tuple[Form, tuple[str, ...], list[slice]]] = KnownForms()
        self._forms: dict[Any, Form] = {}

    def decode(self, content: bytes | memoryview) -> Tensors:
        """Read a serialised ModelInferRequest.

        Raises:
            InvalidArgumentError: it doesn't fit the model; the message says what was got and what was expected.
        """
        known = self._known.recall(content)
        if known is not None:
            form, names, cuts = known
            return Tensors("", form, names, [content[cut] for cut in cuts])
        try:
            request = pb.ModelInferRequest.FromString(content)
        except DecodeError as error:
            raise InvalidArgumentError(f"the request can't be parsed as a ModelInferRequest: {error}") from error
        raw = request.raw_input_contents
        if not raw or not self._is_fixed:
            form, arrays = self._read(request)
            return Tensors(request.id, form, self._output_names(request), None, arrays)
        said = (*[tensor.SerializeToString() for tensor in request.inputs], *map(len, raw))
        form = self._forms.get(said) or self._learn(request, said)
        names = self._output_names(request) if request.outputs else ()
        if not request.id and (pieces := form_of(content, raw)):  # an id that is used once isn't worth remembering
            cuts = [slice(one.stop, after.start) for one, after in zip_longest(pieces, pieces[1:], fillvalue=_END)]
            self._known.learn(content, raw, (form, names, [cuts[place] for place in form.places]))
        return Tensors(request.id, form, names, [raw[place] for place in form.places])

    def _learn(self, request: pb.ModelInferRequest, said: tuple[Any, ...]) -> Form:
        form, _ = self._read(request)
        # A caller may write parameters of any length beside an input.
        if len(self._forms) < _MOST_KNOWN and sum(len(one) for one in said if isinstance(one, bytes)) < _LONGEST_KNOWN:
            self._forms[said] = form
        return form

    def _read(self, request: pb.ModelInferRequest) -> tuple[Form, Mapping[str, Array]]:
        """Check the inputs, and read them as arrays."""
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
            arrays[tensor.name] = _read_input(tensor, raw[number] if raw else None, spec)
        if len(arrays) != len(self._inputs):
            missing = [name for name in self._inputs if name not in arrays]
            raise InvalidArgumentError(f"missing inputs {missing} for model {self._model!r}")
        for name, spec in self._inputs.items():
            _check_shape(arrays[name].shape, spec)
        names, places = tuple(self._inputs), list(arrays)
        form = Form(
            names,
            tuple(arrays[name].dtype for name in names),
            tuple(arrays[name].shape for name in names),
            tuple(places.index(name) for name in names),
            self._rows(arrays),
            tuple((name, arrays[name].shape[1:]) for name in names) if self._signature.is_batchable else None,
        )
        return form, arrays

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

    def _output_names(self, request: pb.ModelInferRequest) -> tuple[str, ...]:
        names = tuple(output.name for output in request.outputs)
        for name in names:
            if name not in self._outputs:
                raise InvalidArgumentError(f"got output {name!r}, expected some of {self._outputs}")
        return names


def _read_input(tensor: Any, raw: bytes | None, spec: TensorSpec) -> Array:
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
