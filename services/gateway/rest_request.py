"""Reads REST inference requests: JSON, JSON with binary tensors behind it, or the bare bytes of one tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import Datatype, datatype, join_bytes
from services.common.errors import InvalidArgumentError
from services.gateway.domain.versions import ServedVersion

_INT64 = range(-(2**63), 2**63)
_Kind = TypeVar("_Kind")
_KIND_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class OutputForm:
    """Which outputs are answered as binary: those named here, by default the others as ``default`` says."""

    default: bool = False
    by_name: Mapping[str, bool] | None = None

    def is_binary(self, name: str) -> bool:
        return self.default if self.by_name is None else self.by_name.get(name, self.default)


def read_request(body: bytes, header_length: str | None, served: ServedVersion) -> tuple[Any, OutputForm]:
    """Read a request's body into a ModelInferRequest without model name and version.

    ``header_length`` is the header ``Inference-Header-Content-Length``: how many bytes of the body are JSON; 0 means
    that the body is the model's one input. The message's tensors are raw; whether they fit the model is not checked.

    Raises:
        InvalidArgumentError: the body is malformed; the message says where.
    """
    size = len(body) if header_length is None else _header_length(header_length, len(body))
    if size == 0 and header_length is not None:
        return _bare_tensor(body, served), OutputForm(default=True)
    document = _object(_parse(body[:size]), "the request")
    tail = _Tail(body, size)
    request_id = _unicode(_take(document, "id", str, "the request", default=""), "'id' of the request")
    request = pb.ModelInferRequest(id=request_id)
    parameters = _take(document, "parameters", dict, "the request", default={})
    _read_parameters(request.parameters, parameters, "the request")
    for at, value in enumerate(_take(document, "inputs", list, "the request")):
        _read_input(request, _object(value, f"inputs[{at}]"), f"inputs[{at}]", tail)
    tail.check_used_up()
    is_binary = _flag(parameters, "binary_data_output", "the request")
    form = _read_outputs(request, _take(document, "outputs", list, "the request", default=[]), default=is_binary)
    _check_json_outputs(form, served)
    return request, form


def _header_length(text: str, size: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > size:
        raise InvalidArgumentError(
            f"got Inference-Header-Content-Length '{text[:32]}', expected 0 to {size}, the body's size"
        )
    return int(text)


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # Python's clients write NaN and Infinity, which JSON proper does not have.
        if b"NaN" not in text and b"Infinity" not in text:
            raise InvalidArgumentError(f"the request is no JSON: {error}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the request is no JSON: {error}") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{where} is {_shown(value)}, expected an object")
    return value


def _take(document: dict[str, Any], key: str, kind: type[_Kind], where: str, *, default: _Kind | None = None) -> _Kind:
    value = document.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        got = f"is {_shown(value)}" if key in document else "is missing"
        raise InvalidArgumentError(f"'{key}' of {where} {got}, expected {_KIND_NAMES[kind]}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


class _Tail:
    """The binary tensors behind the JSON."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, size: int, where: str) -> bytes:
        left = len(self._body) - self._at
        if not 0 <= size <= left:
            raise InvalidArgumentError(f"'binary_data_size' of {where} is {size}, expected 0 to {left}, the bytes left")
        self._at += size
        return self._body[self._at - size : self._at]

    def check_used_up(self) -> None:
        if self._at != len(self._body):
            raise InvalidArgumentError(
                f"{len(self._body) - self._at} bytes are left behind the last binary tensor, expected none"
            )


def _read_parameters(target: Any, parameters: dict[str, Any], where: str) -> None:
    for key, value in parameters.items():
        if key in ("binary_data_output", "binary_data_size", "binary_data"):
            continue
        if isinstance(value, bool):
            target[key].bool_param = value
        elif isinstance(value, int) and value in _INT64:
            target[key].int64_param = value
        elif isinstance(value, float):
            target[key].double_param = value
        elif isinstance(value, str):
            target[key].string_param = _unicode(value, f"'{key}' of {where}")
        else:
            raise InvalidArgumentError(f"'{key}' of {where} is {_shown(value)}, expected a boolean, number or string")


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{where} is no Unicode text") from None
    return text


def _read_input(request: Any, value: dict[str, Any], where: str, tail: _Tail) -> None:
    name = _unicode(_take(value, "name", str, where), f"'name' of {where}")
    kind = datatype(_take(value, "datatype", str, where))
    shape = _take(value, "shape", list, where)
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63 for size in shape):
        raise InvalidArgumentError(f"'shape' of {where} is {_shown(shape)}, expected whole numbers of at least 0")
    parameters = _take(value, "parameters", dict, where, default={})
    tensor = request.inputs.add(name=name, datatype=kind.name, shape=shape)
    _read_parameters(tensor.parameters, parameters, where)
    if "binary_data_size" in parameters:
        if "data" in value:
            raise InvalidArgumentError(f"{where} has both 'data' and 'binary_data_size', expected one of them")
        raw = tail.take(_take(parameters, "binary_data_size", int, where), where)
    else:
        raw = tensor_bytes(_take(value, "data", list, where), kind, shape, where)
    request.raw_input_contents.append(raw)


