"""Requests and responses of the Open Inference Protocol to arrays and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, datatype, join_bytes, split_bytes
from services.common.errors import InternalError, InvalidArgumentError
from services.common.forms import KnownForms, form_of
from services.common.payloads.layout import ALIGNMENT
from services.inference.backends import Array
from services.inference.domain.signature import Signature, TensorSpec

Keep = Callable[[Sequence[bytes | memoryview], int], memoryview | None]
Bucket = tuple[tuple[str, tuple[int, ...]], ...]

_MOST_KNOWN = 1_024
_LONGEST_KNOWN = 1_024
_END = slice(None)
KEPT_BYTES = 32 * 1024
"""Responses from this size on are put into shared memory."""
_MOST_BYTES = 2**31 - 2**20
"""Of a response: a protobuf message, which others wrap, has less than 2 GiB."""


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
            name: _array(content, dtype).reshape(shape)
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


@dataclass(slots=True)
class Column:
    """An output of a batch: its bytes in one piece where its elements have a fixed size, and how many a row takes.

    ``shape`` and ``size`` are those of one row where the model is batchable, else of the whole.
    """

    array: Array
    content: bytes | memoryview | None
    shape: tuple[int, ...]
    size: int


Head = list[tuple[str, bytes]]
"""Of a response: the names of its outputs, each with all that precedes its contents."""


@dataclass(slots=True)
class Outputs:
    """What a model gave for a batch. ``heads`` are known beginnings of responses, by output names and rows."""

    arrays: Mapping[str, Array]
    columns: dict[str, Column]
    heads: dict[tuple[tuple[str, ...], int], Head]


class Codec:
    """Reads the requests and writes the responses of one model version.

    Checks nothing twice: what was found of a request's inputs without their contents (names, datatypes, shapes, sizes)
    holds for all requests that say the same, and a response begins like all of its shapes.
    """

    def __init__(self, *, model: str, version: str, signature: Signature, keep: Keep | None = None) -> None:
        """``keep`` is where large responses go; it answers None when it has no room."""
        self._model = model
        self._version = version
        self._signature = signature
        self._keep = keep
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = {spec.name: datatype(spec.datatype) for spec in signature.outputs}
        self._is_fixed = all(datatype(spec.datatype).itemsize for spec in signature.inputs)
        self._known: KnownForms[tuple[Form, tuple[str, ...], list[slice]]] = KnownForms()
        self._forms: dict[Any, Form] = {}
        self._heads: dict[Any, dict[tuple[tuple[str, ...], int], Head]] = {}

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
            arrays[tensor.name] = _read(tensor, raw[number] if raw else None, spec)
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
                raise InvalidArgumentError(f"got output {name!r}, expected some of {list(self._outputs)}")
        return names

    def prepare(self, outputs: Mapping[str, Array]) -> Outputs:
        """What the responses of a batch have in common."""
        skipped = 1 if self._signature.is_batchable else 0
        columns: dict[str, Column] = {}
        for name, kind in self._outputs.items():
            array = outputs.get(name)
            if array is None or array.dtype != kind.dtype:
                continue
            shape = array.shape[skipped:]
            is_fixed = kind.itemsize > 0
            size = math.prod(shape) * kind.itemsize
            columns[name] = Column(array, _content(array) if is_fixed else None, shape, size)
        heads = self._heads.setdefault(tuple([(name, column.shape) for name, column in columns.items()]), {})
        if len(self._heads) > _MOST_KNOWN:
            self._heads.clear()
        return Outputs(outputs, columns, heads)

    def encode(self, tensors: Tensors, outputs: Outputs, first_row: int) -> bytes | memoryview:
        """A serialised ModelInferResponse with one request's share of the outputs, always as raw contents.

        Raises:
            InternalError: the model gave other outputs than its signature says, or more than a response can hold.
        """
        rows = tensors.form.rows
        said = (tensors.output_names, rows)
        head = outputs.heads.get(said)
        if head is None:
            head = self._head(tensors, outputs)
            if len(outputs.heads) < _MOST_KNOWN:
                outputs.heads[said] = head
        # As SerializeToString would, in another order: the id and each output's contents are fields of one message.
        parts: list[bytes | memoryview] = []
        if tensors.request_id:
            request_id = tensors.request_id.encode()
            parts = [_field(_ID, len(request_id)), request_id]
        for name, before in head:
            column = outputs.columns[name]
            if column.content is not None:
                start = first_row * column.size
                end = start + rows * column.size if self._signature.is_batchable else None
                parts += (before, column.content[start:end])
            else:
                share = column.array[first_row : first_row + rows] if self._signature.is_batchable else column.array
                raw = join_bytes(share.ravel().tolist())
                parts += (before, _field(_RAW_OUTPUT_CONTENTS, len(raw)), raw)
        size = sum(map(len, parts))
        if size > _MOST_BYTES:
            raise InternalError(f"the outputs take {size} bytes, a response may have {_MOST_BYTES}")
        kept = self._keep(parts, size) if size >= KEPT_BYTES and self._keep is not None else None
        return b"".join(parts) if kept is None else kept

    def _head(self, tensors: Tensors, outputs: Outputs) -> Head:
        names = tensors.output_names or tuple(self._outputs)
        response = pb.ModelInferResponse(model_name=self._model, model_version=self._version)
        head: list[tuple[str, bytes]] = []
        for name in names:
            kind, column = self._outputs[name], outputs.columns.get(name)
            if column is None:
                array = outputs.arrays.get(name)
                got = "nothing" if array is None else f"numpy type {array.dtype}"
                raise InternalError(f"the model gave {got} for output {name!r}, expected {kind.name}")
            first, size = (
                ((tensors.rows,), tensors.rows * column.size) if self._signature.is_batchable else ((), column.size)
            )
            response.outputs.add(name=name, datatype=kind.name, shape=(*first, *column.shape))
            head.append((name, _field(_RAW_OUTPUT_CONTENTS, size) if column.content is not None else b""))
        if head:
            head[0] = names[0], bytes(response.SerializeToString()) + head[0][1]
        return head


def _content(array: Array) -> bytes | memoryview:
    """The bytes of an array: copied where there are few, which is faster than what a view takes."""
    return array.tobytes() if array.nbytes < KEPT_BYTES else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _array(content: bytes | memoryview, dtype: np.dtype[Any]) -> Array:
    """Elements as an array: a view, unless they lie in shared memory where vector instructions don't want them."""
    array = np.frombuffer(content, dtype)
    if isinstance(content, memoryview) and array.__array_interface__["data"][0] % ALIGNMENT:
        return array.copy()
    return array


_ID = pb.ModelInferResponse.ID_FIELD_NUMBER
_RAW_OUTPUT_CONTENTS = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER


@lru_cache(maxsize=1_024)
def _field(number: int, size: int) -> bytes:
    """What precedes the bytes of a field in protobuf's wire format: number and kind, length."""
    said = bytearray((number << 3 | 2,))
    while size > 127:
        said.append(size & 127 | 128)
        size >>= 7
    said.append(size)
    return bytes(said)


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
