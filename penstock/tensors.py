"""numpy arrays in, numpy arrays out, over the Open Inference Protocol."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from penstock import errors
from penstock.channels import options_for
from penstock.endpoints import target
from penstock.tls import Tls

_READ_AHEAD = 16
"""Responses of a stream that may wait here."""
_LOOK_S = 0.1

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a model takes or gives under a name; -1 in ``shape`` stands for a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class InferenceConnection:
    """A connection to a gateway's public inference API."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        self._address = address
        self._tls = tls
        self._client = self._connect()

    def _connect(self) -> Any:
        return triton.InferenceServerClient(
            target(self._address),
            creds=self._tls.credentials() if self._tls else None,
            channel_args=options_for(self._address, self._tls),
        )

    def is_ready(self, model: str, version: str) -> bool:
        return bool(self._call(self._client.is_model_ready, model, version))

    def metadata(self, model: str, version: str) -> tuple[list[Tensor], list[Tensor]]:
        """The model's inputs and outputs."""
        answer = self._call(self._client.get_model_metadata, model, version)
        inputs, outputs = (
            [Tensor(spec.name, spec.datatype, tuple(spec.shape)) for spec in specs]
            for specs in (answer.inputs, answer.outputs)
        )
        return inputs, outputs

    def infer(
        self, model: str, inputs: Arrays, *, version: str, timeout_s: float, request_id: str
    ) -> tuple[dict[str, NDArray[Any]], str]:
        """The outputs by name, and the version that answered."""
        tensors = [_input(name, array) for name, array in inputs.items()]
        result = self._call(
            self._client.infer, model, tensors, version, request_id=request_id, client_timeout=timeout_s
        )
        return _outputs(result), result.get_response().model_version

    def infer_stream(
        self, model: str, inputs: Arrays, *, version: str, timeout_s: float, request_id: str
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """The outputs by name of one response after the other; the rest is cancelled when the iterator is closed."""
        tensors = [_input(name, array) for name, array in inputs.items()]
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue(_READ_AHEAD)
        closed = threading.Event()

        def take(result: Any, error: Any) -> None:  # while it waits, so does the server
            while not closed.is_set():
                with contextlib.suppress(queue.Full):
                    answers.put((result, error), timeout=_LOOK_S)
                    return

        client = self._connect()
        try:
            client.start_stream(take, stream_timeout=timeout_s, headers={"triton_grpc_error": "true"})
            client.async_stream_infer(model, tensors, version, request_id=request_id, enable_empty_final_response=True)
            is_final = False
            while not is_final:
                result, error = answers.get()
                if error is not None:
                    raise _translated(error, self._address) from None
                response = result.get_response()
                is_final = response.parameters["triton_final_response"].bool_param
                if response.outputs:
                    yield _outputs(result)
        finally:
            closed.set()
            client.stop_stream(cancel_requests=True)
            client.close()

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except InferenceServerException as error:
            raise _translated(error, self._address) from None

    def close(self) -> None:
        self._client.close()


def _outputs(result: Any) -> dict[str, NDArray[Any]]:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def _input(name: str, array: NDArray[Any]) -> triton.InferInput:
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8").astype(object)
    datatype = np_to_triton_dtype(array.dtype)
    if datatype is None:
        raise TypeError(f"input {name!r} has numpy type {array.dtype}, which the inference protocol can't carry")
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    return tensor


def _translated(error: InferenceServerException, address: str) -> errors.PenstockError:
    name = (error.status() or "StatusCode.UNKNOWN").removeprefix("StatusCode.")
    code = getattr(grpc.StatusCode, name, grpc.StatusCode.UNKNOWN)
    return errors.from_status(code, error.message(), part="gateway", address=address)


def fitted(array: NDArray[Any], spec: Tensor) -> NDArray[Any]:
    """``array`` as ``spec`` wants it, where nothing is lost: data type converted, a missing batch dimension added.

    Raises:
        ValueError: it can't be made to fit; says what was got and what was expected.
    """
    if array.ndim == len(spec.shape) - 1:
        array = array[np.newaxis]
    if spec.datatype != "BYTES":
        wanted = np.dtype(triton_to_np_dtype(spec.datatype))
        if not np.can_cast(array.dtype, wanted, casting="same_kind"):
            raise ValueError(f"input {spec.name!r} has numpy type {array.dtype}, expected {spec.datatype}")
        array = array.astype(wanted)
    shape = "×".join("any" if size < 0 else str(size) for size in spec.shape)
    is_same_rank = array.ndim == len(spec.shape)
    if not is_same_rank or any(want not in (-1, got) for got, want in zip(array.shape, spec.shape, strict=True)):
        raise ValueError(f"input {spec.name!r} has shape {'×'.join(map(str, array.shape))}, expected {shape}")
    return array


def random(spec: Tensor, *, rows: int, generator: np.random.Generator) -> NDArray[Any]:
    """Random values in the form of ``spec``: ``rows`` along a free first dimension, 1 along other free ones."""
    shape = [rows if at == 0 and size < 0 else max(size, 1) for at, size in enumerate(spec.shape)]
    if spec.datatype == "BYTES":
        return generator.integers(0, 1_000, shape).astype(str).astype(object)
    dtype = np.dtype(triton_to_np_dtype(spec.datatype))
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else 10, shape).astype(dtype)