def tensor_bytes(data: list[Any], kind: Datatype, shape: list[int], where: str) -> bytes:
    """A tensor's JSON values, flat or nested as the shape says, as raw bytes.

    Raises:
        InvalidArgumentError: they are of another type, don't fit it, or don't fit the shape.
    """
    if kind.contents_field is None:
        raise InvalidArgumentError(f"'data' of {where} is {kind.name}, which JSON can't carry: send it as binary data")
    try:
        array = np.array(data, dtype=object if kind.itemsize == 0 else None)
    except ValueError:
        raise InvalidArgumentError(f"'data' of {where} is ragged, expected a flat list or the shape {shape}") from None
    if array.shape not in ((prod(shape),), tuple(shape)) and not array.size == prod(shape) == 0:
        raise InvalidArgumentError(
            f"'data' of {where} has shape {list(array.shape)}, expected {shape}, or a flat list of {prod(shape)}"
        )
    if kind.itemsize == 0:
        return _string_bytes(array, where)
    if kind.dtype.kind in "iu" and array.dtype.kind == "f":
        array = _exact(data, array)
    return _converted(array, kind, where).tobytes()


def _exact(data: list[Any], rounded: NDArray[Any]) -> NDArray[Any]:
    """Integers as they are, where numpy rounded them because int64 and uint64 have no common type but float64."""
    exact = np.array(data, dtype=object)
    return exact.astype(np.uint64) if all(type(one) is int and 0 <= one < 2**64 for one in exact.flat) else rounded


def _string_bytes(array: NDArray[Any], where: str) -> bytes:
    elements = []
    for element in array.flat:
        if not isinstance(element, str):
            raise InvalidArgumentError(f"'data' of {where} holds {_shown(element)}, expected strings")
        elements.append(_unicode(element, f"a string in 'data' of {where}").encode())
    return join_bytes(elements)


_JSON_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
"""Which kinds of numpy array JSON values of each kind of datatype may turn into."""


def _converted(array: NDArray[Any], kind: Datatype, where: str) -> NDArray[Any]:
    if array.size == 0:
        return array.astype(kind.dtype)
    if array.dtype.kind not in _JSON_KINDS[kind.dtype.kind]:
        raise InvalidArgumentError(f"'data' of {where} holds values that are no {kind.name}")
    if kind.dtype.kind in "iu":
        limits = np.iinfo(kind.dtype.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InvalidArgumentError(
                f"'data' of {where} has values from {array.min()} to {array.max()}, "
                f"expected {limits.min} to {limits.max} for {kind.name}"
            )
    try:
        with np.errstate(over="raise"):
            return array.astype(kind.dtype)
    except FloatingPointError:
        raise InvalidArgumentError(f"'data' of {where} has values that are too large for {kind.name}") from None


def _read_outputs(request: Any, outputs: list[Any], *, default: bool) -> OutputForm:
    by_name: dict[str, bool] = {}
    for at, value in enumerate(outputs):
        where = f"outputs[{at}]"
        output = _object(value, where)
        name = _unicode(_take(output, "name", str, where), f"'name' of {where}")
        parameters = _take(output, "parameters", dict, where, default={})
        by_name[name] = _flag(parameters, "binary_data", where, default=default)
        _read_parameters(request.outputs.add(name=name).parameters, parameters, where)
    return OutputForm(default, by_name or None)


def _flag(parameters: dict[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"'{key}' of {where} is {_shown(value)}, expected a boolean")
    return value


def _check_json_outputs(form: OutputForm, served: ServedVersion) -> None:
    """Refuse beforehand what could not be answered."""
    for spec in served.outputs:
        is_asked = form.by_name is None or spec.name in form.by_name
        if is_asked and not form.is_binary(spec.name) and datatype(spec.datatype).contents_field is None:
            raise InvalidArgumentError(
                f"output '{spec.name}' is {spec.datatype}, which JSON can't carry: ask for it with 'binary_data'"
            )


def _bare_tensor(body: bytes, served: ServedVersion) -> Any:
    """The request whose only input is the body; a single free dimension follows from its size."""
    if len(served.inputs) != 1:
        raise InvalidArgumentError(
            f"got a body without a JSON header, which only models with one input take; '{served.model}' has "
            f"{len(served.inputs)}"
        )
    (spec,) = served.inputs
    kind = datatype(spec.datatype)
    if kind.itemsize == 0:
        shape, raw = [abs(size) for size in spec.shape], join_bytes([body])
    else:
        fixed = prod(size for size in spec.shape if size >= 0) * kind.itemsize
        free = sum(size < 0 for size in spec.shape)
        if free > 1 or (free == 1 and (fixed == 0 or len(body) % fixed)):
            raise InvalidArgumentError(
                f"the shape of input {spec} does not follow from {len(body)} bytes: send a JSON header"
            )
        shape, raw = [len(body) // fixed if size < 0 else size for size in spec.shape], body
    request = pb.ModelInferRequest(raw_input_contents=[raw])
    request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    return request
