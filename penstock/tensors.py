"""numpy arrays in, numpy arrays out, over the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
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
        self._client = triton.InferenceServerClient(
            target(address),
            creds=tls.credentials() if tls else None,
            channel_args=options_for(address, tls),
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
        response = result.get_response()
        return {output.name: result.as_numpy(output.name) for output in response.outputs}, response.model_version

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except InferenceServerException as error:
            raise _translated(error, self._address) from None

    def close(self) -> None:
        self._client.close()


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
