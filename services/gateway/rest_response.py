"""Writes inference responses for REST: JSON, with binary tensors behind it where they were asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import datatype, split_bytes
from services.common.errors import InvalidArgumentError
from services.gateway.rest_request import OutputForm


def write_response(response: bytes | memoryview, form: OutputForm) -> tuple[bytes, int | None]:
    """The body for a serialised ModelInferResponse, and the size of its JSON part where binary tensors follow.

    Raises:
        InvalidArgumentError: an output can't be said in JSON.
    """
    message, document = _begun(response)
    if message.parameters:
        document["parameters"] = _parameters(message.parameters)
    tail: list[bytes] = []
    document["outputs"] = [
        _output(tensor, raw, tail if form.is_binary(tensor.name) else None)
        for tensor, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    ]
    head = _dump(document)
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)


def write_event(response: bytes) -> bytes:
    """A server-sent event for a serialised ModelInferResponse: outputs by name; one that has one element is that.

    Raises:
        InvalidArgumentError: an output can't be said in JSON.
    """
    message, document = _begun(response)
    for tensor, raw in zip(message.outputs, message.raw_output_contents, strict=True):
        values = _values(tensor, raw)
        elements = values.tolist() if isinstance(values, np.ndarray) else values
        document[tensor.name] = elements[0] if len(elements) == 1 else elements
    return b"data: %b\n\n" % json.dumps(document).encode()


def _begun(response: bytes | memoryview) -> tuple[Any, dict[str, Any]]:
    """The message, and a document that says whose answer it is."""
    message = pb.ModelInferResponse.FromString(response)
    document = {"model_name": message.model_name, "model_version": message.model_version}
    return message, document | ({"id": message.id} if message.id else {})


def _output(tensor: Any, raw: bytes, tail: list[bytes] | None) -> dict[str, Any]:
    document = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    parameters = _parameters(tensor.parameters)
    if tail is not None:
        tail.append(raw)
        parameters["binary_data_size"] = len(raw)
    else:
        document["data"] = _values(tensor, raw)
    return document | {"parameters": parameters} if parameters else document


def _parameters(parameters: Any) -> dict[str, Any]:
    return {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in parameters.items()}


def _values(tensor: Any, raw: bytes) -> NDArray[Any] | list[str]:
    kind = datatype(tensor.datatype)
    if kind.itemsize:
        return np.frombuffer(raw, kind.dtype)
    try:
        return [element.decode() for element in split_bytes(raw)]
    except UnicodeDecodeError:
        raise InvalidArgumentError(
            f"output '{tensor.name}' holds bytes that are no UTF-8 text: ask for it with 'binary_data'"
        ) from None


def _dump(document: dict[str, Any]) -> bytes:
    arrays = [data for output in document["outputs"] if isinstance(data := output.get("data"), np.ndarray)]
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    # NaN and infinities: JSON proper has none, Python's and C++'s clients read these.
    return json.dumps(document, default=np.ndarray.tolist).encode()
